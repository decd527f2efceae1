"""Questions: their wordings, and the way back from a question's text to its kind and arguments.

A wording is a template whose placeholders are typed by their name (`ARGUMENTS`), so one regular expression per wording
reads it back: `parse(text)` gives the call whose `solve(scene)` recomputes the canonical steps.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from eval.microworld import digits, solving
from eval.microworld.scene import CELLS, COLORS, ROWS, SHAPES, Scene
from eval.microworld.solving import CORNERS, MOVES, Args, Solution, Solver, plural, singular

THINK, DIRECT = "Think in steps.", "Answer only."  # what a prompt adds to a question
CAPTION = "Describe."

ARGUMENTS = {
    "cell": "[a-d][1-4]",
    "cell2": "[a-d][1-4]",
    "color": "|".join(COLORS),
    "color2": "|".join(COLORS),
    "shape": "|".join(SHAPES),
    "shapes": "|".join(plural(kind) for kind in SHAPES),  # read back as "shape"
    "digit": "[0-9]",
    "digits": "[0-9](?: [0-9])+",
    "row": f"[{ROWS}]",
    "column": "[1-4]",
    "corner": "|".join(CORNERS),
    "direction": "|".join(MOVES),
    "comparison": "more|fewer",
    "extreme": "largest|smallest",
    "operation": "sum|difference",
    "parity": "odd|even",
}


@dataclass(frozen=True)
class Question:
    """One kind of question: what it may be called, how it is solved, and whether it goes with a picture."""

    name: str
    solver: Solver
    wordings: tuple[str, ...]
    pictured: bool = True

    def text(self, wording: int, args: Args) -> str:
        shapes = {"shapes": plural(args["shape"])} if "shape" in args else {}
        return self.wordings[wording].format(**args, **shapes)


def _q(name: str, solver: Solver, *wordings: str, pictured: bool = True) -> Question:
    return Question(name, solver, wordings, pictured)


QUESTIONS: dict[str, Question] = {
    question.name: question
    for question in (
        _q("color_at", solving.color_at, "What color is the object at {cell}?", "Which color does {cell} have?"),
        _q("shape_at", solving.shape_at, "What shape is at {cell}?", "Which shape does {cell} hold?"),
        _q("digit_at", solving.digit_at, "Which digit is at {cell}?", "Read the digit at {cell}."),
        _q("size_at", solving.size_at, "What size is the shape at {cell}?", "How big is the shape at {cell}?"),
        _q("empty_at", solving.empty_at, "Is {cell} empty?", "Is there nothing at {cell}?"),
        _q(
            "corner",
            solving.corner,
            "What color is the object in the {corner} corner?",
            "Which color does the {corner} corner have?",
        ),
        _q(
            "mirror",
            solving.mirror,
            "What color is the object in the mirror cell of {cell}?",
            "Which color does the mirror cell of {cell} have?",
        ),
        _q(
            "neighbour",
            solving.neighbour,
            "What color is the object {direction} the {color} {shape}?",
            "Which color lies {direction} the {color} {shape}?",
        ),
        _q("find", solving.find, "Where is the {color} {shape}?", "Which cell holds the {color} {shape}?"),
        _q("find_digit", solving.find_digit, "Where is the digit {digit}?", "Which cell holds the digit {digit}?"),
        _q(
            "digit_color",
            solving.digit_color,
            "What color is the digit {digit}?",
            "Which color has the digit {digit}?",
        ),
        _q(
            "count_color",
            solving.count_color,
            "How many {color} objects are there?",
            "Count the {color} objects.",
            "What is the number of {color} objects?",
        ),
        _q(
            "count_shape",
            solving.count_shape,
            "How many {shapes} are there?",
            "Count the {shapes}.",
            "What is the number of {shapes}?",
        ),
        _q("count_digit", solving.count_digit, "How many digits are there?", "Count the digits."),
        _q("count_all", solving.count_all, "How many objects are there?", "Count all objects."),
        _q("count_small", solving.count_small, "How many small shapes are there?", "Count the small shapes."),
        _q("count_row", solving.count_row, "How many objects are in row {row}?", "Count the objects in row {row}."),
        _q(
            "count_column",
            solving.count_column,
            "How many objects are in column {column}?",
            "Count the objects in column {column}.",
        ),
        _q("exists", solving.exists, "Is there a {color} {shape}?", "Does any cell hold a {color} {shape}?"),
        _q(
            "same_shape",
            solving.same_shape,
            "Do {cell} and {cell2} have the same shape?",
            "Are the shapes at {cell} and {cell2} the same?",
        ),
        _q(
            "more_or_fewer",
            solving.more_or_fewer,
            "Are there {comparison} {color} or {color2} objects?",
            "Which color has {comparison} objects, {color} or {color2}?",
        ),
        _q("row_most", solving.row_most, "Which row has the most objects?", "In which row are the most objects?"),
        _q("odd_one_out", solving.odd_one_out, "Which cell holds the odd one out?", "Where is the odd one out?"),
        _q(
            "extreme",
            digits.of_digits,
            "What is the {extreme} digit?",
            "Which digit is the {extreme}?",
            "Name the {extreme} digit.",
        ),
        _q(
            "extreme_row",
            digits.of_digits,
            "What is the {extreme} digit in row {row}?",
            "Which digit is the {extreme} in row {row}?",
        ),
        _q(
            "extreme_column",
            digits.of_digits,
            "What is the {extreme} digit in column {column}?",
            "Which digit is the {extreme} in column {column}?",
        ),
        _q(
            "operation",
            digits.of_digits,
            "What is the {operation} of the two digits?",
            "Give the {operation} of the two digits.",
            "Find the {operation} of both digits.",
        ),
        _q(
            "operation_column",
            digits.of_digits,
            "What is the {operation} of the digits in column {column}?",
            "Give the {operation} of the digits in column {column}.",
        ),
        _q("parity_pick", digits.parity_pick, "What is the {parity} digit?", "Which digit is {parity}?"),
        _q("parity_count", digits.parity_count, "How many digits are {parity}?", "Count the {parity} digits."),
        _q("text_extreme", digits.text_digits, "The digits are {digits}. What is the {extreme}?", pictured=False),
        _q("text_operation", digits.text_digits, "The digits are {digits}. What is their {operation}?", pictured=False),
        _q("text_parity", digits.text_parity, "The digits are {digits}. Which one is {parity}?", pictured=False),
        _q("text_move", digits.text_move, "Which cell is {direction} {cell}?", pictured=False),
        _q("text_mirror", digits.text_mirror, "What is the mirror cell of {cell}?", pictured=False),
    )
}


class Call(NamedTuple):
    """A question with its arguments."""

    question: Question
    args: Args

    def solve(self, scene: Scene | None) -> Solution:
        """The canonical steps. Raises `UnanswerableError` if the scene has not what the question asks about."""
        return self.question.solver(scene or Scene({}), self.args)


def _pattern(wording: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", wording)
    texts = [re.escape(part) if i % 2 == 0 else f"(?P<{part}>{ARGUMENTS[part]})" for i, part in enumerate(parts)]
    return re.compile("".join(texts))


_PATTERNS = [(_pattern(wording), question) for question in QUESTIONS.values() for wording in question.wordings]


def parse(text: str) -> Call | None:
    """The question behind a text, None if no wording fits. What a prompt adds (see `THINK`) is put aside."""
    text = text.replace("<image>", "").strip()
    for ending in (THINK, DIRECT):
        text = text.removesuffix(ending).rstrip()
    for pattern, question in _PATTERNS:
        if match := pattern.fullmatch(text):
            args = match.groupdict()
            if "shapes" in args:
                args["shape"] = singular(args.pop("shapes"))
            return Call(question, args)
    return None


def caption(scene: Scene) -> str:
    """What `Describe.` is answered with: every object with its cell, in reading order."""
    words = [
        f"{CELLS[cell]} {thing.size + ' ' if thing.size else ''}{thing.color} {thing.kind}."
        for cell, thing in scene.things.items()
    ]
    return " ".join(words) or "empty."
