"""What the run came to, in words, with n, interval and control; claims nothing that was not shown."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from agent.report.kept import Shown, marks, shown_round
from agent.run import wording
from agent.run.not_kept import why_not_kept
from agent.run.reading import RoundRecords, RunRecords
from eval.statistics import Comparison, compare, wilson


class Tile(NamedTuple):
    """One large figure: what it is, the figure, what belongs to it."""

    label: str
    value: str
    details: list[str]
    tone: str = ""


class Headline(NamedTuple):
    """The sentence at the top, those below it, the figures, and whether a round is kept."""

    title: str
    sentences: list[str]
    tiles: list[Tile]
    kept: bool = False


class _Set(NamedTuple):
    """One set of items, answered by the student as it came, by a round's adapter and by its control ({} if there is
    none): the same items, so that what is said of a change is the difference of the shares beside it."""

    name: str
    before: dict[str, bool]
    after: dict[str, bool]
    control: dict[str, bool]


def make_headline(run: RunRecords) -> Headline:
    """The headline of a run in any state."""
    done = [each for each in run.rounds if each.evaluation]
    if not done:
        return Headline("Nothing has been evaluated yet.", [], [])
    base, later = done[0], done[1:]
    if not later:
        sets = [_Set("validation set", marks(base.answers), {}, {}), _Set("holdout", marks(base.held), {}, {})]
        tiles = [_tile(f"Before, {each.name}", each.before) for each in sets if each.before]
        title = f"The student as it came answers {_share(sets[0].before)} right."
        none = "No adapter was made: nothing was kept, and the student stays as it came."
        return Headline(title, [none if run.state == "finished" else "No adapter has been evaluated yet."], tiles)
    shown = shown_round(run)
    if shown is None or not shown.kept:
        return _nothing_shown(run, base, shown.files if shown else later[0])
    return _gain(run, base, shown)


def _sets(base: RoundRecords, other: RoundRecords) -> list[_Set]:
    """The holdout first, if there is one: its figures are the ones that do not lean upward."""
    sets = []
    for name, key in (("holdout", "held"), ("validation set", "answers")):
        before, after = marks(getattr(base, key)), marks(getattr(other, key))
        control = marks(getattr(other.control, key)) if other.control.evaluation else {}  # it may be under way
        shared = before.keys() & after.keys() & (control.keys() or after.keys())
        arms = ({item: right for item, right in arm.items() if item in shared} for arm in (before, after, control))
        sets.append(_Set(name, *arms))
    return [each for each in sets if each.before]


def _gain(run: RunRecords, base: RoundRecords, kept: Shown) -> Headline:
    sets = _sets(base, kept.files)
    if not sets:
        return Headline(
            f"Round {kept.number} is kept.", ["Its answers are not in the run folder any more."], [], kept=True
        )
    first = sets[0]
    test = compare(first.before, first.after)
    shown = test.interval.low > 0
    after, before = _share(first.after), _share(first.before)
    title = f"The adapter of round {kept.number} answers {after} right; the student as it came, {before}."
    if not shown:
        title = f"Round {kept.number} is kept, but its gain does not show on the {first.name}."
    sentences = [_change(each, compare(each.before, each.after)) for each in sets]
    sentences += [_against_control(first), *why_not_kept(run).values()]
    return Headline(title, sentences, _tiles(first, f"After, {kept.name}", test), kept=True)


def _nothing_shown(run: RunRecords, base: RoundRecords, top: RoundRecords) -> Headline:
    sets = _sets(base, top)
    so_far = "" if run.state in ("finished", "failed") else "So far, "
    title = f"{so_far}no round was shown to be better than the student as it came."
    nothing = "Nothing was kept, so the student stays as it came; " if run.state == "finished" else ""
    what = f"below it is compared with round {top.number}, which is not kept."
    sentences = [_how_it_scored(base, top), f"{nothing}{what}" if nothing else what[0].upper() + what[1:]]
    sentences += [_change(each, compare(each.before, each.after)) for each in sets]
    sentences += why_not_kept(run).values()
    tiles = _tiles(sets[0], f"Round {top.number}, not kept", compare(sets[0].before, sets[0].after)) if sets else []
    return Headline(title[0].upper() + title[1:], sentences, tiles)


def _how_it_scored(base: RoundRecords, top: RoundRecords) -> str:
    """Of the round with the highest score on the validation set, beside the student as it came."""
    before, after = (each.evaluation.get("accuracy") or 0.0 for each in (base, top))
    if after > before:
        return f"Round {top.number} scored highest on the validation set; not shown to be better."
    how = "scored the same" if after == before else "came closest"
    return f"No round scored above the student as it came on the validation set; round {top.number} {how}."


def _change(each: _Set, test: Comparison) -> str:
    never = ", never diagnosed" if each.name == "holdout" else ", by which rounds are judged"
    return (
        f"{each.name.capitalize()} ({wording.count(test.n, 'item')}{never}): {_points(each.before, each.after)} points, "
        f"95% interval {wording.points(test.interval.low)} to {wording.points(test.interval.high)}; "
        f"{test.gained} became right, {test.lost} wrong (one-sided exact McNemar, {wording.p_value(test.p_value)})."
    )


def _against_control(each: _Set) -> str:
    if not each.control:
        return "No control was run, so it is not known how much as many random samples would have brought."
    test = compare(each.control, each.after)
    between = f"{wording.points(test.interval.low)} to {wording.points(test.interval.high)}"
    beginning = f"As many random samples, tuned the same way, give {_share(each.control)} on the {each.name}: "
    if test.interval.low > 0:
        return f"{beginning}choosing the samples brought {_points(each.control, each.after)} points ({between})."
    gained = f"{_points(each.control, each.after)} points, {between}"
    return f"{beginning}that choosing the samples brought more is not shown ({gained})."


def _tiles(each: _Set, after: str, test: Comparison) -> list[Tile]:
    tiles = [_tile("Before", each.before), _tile(after, each.after, "student")]
    if each.control:
        tiles.append(_tile("Control, random samples", each.control, "control"))
    between = f"{wording.points(test.interval.low)} to {wording.points(test.interval.high)}"
    return [*tiles, Tile("Change, in points", _points(each.before, each.after), [f"95% interval {between}"])]


def _tile(label: str, found: dict[str, bool], tone: str = "") -> Tile:
    right, n = sum(found.values()), len(found)
    return Tile(label, _share(found), [f"{right} of {n}", f"95% interval {wording.span(wilson(right, n))}"], tone)


def _share(found: dict[str, bool]) -> str:
    return wording.percent(sum(found.values()) / len(found)) if found else "–"


def _points(before: dict[str, bool], after: dict[str, bool]) -> str:
    return wording.change(sum(before.values()) / len(before), sum(after.values()) / len(after))


def figures(found: Any) -> tuple[int, int] | None:
    """(right, n) of an evaluation's figures, None if they are not there."""
    if not isinstance(found, Mapping) or not found.get("n"):
        return None
    return int(found.get("right", round(found.get("accuracy", 0.0) * found["n"]))), int(found["n"])
