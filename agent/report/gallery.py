"""The items that the student gets or got wrong, one card each: what it wrote, what the teacher said, what was fetched, what came
of it."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from agent.report.kept import Outcome, Shown, outcomes, shown_round
from agent.report.pictures import Picture, Pictures
from agent.run.reading import RoundRecords, Row, RunRecords
from retrieval.errors import GaptutorError
from retrieval.pool.pool import Pool
from retrieval.pool.rationale import parse_rationale

#: Longest text shown (characters); the whole stands in the run folder.
_LONGEST, _LONGEST_STEP = 1500, 500
_SAMPLES = 4
#: Pixels a side of an item's picture, of the first ones (for looking closer), and of a sample's.
_PICTURE_SIDE, _LARGE_SIDE, _SAMPLE_SIDE = 320, 960, 140


class Step(NamedTuple):
    """A step of a rationale, and whether it is the wrong one."""

    text: str
    wrong: bool


class Given(NamedTuple):
    """An item's answer in a round."""

    round: int
    right: bool
    final: str
    shown: bool


class SampleCard(NamedTuple):
    """A sample that was fetched because of an error."""

    id: str
    skill: str
    turns: list[tuple[str, str]]
    pictures: list[Picture]


class Card(NamedTuple):
    """One item: what became of it, an answer to it that is wrong (of round `round`) with what the teacher said of that, and its
    answers in all rounds. `gaps`: ids of gaps, or else states of diagnoses; `named`: whether a diagnosis named the wrong step,
    None if there is no diagnosis."""

    item: str
    outcome: Outcome
    round: int
    gaps: list[str]
    title: str
    skill: str
    question: str
    choices: list[str]
    pictures: list[Picture]
    wide: bool
    gold: str
    final: str
    steps: list[Step]
    text: str
    named: bool | None
    why: str
    should_say: str
    reason: str
    samples: list[SampleCard]
    more_samples: int
    given: list[Given]


class Choice(NamedTuple):
    """A gap to filter by."""

    id: str
    label: str
    items: int


class Group(NamedTuple):
    """The items of one outcome: what it is called, in general and on a card, how many items there are, and the cards that are
    shown of them."""

    outcome: Outcome
    title: str
    badge: str
    right: bool
    total: int
    cards: list[Card]


class Gallery(NamedTuple):
    """The groups, those first that matter most, of how many items, and what they can be filtered by."""

    groups: list[Group]
    total: int
    choices: list[Choice]
    pool_missing: bool

    @property
    def cards(self) -> list[Card]:
        """All cards, in the order of the page."""
        return [card for group in self.groups for card in group.cards]


STATES = {
    "not_located": "no wrong step named",
    "set_aside": "set aside by the teacher",
    "format": "no final answer",
    "no_gap": "diagnosed, in no gap",
    "undiagnosed": "not diagnosed",
}


class _Error(NamedTuple):
    """A diagnosis of an item, found in the round of `files`, on its answer of the round before."""

    files: RoundRecords
    diagnosis: Row
    gap: str


class _Case(NamedTuple):
    """An item, what became of it, and its diagnoses, the oldest first."""

    item: str
    outcome: Outcome
    errors: list[_Error]

    @property
    def gaps(self) -> list[str]:
        return list(dict.fromkeys(error.gap for error in self.errors)) or ["undiagnosed"]


def _titles(shown: Shown | None) -> dict[Outcome, tuple[str, str, bool]]:
    """Outcome -> title, what a card says, and whether the item is right now; in order."""
    name = shown.name if shown else ""
    return {
        "still_wrong": (f"Still wrong in {name}", "still wrong", False),
        "became_wrong": (f"Became wrong: right before, wrong in {name}", "became wrong", False),
        "became_right": (f"Became right in {name}", f"right in {name}", True),
        "wrong_between": (f"Right before and in {name}, wrong in a round between", f"right in {name}", True),
        "unjudged": (f"Without a verdict before or in {name}", "no verdict", False),
        "wrong": ("Wrong as the student came", "wrong", False),
    }


def make_gallery(run: RunRecords, pictures: Pictures, most: int) -> Gallery:
    """At most `most` cards, one an item, taken in turn from all outcomes and gaps, so that none is left out."""
    shown = shown_round(run)
    errors: dict[str, list[_Error]] = defaultdict(list)
    for files in run.rounds:
        for error in _errors(files):
            errors[str(error.diagnosis.get("item"))].append(error)
    cases = [_Case(item, outcome, errors.get(item, [])) for item, outcome in outcomes(run).items()]
    chosen = _in_turn(cases, most)
    names = {str(gap.get("id")): str(gap.get("skill")) for files in run.rounds for gap in files.named("gaps")}
    labels = {**STATES, **names}
    maker = _Maker(run, pictures, labels, shown)
    groups = []
    totals = Counter(case.outcome for case in cases)
    for outcome, (title, badge, right) in _titles(shown).items():
        if totals[outcome]:
            cards = [maker.card(case) for case in chosen if case.outcome == outcome]
            groups.append(Group(outcome, title, badge, right, totals[outcome], cards))
    counts = Counter(gap for group in groups for card in group.cards for gap in card.gaps)
    choices = [
        Choice(key, labels.get(key, key), count) for key, count in sorted(counts.items(), key=lambda p: (-p[1], p[0]))
    ]
    return Gallery(groups, len(cases), choices, maker.pool is None)


def _errors(files: RoundRecords) -> list[_Error]:
    gap_of = {str(error): str(gap.get("id")) for gap in files.named("gaps") for error in gap.get("errors") or ()}
    return [
        _Error(files, row, gap_of.get(name, "no_gap" if row.get("state") == "diagnosed" else str(row.get("state"))))
        for name, row in files.diagnoses.items()
    ]


def _in_turn(cases: Sequence[_Case], most: int) -> list[_Case]:
    """One of each (outcome, gap) in turn, until there are enough; shown by gap, the commonest first."""
    groups: dict[tuple[str, str], list[_Case]] = defaultdict(list)
    for case in cases:
        groups[case.outcome, case.gaps[-1]].append(case)
    turns = [case for row in zip_longest(*groups.values()) for case in row if case is not None]
    size = {key: len(group) for key, group in groups.items()}

    def place(case: _Case) -> tuple[bool, int, str]:
        gap = case.gaps[-1]
        return gap in STATES, -size[case.outcome, gap], gap

    return sorted(turns[:most], key=place)


class _Maker:
    def __init__(self, run: RunRecords, pictures: Pictures, labels: Mapping[str, str], shown: Shown | None) -> None:
        self.run, self.pictures, self.labels, self.shown = run, pictures, labels, shown
        self.pool = _open_pool(run)
        self.answers = {files.number: files.answers for files in run.rounds}
        self.fetched: dict[str, list[Row]] = defaultdict(list)
        for files in run.rounds:
            for row in files.selection:
                if row.get("part") == "gap":
                    self.fetched[str(row.get("error"))].append(row)

    def card(self, case: _Case) -> Card:
        number, error = self._wrong_answer(case)
        row = error.diagnosis if error else {}
        item = self.run.items.get(case.item, {})
        answer = self.answers.get(number, {}).get(case.item, {})
        rows = [each for one in case.errors for each in self.fetched.get(str(one.diagnosis.get("id")), [])]
        gap = error.gap if error else "undiagnosed"
        shown = [
            self.pictures.show(Path(str(path)), _PICTURE_SIDE, _LARGE_SIDE) for path in (item.get("images") or ())[:4]
        ]
        return Card(
            item=case.item,
            outcome=case.outcome,
            round=number,
            gaps=case.gaps,
            title=_short(self.labels.get(gap, gap), 200),
            skill=_short(row.get("skill")),
            question=_short(item.get("question")),
            choices=[_short(choice) for choice in item.get("choices") or ()],
            pictures=shown,
            wide=any(each.wide for each in shown),
            gold=_short(next(iter(item.get("answers") or ()), "")),
            final=_short(answer.get("final")),
            steps=_steps(answer, row.get("step")),
            text="" if answer.get("steps") else _short(answer.get("text")),
            named=None if error is None else row.get("step") is not None,
            why=_short(row.get("why")),
            should_say=_short(row.get("should_say")),
            reason=_short(row.get("reason")),
            samples=[self._sample(each) for each in rows[:_SAMPLES]],
            more_samples=max(0, len(rows) - _SAMPLES),
            given=self._given(case.item),
        )

    def _wrong_answer(self, case: _Case) -> tuple[int, _Error | None]:
        """The round whose answer a card shows, and the diagnosis of it: of what is wrong now, the answer of the round that is
        shown if it was diagnosed, else the last diagnosis before it; of what was wrong, the first."""
        of = {error.files.number - 1: error for error in case.errors}
        now = self.shown.number if self.shown else 0
        if case.outcome == "became_wrong":
            return now, of.get(now)
        last = max((each for each in of if each <= now), default=now)
        number = last if case.outcome == "still_wrong" else min(of, default=0)
        return number, of.get(number)

    def _given(self, item: str) -> list[Given]:
        found = [(n, answers[item]) for n, answers in self.answers.items() if item in answers]
        now = self.shown.number if self.shown else -1
        return [
            Given(n, bool(row.get("correct")), _short(row.get("final"), 60) or "no answer", n == now)
            for n, row in found
        ]

    def _sample(self, row: Row) -> SampleCard:
        name, skill = str(row.get("sample")), _short(row.get("skill"))
        try:
            sample = self.pool.get(name) if self.pool else None
        except GaptutorError:
            sample = None
        if sample is None or self.pool is None:
            return SampleCard(name, skill, [], [])
        shown = [
            self.pictures.show(self.pool.image_path(image), _SAMPLE_SIDE, _SAMPLE_SIDE) for image in sample.images[:2]
        ]
        turns = [(_short(turn.question, 400), _short(turn.answer, 600)) for turn in sample.turns[:3]]
        return SampleCard(name, skill, turns, shown)


def _open_pool(run: RunRecords) -> Pool | None:
    """The pool, None if it is gone: the report is then written without the samples' pictures and texts."""
    folder = run.status.get("pool")
    try:
        return Pool.open(Path(str(folder))) if folder else None
    except (GaptutorError, OSError, KeyError, ValueError):
        return None


def _steps(answer: Row, wrong: object) -> list[Step]:
    steps = answer.get("steps") or parse_rationale(str(answer.get("text") or "")).steps
    return [Step(_short(step, _LONGEST_STEP), number == wrong) for number, step in enumerate(steps[:30], 1)]


def _short(value: object, longest: int = _LONGEST) -> str:
    text = "" if value is None else str(value).strip()
    return text if len(text) <= longest else text[:longest].rstrip() + " …"
