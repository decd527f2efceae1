"""Canonical rationales: what the right steps of a question are, given the facts of a scene.

A step carries the id of the skill that it exercises (`STEP_SKILLS`). This is the world's truth, used by measurements
and by the expert teacher's own parser, never by the loop. The solvers look at a thing's kind, colour and size alone, so
they serve a recognised scene as well as a drawn one; a question that the scene cannot answer raises
`UnanswerableError`.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from eval.microworld.scene import CELL_INDEX, CELLS, RARE_SHAPES, ROWS, Scene, Thing

Args = Mapping[str, str]

STEP_SKILLS = {
    "find_color": "finding all objects of a color",
    "find_shape": "finding all objects of a common shape",
    "find_rare_shape": "finding rings or hearts",
    "find_digits": "finding all digits",
    "find_objects": "finding all objects",
    "find_small": "finding all small shapes",
    "find_row": "finding what lies in a row",
    "find_column": "finding what lies in a column",
    "locate": "finding the place of a described object",
    "read_color": "seeing a color",
    "read_shape": "seeing a common shape",
    "read_rare_shape": "recognising a ring or a heart",
    "read_size": "seeing a size",
    "read_digit": "reading a handwritten digit",
    "see_empty": "seeing whether a cell is empty",
    "count": "counting a list",
    "count_rows": "counting the objects of each row",
    "most_row": "taking the row with the most",
    "exists": "concluding whether something is there",
    "same": "comparing two shapes",
    "corner": "knowing a corner's cell",
    "go_left": "moving one cell to the left",
    "go_right": "moving one cell to the right",
    "go_up": "moving one cell up",
    "go_down": "moving one cell down",
    "mirror": "finding a mirror cell",
    "largest": "taking the largest digit",
    "smallest": "taking the smallest digit",
    "add": "adding two digits",
    "subtract": "subtracting two digits",
    "parity": "telling odd from even digits",
    "more": "choosing the color that has more",
    "fewer": "choosing the color that has fewer",
    "odd_one_out": "finding the odd one out",
    "copy": "repeating what the question gives",
    "conclude": "stating the answer",
}
CORNERS = {"top left": "a1", "top right": "a4", "bottom left": "d1", "bottom right": "d4"}
MOVES = {
    "left of": ("go_left", 0, -1),
    "right of": ("go_right", 0, 1),
    "above": ("go_up", -1, 0),
    "below": ("go_down", 1, 0),
}
PLURALS = {"cross": "crosses"}


class UnanswerableError(ValueError):
    """The scene has not what the question asks about."""


class Step(NamedTuple):
    text: str  # without "Step n: "
    skill: str


class Solution(NamedTuple):
    steps: tuple[Step, ...]
    answer: str

    @property
    def rationale(self) -> str:
        lines = [f"Step {i}: {step.text}" for i, step in enumerate(self.steps, 1)]
        return "\n".join([*lines, f"Answer: {self.answer}"])


Solver = Callable[[Scene, Args], Solution]


def plural(kind: str) -> str:
    return PLURALS.get(kind, kind + "s")


def singular(kinds: str) -> str:
    """The inverse of `plural`; a word that is none is returned as it is."""
    return next((k for k, p in PLURALS.items() if p == kinds), kinds.removesuffix("s"))


def moved(cell: int, direction: str) -> int | None:
    """The neighbour's index, or None outside the grid."""
    _, dy, dx = MOVES[direction]
    row, column = cell // 4 + dy, cell % 4 + dx
    return row * 4 + column if 0 <= row < 4 and 0 <= column < 4 else None


def mirrored(cell: int) -> int:
    """The cell at the same height on the other side of the middle line (1 <-> 4, 2 <-> 3)."""
    return cell - cell % 4 + 3 - cell % 4


def _solution(answer: str, *steps: tuple[str, str]) -> Solution:
    return Solution(tuple(Step(text, skill) for text, skill in steps), answer)


def _at(scene: Scene, cell: int) -> Thing:
    if cell not in scene.things:
        raise UnanswerableError(f"{CELLS[cell]} is empty")
    return scene.things[cell]


def _words(thing: Thing) -> str:
    return f"{thing.color} {thing.kind}"


def _look(scene: Scene, name: str) -> tuple[str, str]:
    """The step that says what a cell holds."""
    thing = _at(scene, CELL_INDEX[name])
    skill = "read_digit" if thing.is_digit else "read_rare_shape" if thing.kind in RARE_SHAPES else "read_shape"
    return f"{name} holds a {_words(thing)}.", skill


def _list(label: str, cells: Iterable[int]) -> str:
    names = " ".join(CELLS[cell] for cell in cells)
    return f"{label} at {names}." if names else f"no {label}."


def _finding(kind: str) -> str:
    return "find_rare_shape" if kind in RARE_SHAPES else "find_shape"


def _the(scene: Scene, args: Args) -> tuple[str, int]:
    """The described object's words and its cell; it must be the only one."""
    cells = scene.cells(lambda t: t.color == args["color"] and t.kind == args["shape"])
    if len(cells) != 1:
        raise UnanswerableError(f"{len(cells)} objects are a {args['color']} {args['shape']}")
    return f"{args['color']} {args['shape']}", cells[0]


# --- at a place -------------------------------------------------------------------------------------------------------


def color_at(scene: Scene, args: Args) -> Solution:
    color = _at(scene, CELL_INDEX[args["cell"]]).color
    return _solution(color, _look(scene, args["cell"]), (f"its color is {color}.", "read_color"))


def shape_at(scene: Scene, args: Args) -> Solution:
    thing = _at(scene, CELL_INDEX[args["cell"]])
    look = _look(scene, args["cell"])
    return _solution(thing.kind, look, (f"its shape is {thing.kind}.", look[1]))


def digit_at(scene: Scene, args: Args) -> Solution:
    digit = _at(scene, CELL_INDEX[args["cell"]]).kind
    return _solution(digit, _look(scene, args["cell"]), (f"the digit is {digit}.", "read_digit"))


def size_at(scene: Scene, args: Args) -> Solution:
    size = _at(scene, CELL_INDEX[args["cell"]]).size
    return _solution(size, _look(scene, args["cell"]), (f"its size is {size}.", "read_size"))


def empty_at(scene: Scene, args: Args) -> Solution:
    if CELL_INDEX[args["cell"]] in scene.things:
        return _solution("no", _look(scene, args["cell"]), ("it is not empty.", "see_empty"))
    return _solution("yes", (f"{args['cell']} holds nothing.", "see_empty"), ("it is empty.", "see_empty"))


def corner(scene: Scene, args: Args) -> Solution:
    name = CORNERS[args["corner"]]
    color = _at(scene, CELL_INDEX[name]).color
    first = (f"the {args['corner']} corner is {name}.", "corner")
    return _solution(color, first, _look(scene, name), (f"its color is {color}.", "read_color"))


def mirror(scene: Scene, args: Args) -> Solution:
    name = CELLS[mirrored(CELL_INDEX[args["cell"]])]
    color = _at(scene, CELL_INDEX[name]).color
    first = (f"the mirror cell of {args['cell']} is {name}.", "mirror")
    return _solution(color, first, _look(scene, name), (f"its color is {color}.", "read_color"))


def neighbour(scene: Scene, args: Args) -> Solution:
    words, start = _the(scene, args)
    direction = args["direction"]
    end = moved(start, direction)
    if end is None:
        raise UnanswerableError(f"nothing lies {direction} {CELLS[start]}")
    color = _at(scene, end).color
    locate = (f"{words} at {CELLS[start]}.", "locate")
    move = (f"{direction} {CELLS[start]} is {CELLS[end]}.", MOVES[direction][0])
    return _solution(color, locate, move, (f"{CELLS[end]} holds a {_words(scene.things[end])}.", "read_color"))


# --- finding, counting ------------------------------------------------------------------------------------------------


def find(scene: Scene, args: Args) -> Solution:
    words, cell = _the(scene, args)
    skill = "find_rare_shape" if args["shape"] in RARE_SHAPES else "locate"
    return _solution(CELLS[cell], (f"{words} at {CELLS[cell]}.", skill), (f"the cell is {CELLS[cell]}.", "conclude"))


def _the_digit(scene: Scene, digit: str) -> int:
    cells = scene.cells(lambda t: t.kind == digit)
    if len(cells) != 1:
        raise UnanswerableError(f"the digit {digit} is there {len(cells)} times")
    return cells[0]


def find_digit(scene: Scene, args: Args) -> Solution:
    cell = CELLS[_the_digit(scene, args["digit"])]
    return _solution(cell, (f"digit {args['digit']} at {cell}.", "locate"), (f"the cell is {cell}.", "conclude"))


def digit_color(scene: Scene, args: Args) -> Solution:
    cell = _the_digit(scene, args["digit"])
    color = scene.things[cell].color
    locate = (f"digit {args['digit']} at {CELLS[cell]}.", "locate")
    return _solution(color, locate, (f"its color is {color}.", "read_color"))


def _count(label: str, cells: list[int], skill: str) -> Solution:
    return _solution(str(len(cells)), (_list(label, cells), skill), (f"the count is {len(cells)}.", "count"))


def count_color(scene: Scene, args: Args) -> Solution:
    return _count(f"{args['color']} objects", scene.cells(lambda t: t.color == args["color"]), "find_color")


def count_shape(scene: Scene, args: Args) -> Solution:
    cells = scene.cells(lambda t: t.kind == args["shape"])
    return _count(plural(args["shape"]), cells, _finding(args["shape"]))


def count_digit(scene: Scene, args: Args) -> Solution:
    return _count("digits", scene.cells(lambda t: t.is_digit), "find_digits")


def count_all(scene: Scene, args: Args) -> Solution:
    return _count("objects", list(scene.things), "find_objects")


def count_small(scene: Scene, args: Args) -> Solution:
    return _count("small shapes", scene.cells(lambda t: t.size == "small"), "find_small")


def count_row(scene: Scene, args: Args) -> Solution:
    row = ROWS.index(args["row"])
    return _count(f"objects in row {args['row']}", [c for c in scene.things if c // 4 == row], "find_row")


def count_column(scene: Scene, args: Args) -> Solution:
    column = int(args["column"]) - 1
    return _count(f"objects in column {args['column']}", [c for c in scene.things if c % 4 == column], "find_column")


def exists(scene: Scene, args: Args) -> Solution:
    cells = scene.cells(lambda t: t.color == args["color"] and t.kind == args["shape"])
    first = (_list(f"{args['color']} {args['shape']}", cells), "locate")
    if cells:
        return _solution("yes", first, ("there is one.", "exists"))
    return _solution("no", first, ("there is none.", "exists"))


# --- comparing --------------------------------------------------------------------------------------------------------


def same_shape(scene: Scene, args: Args) -> Solution:
    kinds = [_at(scene, CELL_INDEX[args[name]]).kind for name in ("cell", "cell2")]
    looks = [_look(scene, args[name]) for name in ("cell", "cell2")]
    if kinds[0] == kinds[1]:
        return _solution("yes", *looks, (f"{kinds[0]} and {kinds[1]} are the same.", "same"))
    return _solution("no", *looks, (f"{kinds[0]} and {kinds[1]} are different.", "same"))


def more_or_fewer(scene: Scene, args: Args) -> Solution:
    colors = (args["color"], args["color2"])
    found = [scene.cells(lambda t, wanted=color: t.color == wanted) for color in colors]  # type: ignore[misc]
    counts = [len(cells) for cells in found]
    if counts[0] == counts[1]:
        raise UnanswerableError("the two colors have equally many objects")
    comparison = args["comparison"]
    chosen = colors[(counts[0] < counts[1]) == (comparison == "more")]
    return _solution(
        chosen,
        *((_list(color, cells), "find_color") for color, cells in zip(colors, found, strict=True)),
        (f"{colors[0]} has {counts[0]} and {colors[1]} has {counts[1]}.", "count"),
        (f"{chosen} has {comparison}.", comparison),
    )


def row_most(scene: Scene, args: Args) -> Solution:
    counts = [sum(cell // 4 == row for cell in scene.things) for row in range(4)]
    most = max(counts)
    if counts.count(most) > 1:
        raise UnanswerableError("two rows have the most objects")
    row = ROWS[counts.index(most)]
    text = " ".join(f"{name} {count}" for name, count in zip(ROWS, counts, strict=True))
    last = (f"the most is {most} in row {row}.", "most_row")
    return _solution(row, (f"the rows have {text}.", "count_rows"), last)


def odd_one_out(scene: Scene, args: Args) -> Solution:
    kinds = [thing.kind for thing in scene.things.values()]
    single = [cell for cell, thing in scene.things.items() if kinds.count(thing.kind) == 1]
    if len(set(kinds)) != 2 or len(single) != 1 or len(kinds) < 3:
        raise UnanswerableError("there is no odd one out")
    cell = single[0]
    return _solution(
        CELLS[cell],
        (_list("objects", scene.things), "find_objects"),
        (f"they are {' '.join(kinds)}.", "read_shape"),
        (f"the odd one is the {scene.things[cell].kind} at {CELLS[cell]}.", "odd_one_out"),
    )
