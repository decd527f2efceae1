"""The errors of a run, one card each: what the student wrote, what the teacher said, what was fetched, what came of
it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from agent.report.pictures import Picture, Pictures
from agent.run.reading import RoundRecords, Row, RunRecords
from retrieval.errors import GaptutorError
from retrieval.pool.pool import Pool
from retrieval.pool.rationale import parse_rationale

#: Longest text shown (characters); the whole stands in the run folder.
_LONGEST, _LONGEST_STEP = 1500, 500
_SAMPLES = 4
_PICTURE_SIDE, _SAMPLE_SIDE = 320, 140


class Step(NamedTuple):
    """A step of a rationale, and whether it is the wrong one."""

    text: str
    wrong: bool


class Later(NamedTuple):
    """An item's answer in a later round."""

    round: int
    right: bool
    final: str


class SampleCard(NamedTuple):
    """A sample that was fetched because of an error."""

    id: str
    skill: str
    turns: list[tuple[str, str]]
    pictures: list[Picture]


class Card(NamedTuple):
    """One error. `gap` is the gap's id or else the diagnosis's state; `cured`: right in the last round that was
    answered."""

    id: str
    item: str
    round: int
    gap: str
    title: str
    skill: str
    question: str
    choices: list[str]
    pictures: list[Picture]
    gold: str
    final: str
    steps: list[Step]
    text: str
    why: str
    should_say: str
    reason: str
    samples: list[SampleCard]
    more_samples: int
    later: list[Later]
    cured: bool


class Choice(NamedTuple):
    """A gap to filter by."""

    id: str
    label: str
    errors: int


class Gallery(NamedTuple):
    """The cards that are shown, of how many errors, and what they can be filtered by."""

    cards: list[Card]
    total: int
    choices: list[Choice]
    pool_missing: bool


STATES = {
    "not_located": "wrong step not found",
    "set_aside": "set aside by the teacher",
    "format": "no final answer",
    "no_gap": "diagnosed, in no gap",
}


class _Error(NamedTuple):
    files: RoundRecords
    diagnosis: Row
    gap: str


def make_gallery(run: RunRecords, pictures: Pictures, most: int) -> Gallery:
    """At most `most` cards, taken in turn from all gaps and rounds, so that none is left out."""
    errors = [error for files in run.rounds for error in _errors(files)]
    chosen = _in_turn(errors, most)
    names = {str(gap.get("id")): str(gap.get("skill")) for files in run.rounds for gap in files.named("gaps")}
    labels = {**STATES, **names}
    maker = _Maker(run, pictures, labels)
    cards = [maker.card(error) for error in chosen]
    counts: dict[str, int] = defaultdict(int)
    for card in cards:
        counts[card.gap] += 1
    choices = [
        Choice(key, labels.get(key, key), count) for key, count in sorted(counts.items(), key=lambda pair: -pair[1])
    ]
    return Gallery(cards, len(errors), choices, maker.pool is None)


def _errors(files: RoundRecords) -> list[_Error]:
    gap_of = {str(error): str(gap.get("id")) for gap in files.named("gaps") for error in gap.get("errors") or ()}
    return [
        _Error(files, row, gap_of.get(name, "no_gap" if row.get("state") == "diagnosed" else str(row.get("state"))))
        for name, row in files.diagnoses.items()
    ]


def _in_turn(errors: Sequence[_Error], most: int) -> list[_Error]:
    """One of each (round, gap) in turn, until there are enough; shown by round, then by gap, the commonest first."""
    groups: dict[tuple[int, str], list[_Error]] = defaultdict(list)
    for error in errors:
        groups[error.files.number, error.gap].append(error)
    turns = [error for row in zip_longest(*groups.values()) for error in row if error is not None]
    chosen = turns[:most]
    return sorted(chosen, key=lambda e: (e.files.number, e.gap in STATES, -len(groups[e.files.number, e.gap]), e.gap))


class _Maker:
    def __init__(self, run: RunRecords, pictures: Pictures, labels: Mapping[str, str]) -> None:
        self.run, self.pictures, self.labels = run, pictures, labels
        self.pool = _open_pool(run)
        self.answers = {files.number: files.answers for files in run.rounds}
        self.fetched: dict[str, list[Row]] = defaultdict(list)
        for files in run.rounds:
            for row in files.selection:
                if row.get("part") == "gap":
                    self.fetched[str(row.get("error"))].append(row)

    def card(self, error: _Error) -> Card:
        row, number = error.diagnosis, error.files.number
        name, item_id = str(row.get("id")), str(row.get("item"))
        item = self.run.items.get(item_id, {})
        answer = self.answers.get(number - 1, {}).get(item_id, {})
        later = self._later(item_id, number)
        rows = self.fetched.get(name, [])
        return Card(
            id=name,
            item=item_id,
            round=number,
            gap=error.gap,
            title=_short(self.labels.get(error.gap, error.gap), 200),
            skill=_short(row.get("skill")),
            question=_short(item.get("question")),
            choices=[_short(choice) for choice in item.get("choices") or ()],
            pictures=[self.pictures.show(Path(str(path)), _PICTURE_SIDE) for path in (item.get("images") or ())[:4]],
            gold=_short(next(iter(item.get("answers") or ()), "")),
            final=_short(answer.get("final")),
            steps=_steps(answer, row.get("step")),
            text="" if answer.get("steps") else _short(answer.get("text")),
            why=_short(row.get("why")),
            should_say=_short(row.get("should_say")),
            reason=_short(row.get("reason")),
            samples=[self._sample(each) for each in rows[:_SAMPLES]],
            more_samples=max(0, len(rows) - _SAMPLES),
            later=later,
            cured=bool(later) and later[-1].right,
        )

    def _later(self, item: str, number: int) -> list[Later]:
        found = [(n, answers[item]) for n, answers in self.answers.items() if n >= number and item in answers]
        return [Later(n, bool(row.get("correct")), _short(row.get("final"), 60) or "no answer") for n, row in found]

    def _sample(self, row: Row) -> SampleCard:
        name, skill = str(row.get("sample")), _short(row.get("skill"))
        try:
            sample = self.pool.get(name) if self.pool else None
        except GaptutorError:
            sample = None
        if sample is None or self.pool is None:
            return SampleCard(name, skill, [], [])
        shown = [self.pictures.show(self.pool.image_path(image), _SAMPLE_SIDE) for image in sample.images[:2]]
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
