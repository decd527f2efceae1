"""The selection over a small index in memory: its vectors are made by hand, so closeness is known."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import Gap, Hit, Mode, Selected, Selection, Shares, Sibling, gap_id, select_targeted
from retrieval.index.embedding import Vectors
from retrieval.selection.targeted import _Ranker
from retrieval.storage.order import apportion

ANGLES = 7


@dataclass
class Shelf:
    """Samples with skill texts and questions "q0" … "q6", closer the closer their numbers."""

    skills: dict[str, tuple[str, ...]]
    asked: dict[str, str]

    @property
    def ids(self) -> list[str]:
        return list(self.asked)

    def samples(self, text: str) -> list[str]:
        return [name for name in self.asked if text in self.skills.get(name, ())]

    def propose(self, names: Iterable[str], k: int, mode: Mode = "dense") -> list[Hit]:
        texts = sorted({text for every in self.skills.values() for text in every})
        hits = [Hit(text, sum(name[0] == text[0] for name in names)) for text in texts]
        return sorted(hits, key=lambda hit: (-hit.score, hit.text))[:k]

    def questions(self, samples: Sequence[str]) -> list[str]:
        return [self.asked[name] for name in samples]

    def have_steps(self, samples: Sequence[str]) -> list[bool]:
        return [True] * len(samples)

    def question_vectors(self, questions: Sequence[str]) -> Vectors:
        angles = np.array([int(question[1:]) for question in questions]) * np.pi / 2 / ANGLES
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32).reshape(len(questions), 2)


@dataclass
class Case:
    """Everything that a selection takes."""

    shelf: Shelf
    gaps: list[Gap]
    siblings: list[Sibling]
    matches: dict[str, list[str]]
    questions: dict[str, str]
    budget: int
    shares: Shares
    taken: list[str]
    excluded: list[str]
    seed: int

    def select(self) -> list[Selected]:
        return self.selection().samples

    def selection(self) -> Selection:
        return select_targeted(
            self.shelf,
            self.gaps,
            self.siblings,
            self.matches,
            questions=self.questions,
            budget=self.budget,
            shares=self.shares,
            taken=self.taken,
            excluded=self.excluded,
            seed=self.seed,
        )


def _gap(name: str, errors: int) -> Gap:
    return Gap(gap_id(name), name, (name,), tuple(f"{name}-e{number}" for number in range(errors)))


def _sibling(name: str, answers: int, closeness: float) -> Sibling:
    return Sibling(name, (name,), tuple(f"{name}-i{number}" for number in range(answers)), closeness)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = ["a", "b", "c", "d"]
    count = draw(st.integers(0, 40))
    rng = random.Random(draw(st.integers(0, 2**32)))
    ids = [f"s{number}" for number in range(count)]
    shelf = Shelf(
        {name: tuple(rng.sample(names, rng.randint(0, 2))) for name in ids},
        {name: f"q{rng.randrange(ANGLES)}" for name in ids},
    )
    missing = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
    gaps = [_gap(name, draw(st.integers(0, 5))) for name in missing]
    rest = [name for name in names if name not in {gap.skill for gap in gaps}]
    siblings = [_sibling(name, rng.randint(0, 4), rng.choice([0.0, 0.3, 1.0])) for name in rest]
    needs = [gap.skill for gap in gaps] + [one.skill for one in siblings]
    matches = {name: [name] for name in needs if rng.random() < 0.8}
    matches |= {name: [] for name in needs if rng.random() < 0.1}
    cases = [case for gap in gaps for case in gap.errors] + [case for one in siblings for case in one.answers]
    return Case(
        shelf,
        gaps,
        siblings,
        matches,
        {case: f"q{rng.randrange(ANGLES)}" for case in cases if rng.random() < 0.9},
        draw(st.integers(0, 50)),
        Shares(*draw(st.sampled_from([(0.5, 0.2, 0.3), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 1, 0), (0.65, 0.35, 0)]))),
        rng.sample(ids, min(len(ids), draw(st.integers(0, 6)))),
        rng.sample(ids, min(len(ids), draw(st.integers(0, 6)))),
        draw(st.integers(0, 3)),
    )


@given(cases())
def test_the_budget_is_met_when_the_pool_has_room_and_no_sample_comes_twice(case: Case) -> None:
    chosen = [one.sample for one in case.select()]
    free = set(case.shelf.ids) - {*case.taken, *case.excluded}
    assert len(chosen) == min(case.budget, len(free))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= free


@given(cases())
def test_each_row_says_truly_why_it_is_there(case: Case) -> None:
    gaps = {gap.id: gap for gap in case.gaps}
    siblings = {one.skill: one for one in case.siblings}
    for row in case.select():
        if row.part == "rehearsal":
            assert (row.need, row.error, row.skill, row.rank) == (None,) * 4
            continue
        need = gaps[str(row.need)] if row.part == "gap" else siblings[str(row.need)]
        wanted = need.errors if isinstance(need, Gap) else need.answers
        assert row.error in (wanted or (None,))
        assert str(row.skill) in case.shelf.skills[row.sample]
        assert row.skill in case.matches.get(need.skill, [str(row.skill)])
        assert row.rank is not None
        assert row.rank >= 1


@given(cases(), st.randoms(use_true_random=False))
def test_no_order_of_the_input_matters(case: Case, rng: random.Random) -> None:
    def mixed(things: Iterable[Any]) -> list[Any]:
        return rng.sample(given := list(things), len(given))

    def turned(need: Any, field: str) -> Any:
        return replace(need, **{field: tuple(mixed(getattr(need, field)))})

    other = replace(
        case,
        shelf=Shelf(case.shelf.skills, dict(mixed(case.shelf.asked.items()))),
        gaps=mixed(turned(gap, "errors") for gap in case.gaps),
        siblings=mixed(turned(one, "answers") for one in case.siblings),
        matches=dict(mixed(case.matches.items())),
        questions=dict(mixed(case.questions.items())),
        taken=mixed(case.taken),
        excluded=mixed(case.excluded),
    )
    assert other.select() == case.select()


@given(cases())
def test_a_sample_of_no_wanted_skill_changes_at_most_one_row_of_the_rehearsal(case: Case) -> None:
    before = case.select()
    shelf = Shelf(case.shelf.skills, {**case.shelf.asked, "newcomer": "q0"})
    after = replace(case, shelf=shelf).select()
    assert [row for row in after if row.part != "rehearsal"] == [row for row in before if row.part != "rehearsal"]
    assert len({row.sample for row in before} - {row.sample for row in after}) <= 1
    assert {row.sample for row in after} - {row.sample for row in before} <= {"newcomer"}


@given(cases())
def test_what_one_round_took_the_next_does_not(case: Case) -> None:
    first = {row.sample for row in case.select()}
    second = {row.sample for row in replace(case, taken=[*case.taken, *first]).select()}
    assert not first & second


def _plenty(per_skill: int, names: str) -> Shelf:
    ids = [f"{name}{number}" for name in names for number in range(per_skill)]
    return Shelf({name: (name[0],) for name in ids}, {name: f"q{int(name[1:]) % ANGLES}" for name in ids})


def _simple(shelf: Shelf, gaps: list[Gap], siblings: list[Sibling], budget: int, shares: Shares) -> Case:
    needs = [*(gap.skill for gap in gaps), *(one.skill for one in siblings)]
    ids = [case for gap in gaps for case in gap.errors] + [case for one in siblings for case in one.answers]
    return Case(
        shelf,
        gaps,
        siblings,
        {name: [name] for name in needs},
        {case: f"q{number % ANGLES}" for number, case in enumerate(ids)},
        budget,
        shares,
        [],
        [],
        0,
    )


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 40))
def test_with_plenty_each_gap_gets_its_share_and_its_errors_get_equal_parts(errors: list[int], budget: int) -> None:
    gaps = [_gap("abcd"[number], count) for number, count in enumerate(errors)]
    chosen = _simple(_plenty(60, "abcdz"), gaps, [], budget, Shares(1, 0, 0)).select()
    counts = Counter(row.need for row in chosen)
    assert {row.part for row in chosen} <= {"gap"}
    for gap in gaps:
        assert abs(counts[gap.id] - budget * len(gap.errors) / sum(errors)) < 1
        turns = Counter(row.error for row in chosen if row.need == gap.id)
        assert max(turns.values(), default=0) - min((turns[error] for error in gap.errors), default=0) <= 1


def test_parts_and_siblings_get_their_shares() -> None:
    siblings = [_sibling("b", 6, 0.5), _sibling("c", 2, 0.5), _sibling("d", 9, 0.0)]
    chosen = _simple(_plenty(50, "abcdz"), [_gap("a", 3)], siblings, 100, Shares(0.5, 0.2, 0.3)).select()
    assert Counter(row.part for row in chosen) == {"gap": 50, "sibling": 20, "rehearsal": 30}
    assert Counter(row.need for row in chosen if row.part == "sibling") == {"b": 15, "c": 5}


def test_what_a_gap_leaves_goes_to_the_others_then_siblings_then_rehearsal() -> None:
    shelf = _plenty(40, "bcz")
    shelf.skills |= {f"a{number}": ("a",) for number in range(4)}
    shelf.asked |= {f"a{number}": "q0" for number in range(4)}
    gaps, siblings = [_gap("a", 5), _gap("b", 5)], [_sibling("c", 2, 1.0)]
    shares = Shares(0.5, 0.25, 0.25)
    case = _simple(shelf, gaps, siblings, 60, shares)
    assert Counter(row.need for row in case.select()) == {gap_id("a"): 4, gap_id("b"): 26, "c": 15, None: 15}
    case.budget = 104
    assert Counter(row.need for row in case.select()) == {gap_id("a"): 4, gap_id("b"): 40, "c": 34, None: 26}
    case.budget = 124
    assert Counter(row.part for row in case.select()) == {"gap": 44, "sibling": 40, "rehearsal": 40}


def test_the_closest_questions_come_first() -> None:
    case = _simple(_plenty(70, "a"), [_gap("a", 1)], [], 20, Shares(1, 0, 0))
    case.questions = {"a-e0": "q3"}
    chosen = case.select()
    assert {case.shelf.asked[row.sample] for row in chosen[:10]} == {"q3"}
    assert {case.shelf.asked[row.sample] for row in chosen[10:]} <= {"q2", "q4"}
    assert [row.rank for row in chosen] == list(range(1, 21))


def test_ties_are_drawn_by_the_seed() -> None:
    case = _simple(_plenty(70, "a"), [_gap("a", 1)], [], 5, Shares(1, 0, 0))
    assert case.select() != replace(case, seed=1).select()


def test_a_need_that_was_never_put_to_the_teacher_takes_the_best_hits_and_a_rejected_one_nothing() -> None:
    case = _simple(_plenty(10, "abcd"), [_gap("a", 2)], [], 12, Shares(1, 0, 0))
    case.matches = {}
    chosen = case.select()
    assert Counter(row.skill for row in chosen) == {"a": 10, "b": 2}
    assert {row.skill for row in chosen[:10]} == {"a"}
    case.matches = {"a": []}
    assert {row.part for row in case.select()} == {"rehearsal"}


def test_a_gap_that_a_person_added_is_served_too() -> None:
    chosen = _simple(_plenty(10, "ab"), [_gap("a", 0), _gap("b", 1)], [], 10, Shares(1, 0, 0)).select()
    assert Counter(row.need for row in chosen) == {gap_id("a"): 5, gap_id("b"): 5}
    assert {row.error for row in chosen if row.need == gap_id("a")} == {None}


def test_a_selection_without_gaps_goes_to_siblings_and_rehearsal() -> None:
    chosen = _simple(_plenty(30, "bz"), [], [_sibling("b", 1, 1.0)], 20, Shares(0.5, 0.2, 0.3)).select()
    assert Counter(row.part for row in chosen) == {"sibling": 14, "rehearsal": 6}


def test_a_selected_row_is_written_with_its_round() -> None:
    row = Selected("s1", "gap", "gap-1", "r02-x", "adding", 3).as_row(2)
    assert row == {
        "schema": 1, "sample": "s1", "part": "gap", "round": 2,
        "need": "gap-1", "error": "r02-x", "skill": "adding", "rank": 3,
    }  # fmt: skip


@pytest.mark.parametrize("need", [_gap("a", 3), _sibling("b", 2, 0.25)])
def test_needs_survive_being_written(need: Gap | Sibling) -> None:
    assert type(need).from_row(need.as_row()) == need


def test_shares_are_by_largest_remainder() -> None:
    assert apportion(10, (0.5, 0.2, 0.3)) == [5, 2, 3]
    assert apportion(1, (0.5, 0.2, 0.3)) == [1, 0, 0]


def test_vectors_are_gathered_once_however_many_errors_there_are() -> None:
    looks: Counter[str] = Counter()

    class Counted(dict[str, Vectors]):
        def __getitem__(self, text: str) -> Vectors:
            looks[text] += 1
            return super().__getitem__(text)

    asked = {f"s{number}": f"q{number}" for number in range(ANGLES)}
    vectors = Counted({text: np.ones(2, dtype=np.float32) for text in [*asked.values(), "error"]})
    ranker = _Ranker(dict.fromkeys(asked, (0, "a")), asked, dict.fromkeys(asked, True), vectors, ANGLES, 0)
    for _ in range(5):
        assert len(ranker.rank("error")) == ANGLES
    assert looks == Counter(asked.values()) + Counter({"error": 5})


@given(cases())
def test_quotas_say_what_was_owed_and_what_the_pool_had(case: Case) -> None:
    samples, quotas = case.selection()
    for_gaps, for_siblings, _ = apportion(case.budget, (case.shares.gaps, case.shares.siblings, case.shares.rehearsal))
    got = Counter((each.part, each.need) for each in samples)
    assert {(each.part, each.need) for each in quotas.needs} == {
        *(("gap", gap.id) for gap in case.gaps),
        *(("sibling", one.skill) for one in case.siblings),
    }
    for each in quotas.needs:
        assert each.found == got[each.part, each.need] <= each.matching
    owed = {part: sum(each.owed for each in quotas.needs if each.part == part) for part in ("gap", "sibling")}
    assert owed["gap"] == (for_gaps if case.gaps else 0)
    assert owed["sibling"] in (0, for_siblings)  # 0: siblings that are close to no gap
    taken = {*case.taken, *case.excluded}
    assert quotas.free == sum(name not in taken for name in case.shelf.ids)
    assert max((each.matching for each in quotas.needs if each.part == "gap"), default=0) <= quotas.matching
    assert quotas.matching <= min(quotas.free, sum(each.matching for each in quotas.needs if each.part == "gap"))
