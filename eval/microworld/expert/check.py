"""Checking a student's steps against the scene and the question: which is the first wrong one, and what should stand
there.

A step is right if it says what one of the canonical steps says: the order of places, of the two addends or of the two
colours does not matter, and digits are compared in the order in which the student listed their places. What is true
of the scene but is no part of the way to the answer counts as wrong, since it does not follow. Only the first wrong
step is told: what comes after may rest on it."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from eval.microworld.expert.recognise import Seen
from eval.microworld.questions import Call
from eval.microworld.scene import CELL_INDEX, COLORS, RARE_SHAPES, Scene, Thing
from eval.microworld.solving import Solution, Step, UnanswerableError

_LIST = re.compile(r"(.+) at ([a-d][1-4](?: [a-d][1-4])*)")
_LOOK = re.compile(r"([a-d][1-4]) holds (?:a |an )?(\w+)(?: (\w+))?")
_ORDERLESS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[str, ...]]], ...] = (
    (_LIST, lambda m: (m[1], *sorted(m[2].split()))),
    (re.compile(r"(the (?:even|odd) ones) are ([0-9](?: [0-9])*)"), lambda m: (m[1], *sorted(m[2].split()))),
    (re.compile(r"(\d+) plus (\d+) is (\d+)"), lambda m: ("plus", *sorted(m.group(1, 2)), m[3])),
    (re.compile(r"(\w+ has \d+) and (\w+ has \d+)"), lambda m: tuple(sorted(m.groups()))),
    (re.compile(r"(\w+) and (\w+) are (the same|different)"), lambda m: (*sorted(m.group(1, 2)), m[3])),
)


class Verdict(NamedTuple):
    """`step` is the 0-based index of the first wrong step, None if none is; `expected` the step that should stand
    there, or, without a wrong one, the next that is missing (the last if all are there). `skill` is a key of
    STEP_SKILLS."""

    step: int | None
    expected: Step
    skill: str


def plain(text: str) -> str:
    """A step's or an answer's text without case, surplus spaces and full stop."""
    return " ".join(text.lower().split()).rstrip(" .!")


def meaning(text: str) -> tuple[str, ...]:
    """Equal for texts that say the same in another order."""
    text = plain(text)
    for pattern, key in _ORDERLESS:
        if match := pattern.fullmatch(text):
            return key(match)
    return (text,)


def solve(call: Call, seen: Seen | None, gold: str) -> tuple[Solution, Scene] | None:
    """The canonical steps for what was seen, None if it cannot be answered.

    The gold answer is trusted above one's own eyes: if they lead elsewhere, the doubtful digit whose other reading
    leads to it is read so. If there is none, what was seen stands."""
    scene = seen.scene if seen else Scene({})
    found = _solved(call, scene)
    if seen is None or (found and plain(found.answer) == plain(gold)):
        return (found, scene) if found else None
    for doubt in seen.doubts:
        things = {**scene.things, doubt.cell: scene.things[doubt.cell]._replace(kind=doubt.other)}
        other = _solved(call, Scene(things))
        if other and plain(other.answer) == plain(gold):
            return other, Scene(things)
    return (found, scene) if found else None


def _solved(call: Call, scene: Scene) -> Solution | None:
    try:
        return call.solve(scene)
    except UnanswerableError:
        return None


def _align(solution: Solution, scene: Scene, steps: Sequence[str]) -> list[int | None]:
    """For each of the student's steps the canonical one that says the same, None if there is none."""
    wanted = [meaning(step.text) for step in solution.steps]
    found: list[int | None] = []
    for number, text in enumerate(steps):
        said = meaning(_reordered(scene, steps[:number], text) if plain(text).startswith("they are ") else text)
        found.append(wanted.index(said) if said in wanted else None)
    return found


def _reordered(scene: Scene, before: Sequence[str], text: str) -> str:
    """ "they are …" as it would read had the places been listed in reading order, if the student listed them
    otherwise."""
    lists = [match[2].split() for step in before if (match := _LIST.fullmatch(plain(step)))]
    words = plain(text).removeprefix("they are ").split()
    if not lists or len(lists[-1]) != len(words):
        return text
    pairs = sorted(zip(lists[-1], words, strict=True))
    return f"they are {' '.join(word for _, word in pairs)}"


def check(solution: Solution, scene: Scene, steps: Sequence[str]) -> Verdict:
    """Finds the first wrong step. Without steps only the answer can be judged: what it lacked is the last operation."""
    if not steps:
        return Verdict(None, solution.steps[-1], chief_skill(solution))
    reached = 0
    for number, match in enumerate(_align(solution, scene, steps)):
        if match is None:
            expected = solution.steps[min(reached, len(solution.steps) - 1)]
            return Verdict(number, expected, lacking(scene, expected, steps[number]))
        reached = max(reached, match + 1)
    expected = solution.steps[min(reached, len(solution.steps) - 1)]
    return Verdict(None, expected, chief_skill(solution) if expected.skill == "conclude" else expected.skill)


def step_holds(solution: Solution, scene: Scene, steps: Sequence[str]) -> bool:
    """Whether the last of these steps is right, whatever those before it are."""
    return _align(solution, scene, steps)[-1] is not None


def check_at(solution: Solution, scene: Scene, steps: Sequence[str], wrong: int) -> Verdict:
    """What was lacking at a step that somebody else found (0-based)."""
    reached = 0
    for match in _align(solution, scene, steps[:wrong]):
        reached = reached + 1 if match is None else max(reached, match + 1)
    expected = solution.steps[min(reached, len(solution.steps) - 1)]
    return Verdict(wrong, expected, lacking(scene, expected, steps[wrong]))


def chief_skill(solution: Solution) -> str:
    """The skill of the question's last operation."""
    skills = [step.skill for step in solution.steps if step.skill not in ("conclude", "copy")]
    return skills[-1] if skills else solution.steps[-1].skill


def lacking(scene: Scene, expected: Step, said: str) -> str:
    """The skill whose lack made a step wrong: that of the step that should stand there. Where a step says two things
    of a cell, what it holds and in which color, the false one decides."""
    right, wrong = _LOOK.fullmatch(plain(expected.text)), _LOOK.fullmatch(plain(said))
    if not right or not wrong or right[1] != wrong[1]:
        return expected.skill
    thing = scene.things.get(CELL_INDEX[right[1]])
    if thing is None or wrong[2] == "nothing":
        return "see_empty"
    color_wrong = wrong[2] in COLORS and wrong[2] != thing.color
    kind_wrong = wrong[3] != thing.kind
    if color_wrong and (expected.skill == "read_color" or not kind_wrong):
        return "read_color"
    return kind_skill(thing) if kind_wrong else expected.skill


def kind_skill(thing: Thing) -> str:
    """The skill of seeing what kind of thing something is."""
    if thing.is_digit:
        return "read_digit"
    return "read_rare_shape" if thing.kind in RARE_SHAPES else "read_shape"
