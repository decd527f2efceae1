"""The targeted selection: a budget shared between gaps, siblings and rehearsal.

Each gap has a quota in proportion to its errors. It is filled by taking turns over the errors, each giving the sample
with the matching skill whose question is closest to its own (samples with steps before those without), so that no one
error eats the budget. What a gap leaves goes to the other gaps, then to siblings, then to rehearsal. Siblings are
served alike, their quota in proportion to answers × closeness. Rehearsal is drawn at random from what is left of the
whole pool. No order of the input matters: ties go by seeded hash.

Which skill texts of the pool match a need is for the teacher to say (`matches`). A need that is not in `matches` was
never put to the teacher: the best hits of the search stand in. One with an empty list was, and none matched: it gets
nothing, since the nearest texts are then likely its twins.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from retrieval.index.embedding import Vectors
from retrieval.index.ranking import Hit, Mode
from retrieval.selection.needs import Gap, Part, Quota, Quotas, Selected, Selection, Shares, Sibling
from retrieval.selection.random import draw
from retrieval.storage.order import apportion, seeded_hash, shuffled

#: Closeness of questions is told apart to so many digits; what is closer together is a tie.
CLOSENESS_DIGITS = 3
#: Hits of the search that stand in for a need which was never put to the teacher.
FALLBACK = 3


#: A sample, and the skill text by which it matched.
_Candidate = tuple[str, str]


class SampleIndex(Protocol):
    """What the selection asks of an index; `SkillIndex` is one."""

    @property
    def ids(self) -> list[str]: ...
    def samples(self, text: str) -> list[str]: ...
    def propose(self, names: Iterable[str], k: int, mode: Mode = "dense") -> list[Hit]: ...
    def questions(self, samples: Sequence[str]) -> list[str]: ...
    def have_steps(self, samples: Sequence[str]) -> list[bool]: ...
    def question_vectors(self, questions: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class _Need:
    """A gap or sibling; `cases` are the ids of its errors (or items), `weight` its claim on its part of the budget."""

    part: Part
    id: str
    skill: str
    names: tuple[str, ...]
    cases: tuple[str, ...]
    weight: float


def select_targeted(
    index: SampleIndex,
    gaps: Sequence[Gap],
    siblings: Sequence[Sibling],
    matches: Mapping[str, Sequence[str]],
    *,
    questions: Mapping[str, str],
    budget: int,
    shares: Shares,
    taken: Collection[str] = (),
    excluded: Collection[str] = (),
    seed: int | str = 0,
    mode: Mode = "dense",
) -> Selection:
    """Choose `budget` samples (fewer only if the pool has no more), none of them `taken` or `excluded`.

    `matches` maps a gap's or sibling's skill to the pool's skill texts that are the same skill; `questions` maps the
    ids in `Gap.errors` and `Sibling.answers` to the question asked there (one that is missing is close to nothing).
    The quotas beside the samples say what each need was owed and what the pool had for it.
    """
    used = {*taken, *excluded}
    free = sum(name not in used for name in index.ids)
    needs = _needs(gaps, siblings, seed)
    queues = _queues(index, needs, matches, questions, used, budget, seed, mode)
    for_gaps, for_siblings, _ = apportion(budget, (shares.gaps, shares.siblings, shares.rehearsal))
    chosen = _fill([queue for queue in queues if queue.need.part == "gap"], for_gaps, used)
    if shares.siblings > 0:
        spare = for_gaps - len(chosen)
        chosen += _fill([queue for queue in queues if queue.need.part == "sibling"], for_siblings + spare, used)
    left = (name for name in index.ids if name not in used)
    chosen += [Selected(name, "rehearsal") for name in draw(left, budget - len(chosen), seed, "rehearsal")]
    return Selection(chosen, _quotas(queues, {"gap": for_gaps, "sibling": for_siblings}, chosen, budget, free))


def _quotas(
    queues: Sequence["_Queue"], parts: Mapping[Part, int], chosen: Sequence[Selected], budget: int, free: int
) -> Quotas:
    """What each need was owed of its part of the budget, before what others left was shared out again."""
    got = Counter((each.part, each.need) for each in chosen)
    found = []
    for part, total in parts.items():
        mine = [queue for queue in queues if queue.need.part == part]
        owed = apportion(total, [queue.need.weight for queue in mine])
        for queue, quota in zip(mine, owed, strict=True):
            need = queue.need
            found.append(Quota(part, need.id, need.skill, quota, got[part, need.id], len(queue.candidates)))
    of_gaps = {name for queue in queues if queue.need.part == "gap" for name in queue.candidates}
    return Quotas(budget, free, len(of_gaps), tuple(sorted(found, key=lambda each: (each.part, -each.owed, each.need))))


def _needs(gaps: Sequence[Gap], siblings: Sequence[Sibling], seed: int | str) -> list[_Need]:
    """Gaps and siblings in seeded order. A gap that a person added has no errors and counts as one."""
    needs = [_Need("gap", gap.id, gap.skill, gap.names, gap.errors, max(1, len(gap.errors))) for gap in gaps]
    for one in siblings:
        weight = max(1, len(one.answers)) * max(0.0, one.closeness)
        needs.append(_Need("sibling", one.skill, one.skill, one.names, one.answers, weight))
    return sorted(needs, key=lambda need: (seeded_hash(seed, need.part, need.id), need.id))


class _Queue:
    """The samples that a need may still get, one at a time, its cases taking turns; `candidates` are all that match it."""

    def __init__(
        self,
        need: _Need,
        cases: Sequence[str | None],
        lists: Sequence[Sequence[_Candidate]],
        candidates: Collection[str] = (),
    ) -> None:
        self.need, self.candidates = need, candidates
        self._turns = list(zip(cases, (iter(enumerate(one, 1)) for one in lists), strict=True))

    def next(self, used: set[str]) -> Selected | None:
        """The next sample, added to `used`; None if there is no more."""
        while self._turns:
            case, ranked = self._turns.pop(0)
            for rank, (sample, text) in ranked:
                if sample not in used:
                    used.add(sample)
                    self._turns.append((case, ranked))
                    return Selected(sample, self.need.part, self.need.id, case, text, rank)
        return None


def _fill(queues: Sequence[_Queue], budget: int, used: set[str]) -> list[Selected]:
    """Take up to `budget` samples: queues take turns up to their quotas; what an empty one leaves is shared out
    again."""
    chosen: list[Selected] = []
    going = list(queues)
    while going and len(chosen) < budget:
        quotas = apportion(budget - len(chosen), [queue.need.weight for queue in going])
        if not any(quotas):  # weights of 0: siblings that are close to no gap
            break
        got, empty = _take_turns(list(zip(going, quotas, strict=True)), used)
        chosen += got
        going = [queue for queue in going if queue not in empty]
    return chosen


def _take_turns(shares: list[tuple[_Queue, int]], used: set[str]) -> tuple[list[Selected], list[_Queue]]:
    """One sample for each queue in turn until its quota is met; what was taken, and which queues ran out."""
    chosen: list[Selected] = []
    empty: list[_Queue] = []
    while shares := [(queue, quota) for queue, quota in shares if quota and queue not in empty]:
        for queue, _ in shares:
            if (found := queue.next(used)) is None:
                empty.append(queue)
            else:
                chosen.append(found)
        shares = [(queue, quota - 1) for queue, quota in shares]
    return chosen, empty


def _queues(
    index: SampleIndex,
    needs: Sequence[_Need],
    matches: Mapping[str, Sequence[str]],
    questions: Mapping[str, str],
    used: Collection[str],
    budget: int,
    seed: int | str,
    mode: Mode,
) -> list[_Queue]:
    """A queue for each need, all questions embedded in one go."""
    pools = [_candidates(index, need, matches, used, mode) for need in needs]
    samples = list(dict.fromkeys(sample for pool in pools for sample in pool))
    asked = dict(zip(samples, index.questions(samples), strict=True))
    wanted = {questions[case] for need in needs for case in need.cases if case in questions}
    texts = sorted({*asked.values(), *wanted})
    vectors = dict(zip(texts, index.question_vectors(texts), strict=True))
    steps = dict(zip(samples, index.have_steps(samples), strict=True))
    queues = []
    for need, pool in zip(needs, pools, strict=True):
        ranker = _Ranker(pool, asked, steps, vectors, budget, seed)
        cases: list[str | None] = [*shuffled(need.cases, seed, "case")] or [None]
        queues.append(_Queue(need, cases, [ranker.rank(questions.get(case or "")) for case in cases], pool))
    return queues


def _candidates(
    index: SampleIndex, need: _Need, matches: Mapping[str, Sequence[str]], used: Collection[str], mode: Mode
) -> dict[str, tuple[int, str]]:
    """Samples that match a need, each with its tier (0, or the place of the hit for a stand-in) and the text that
    matched."""
    confirmed = matches.get(need.skill)
    if confirmed is None:
        texts = [hit.text for hit in index.propose([need.skill, *need.names], FALLBACK, mode)]
        tiers = list(enumerate(texts))
    else:
        tiers = [(0, text) for text in sorted(set(confirmed))]
    found: dict[str, tuple[int, str]] = {}
    for tier, text in tiers:
        for sample in index.samples(text):
            if sample not in used:
                found.setdefault(sample, (tier, text))
    return found


class _Ranker:
    """Orders a need's candidates for one case: by tier, those with steps first (a bare answer does not show the step that is
    missing), then by closeness of question, then by seeded hash."""

    def __init__(
        self,
        pool: Mapping[str, tuple[int, str]],
        asked: Mapping[str, str],
        steps: Mapping[str, bool],
        vectors: Mapping[str, Vectors],
        limit: int,
        seed: int | str,
    ) -> None:
        names = shuffled(pool, seed, "tie")
        self._candidates = [(name, pool[name][1]) for name in names]
        self._tiers = np.array([2 * pool[name][0] + (not steps[name]) for name in names], dtype=np.int64)
        self._texts, self._text_of = np.unique([asked[name] for name in names], return_inverse=True)
        self._vectors = vectors
        self._matrix = np.stack([vectors[str(text)] for text in self._texts]) if names else np.zeros((0, 0))
        self._limit = limit

    def rank(self, question: str | None) -> list[_Candidate]:
        """The candidates in order, no more than the budget: a case never gets further."""
        if not self._candidates:
            return []
        closeness = np.zeros(len(self._texts))
        if question is not None:
            closeness = np.round(self._matrix @ self._vectors[question], CLOSENESS_DIGITS)
        order = np.lexsort((-closeness[self._text_of], self._tiers))
        return [self._candidates[place] for place in order[: self._limit]]
