"""Question programs: how a scene and the arguments of a question are drawn together, and which of them are the
student's gaps.

Each program puts what its question needs and bystanders that make short cuts fail. `KNOWN` programs are what the
student is pretrained on; `GAPS` maps each of the twelve gap skills to its programs. Programs in both ("…_column") join
two gap skills. Answers are spread, so that a student who only knows the form of an answer is right in at most a third
of a gap's questions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from eval.microworld.canvas import COLOR_NAMES, Canvas
from eval.microworld.digits import PARITIES
from eval.microworld.scene import CELL_INDEX, CELLS, COMMON_SHAPES, RARE_SHAPES, ROWS
from eval.microworld.solving import CORNERS, MOVES, mirrored, moved

Draw = Callable[[Canvas], dict[str, str]]


@dataclass(frozen=True)
class Program:
    name: str
    question: str  # key of QUESTIONS
    draw: Draw


def _shape_kind(canvas: Canvas, rare: bool) -> str:
    return canvas.dice.pick(RARE_SHAPES if rare else COMMON_SHAPES)


def _any_cell(canvas: Canvas) -> dict[str, str]:
    cell = canvas.thing()
    canvas.fill(2, 7)
    return {"cell": CELLS[cell]}


def _shape_cell(rare: bool) -> Draw:
    def draw(canvas: Canvas) -> dict[str, str]:
        cell = canvas.put(_shape_kind(canvas, rare))
        canvas.fill(2, 7)
        return {"cell": CELLS[cell]}

    return draw


def _digit_cell(canvas: Canvas) -> dict[str, str]:
    cell = canvas.digit()
    canvas.fill(2, 7)
    return {"cell": CELLS[cell]}


def _maybe_empty(canvas: Canvas) -> dict[str, str]:
    if canvas.dice.chance(0.5):
        return _any_cell(canvas)
    canvas.fill(3, 8)
    return {"cell": CELLS[canvas.dice.pick(canvas.free)]}


def _corner(canvas: Canvas) -> dict[str, str]:
    name = canvas.dice.pick(tuple(CORNERS))
    canvas.thing(CELL_INDEX[CORNERS[name]])
    for other in CORNERS.values():
        if CELL_INDEX[other] in canvas.free and canvas.dice.chance(0.6):
            canvas.thing(CELL_INDEX[other])
    canvas.fill(1, 4)
    return {"corner": name}


def _mirror(canvas: Canvas) -> dict[str, str]:
    cell = canvas.thing()
    canvas.thing(mirrored(cell))
    upside_down = 12 - cell // 4 * 4 + cell % 4  # what another mirror would give
    if upside_down in canvas.free:
        canvas.thing(upside_down)
    canvas.fill(2, 5)
    return {"cell": CELLS[cell]}


def _neighbour(direction: str) -> Draw:
    """The other neighbours are mostly there too, so going the wrong way gives a wrong answer."""

    def draw(canvas: Canvas) -> dict[str, str]:
        start = canvas.dice.pick([cell for cell in range(16) if moved(cell, direction) is not None])
        color, kind = canvas.dice.pick(COLOR_NAMES), _shape_kind(canvas, False)
        canvas.put(kind, color, cell=start)

        def other(k: str, c: str, _size: str) -> bool:
            return (k, c) != (kind, color)

        for way in MOVES:
            cell = moved(start, way)
            if cell is not None and (way == direction or canvas.dice.chance(0.75)):
                canvas.fill(1, 1, other, [cell])
        canvas.fill(1, 3, other)
        return {"color": color, "shape": kind, "direction": direction}

    return draw


def _find(rare: bool) -> Draw:
    def draw(canvas: Canvas) -> dict[str, str]:
        color, kind = canvas.dice.pick(COLOR_NAMES), _shape_kind(canvas, rare)
        canvas.put(kind, color)
        if rare or canvas.dice.chance(0.5):  # near misses in colour; without them rare shapes are found by colour alone
            count = 2 if rare else 1
            canvas.fill(count, count, lambda k, c, _: c == color and k != kind)
        canvas.fill(2, 6, lambda k, c, _: (k, c) != (kind, color))
        return {"color": color, "shape": kind}

    return draw


def _digit_unique(canvas: Canvas) -> dict[str, str]:
    digits = canvas.dice.sample("0123456789", canvas.dice.between(1, 3))
    for digit in digits:
        canvas.put(digit)
    canvas.fill(2, 5, lambda k, _c, _s: k in COMMON_SHAPES)
    return {"digit": digits[0]}


def _count_color(canvas: Canvas) -> dict[str, str]:
    color = canvas.dice.pick(COLOR_NAMES)
    for _ in range(canvas.dice.below(6)):
        canvas.thing(color=color)
    canvas.fill(1, 4, lambda _k, c, _s: c != color)
    return {"color": color}


def _count_shape(rare: bool) -> Draw:
    def draw(canvas: Canvas) -> dict[str, str]:
        kind = _shape_kind(canvas, rare)
        for _ in range(canvas.dice.between(1, 5) if rare else canvas.dice.below(6)):
            canvas.put(kind)
        canvas.fill(1, 4, lambda k, _c, _s: k != kind)
        return {"shape": kind}

    return draw


def _count_digit(canvas: Canvas) -> dict[str, str]:
    for _ in range(canvas.dice.below(6)):
        canvas.digit()
    canvas.fill(1, 4, lambda k, _c, _s: k in COMMON_SHAPES)
    return {}


def _count_all(canvas: Canvas) -> dict[str, str]:
    canvas.fill(1, 8)
    return {}


def _count_small(canvas: Canvas) -> dict[str, str]:
    for _ in range(canvas.dice.below(6)):
        canvas.put(_shape_kind(canvas, False), size="small")
    canvas.fill(2, 4, lambda k, _c, s: s == "large" or k not in COMMON_SHAPES)
    return {}


def _count_line(kind: str) -> Draw:
    """Objects of a row or column: 0-4 of them, others around."""

    def draw(canvas: Canvas) -> dict[str, str]:
        line = canvas.dice.below(4)
        inside = [cell for cell in range(16) if (cell // 4 if kind == "row" else cell % 4) == line]
        count = canvas.dice.below(5)
        canvas.fill(count, count, free=inside)
        canvas.fill(2, 5, free=[cell for cell in range(16) if cell not in inside])
        return {kind: ROWS[line] if kind == "row" else str(line + 1)}

    return draw


def _exists(canvas: Canvas) -> dict[str, str]:
    if canvas.dice.chance(0.5):
        return _find(False)(canvas)
    color, kind = canvas.dice.pick(COLOR_NAMES), _shape_kind(canvas, False)
    canvas.fill(1, 1, lambda k, c, _: c == color and k != kind)
    canvas.fill(1, 1, lambda k, c, _: c != color and k == kind)
    canvas.fill(1, 5, lambda k, c, _: (k, c) != (kind, color))
    return {"color": color, "shape": kind}


def _same_shape(canvas: Canvas) -> dict[str, str]:
    kind = _shape_kind(canvas, False)
    other = kind if canvas.dice.chance(0.5) else canvas.dice.pick([k for k in COMMON_SHAPES if k != kind])
    cells = [canvas.put(kind), canvas.put(other)]
    canvas.fill(1, 5)
    return {"cell": CELLS[cells[0]], "cell2": CELLS[cells[1]]}


def _two_colors(comparison: str) -> Draw:
    def draw(canvas: Canvas) -> dict[str, str]:
        colors = canvas.dice.sample(COLOR_NAMES, 2)
        counts = canvas.dice.sample((1, 2, 3, 4), 2)
        for color, count in zip(colors, counts, strict=True):
            for _ in range(count):
                canvas.thing(color=color)
        canvas.fill(0, 3, lambda _k, c, _s: c not in colors)
        return {"color": colors[0], "color2": colors[1], "comparison": comparison}

    return draw


def _row_most(canvas: Canvas) -> dict[str, str]:
    most = canvas.dice.between(2, 4)
    winner = canvas.dice.below(4)
    for row in range(4):
        count = most if row == winner else canvas.dice.below(most)
        canvas.fill(count, count, free=list(range(4 * row, 4 * row + 4)))
    return {}


def _odd_one_out(canvas: Canvas) -> dict[str, str]:
    kind, other = canvas.dice.sample(COMMON_SHAPES, 2)
    for _ in range(canvas.dice.between(3, 4)):
        canvas.put(kind)
    canvas.put(other)
    return {}


def _digits(low: int, high: int, argument: dict[str, str]) -> Draw:
    """Different digits (low-high of them) among shapes."""

    def draw(canvas: Canvas) -> dict[str, str]:
        for digit in canvas.dice.sample("0123456789", canvas.dice.between(low, high)):
            canvas.put(digit)
        canvas.fill(1, 4, lambda k, _c, _s: k in COMMON_SHAPES)
        return dict(argument)

    return draw


def _digits_in(kind: str, low: int, high: int, argument: dict[str, str]) -> Draw:
    """Different digits in one row or column, one or two more elsewhere, and shapes."""

    def draw(canvas: Canvas) -> dict[str, str]:
        line = canvas.dice.below(4)
        inside = [cell for cell in range(16) if (cell // 4 if kind == "row" else cell % 4) == line]
        count = canvas.dice.between(low, high)
        places = canvas.dice.sample(inside, count)
        for cell, digit in zip(places, canvas.dice.sample("0123456789", count), strict=True):
            canvas.put(digit, cell=cell)
        for _ in range(canvas.dice.between(1, 2)):
            canvas.digit(canvas.dice.pick([cell for cell in canvas.free if cell not in inside]))
        canvas.fill(1, 3, lambda k, _c, _s: k in COMMON_SHAPES)
        return {**argument, kind: ROWS[line] if kind == "row" else str(line + 1)}

    return draw


def _of_parity(canvas: Canvas, parity: str, count: int) -> list[str]:
    digits = [d for d in "0123456789" if int(d) % 2 == PARITIES.index(parity)]
    return canvas.dice.sample(digits, count)


def _parity_pick(canvas: Canvas) -> dict[str, str]:
    parity, other = canvas.dice.sample(PARITIES, 2)
    digits = _of_parity(canvas, parity, 1) + _of_parity(canvas, other, 3)
    for digit in digits:
        canvas.put(digit)
    canvas.fill(0, 3, lambda k, _c, _s: k in COMMON_SHAPES)
    return {"parity": parity}


def _parity_count(canvas: Canvas) -> dict[str, str]:
    parity, other = canvas.dice.sample(PARITIES, 2)
    count = canvas.dice.below(4)
    others = canvas.dice.between(1 if count == 0 else 0, 4 - count)
    for digit in _of_parity(canvas, parity, count) + _of_parity(canvas, other, others):
        canvas.put(digit)
    canvas.fill(0, 3, lambda k, _c, _s: k in COMMON_SHAPES)
    return {"parity": parity}


# --- without a picture
# --------------------------------------------------------------------------------------------------


def _text_digits(low: int, high: int, argument: dict[str, str]) -> Draw:
    def draw(canvas: Canvas) -> dict[str, str]:
        digits = canvas.dice.sample("0123456789", canvas.dice.between(low, high))
        return {**argument, "digits": " ".join(digits)}

    return draw


def _text_parity(canvas: Canvas) -> dict[str, str]:
    parity, other = canvas.dice.sample(PARITIES, 2)
    digits = _of_parity(canvas, parity, 1) + _of_parity(canvas, other, 3)
    return {"parity": parity, "digits": " ".join(canvas.dice.sample(digits, 4))}


def _text_move(directions: tuple[str, ...]) -> Draw:
    def draw(canvas: Canvas) -> dict[str, str]:
        direction = canvas.dice.pick(directions)
        cell = canvas.dice.pick([cell for cell in range(16) if moved(cell, direction) is not None])
        return {"direction": direction, "cell": CELLS[cell]}

    return draw


def _text_cell(canvas: Canvas) -> dict[str, str]:
    return {"cell": canvas.dice.pick(CELLS)}


def _table(*rows: tuple[str, str, Draw]) -> dict[str, Program]:
    return {name: Program(name, question, draw) for name, question, draw in rows}


KNOWN = _table(
    ("color_at", "color_at", _any_cell),
    ("shape_at", "shape_at", _shape_cell(False)),
    ("digit_at", "digit_at", _digit_cell),
    ("size_at", "size_at", _shape_cell(False)),
    ("empty_at", "empty_at", _maybe_empty),
    ("corner", "corner", _corner),
    ("left_of", "neighbour", _neighbour("left of")),
    ("right_of", "neighbour", _neighbour("right of")),
    ("find", "find", _find(False)),
    ("find_digit", "find_digit", _digit_unique),
    ("digit_color", "digit_color", _digit_unique),
    ("count_color", "count_color", _count_color),
    ("count_shape", "count_shape", _count_shape(False)),
    ("count_digit", "count_digit", _count_digit),
    ("count_all", "count_all", _count_all),
    ("count_row", "count_row", _count_line("row")),
    ("exists", "exists", _exists),
    ("same_shape", "same_shape", _same_shape),
    ("more_color", "more_or_fewer", _two_colors("more")),
    ("row_most", "row_most", _row_most),
    ("largest", "extreme", _digits(2, 4, {"extreme": "largest"})),
    ("largest_row", "extreme_row", _digits_in("row", 2, 3, {"extreme": "largest"})),
)
GAP = _table(
    ("above", "neighbour", _neighbour("above")),
    ("below", "neighbour", _neighbour("below")),
    ("parity_pick", "parity_pick", _parity_pick),
    ("parity_count", "parity_count", _parity_count),
    ("mirror", "mirror", _mirror),
    ("smallest", "extreme", _digits(3, 4, {"extreme": "smallest"})),
    ("smallest_column", "extreme_column", _digits_in("column", 2, 3, {"extreme": "smallest"})),
    ("sum", "operation", _digits(2, 2, {"operation": "sum"})),
    ("sum_column", "operation_column", _digits_in("column", 2, 2, {"operation": "sum"})),
    ("difference", "operation", _digits(2, 2, {"operation": "difference"})),
    ("fewer_color", "more_or_fewer", _two_colors("fewer")),
    ("count_column", "count_column", _count_line("column")),
    ("count_small", "count_small", _count_small),
    ("odd_one_out", "odd_one_out", _odd_one_out),
)
RARE = _table(
    ("rare_at", "shape_at", _shape_cell(True)),
    ("rare_count", "count_shape", _count_shape(True)),
    ("rare_find", "find", _find(True)),
)
TEXT_KNOWN = _table(
    ("text_largest", "text_extreme", _text_digits(2, 4, {"extreme": "largest"})),
    ("text_sideways", "text_move", _text_move(("left of", "right of"))),
)
TEXT_GAP = _table(
    ("text_smallest", "text_extreme", _text_digits(2, 4, {"extreme": "smallest"})),
    ("text_sum", "text_operation", _text_digits(2, 2, {"operation": "sum"})),
    ("text_difference", "text_operation", _text_digits(2, 2, {"operation": "difference"})),
    ("text_vertical", "text_move", _text_move(("above", "below"))),
    ("text_parity", "text_parity", _text_parity),
    ("text_mirror", "text_mirror", _text_cell),
)
PROGRAMS = KNOWN | GAP | RARE | TEXT_KNOWN | TEXT_GAP

GAPS: dict[str, tuple[str, ...]] = {
    "above": ("above",),
    "below": ("below",),
    "parity": ("parity_pick", "parity_count"),
    "mirror": ("mirror",),
    "smallest": ("smallest", "smallest_column"),
    "sum": ("sum", "sum_column"),
    "difference": ("difference",),
    "fewer": ("fewer_color",),
    "column": ("count_column", "smallest_column", "sum_column"),
    "small": ("count_small",),
    "odd_one_out": ("odd_one_out",),
    "rare_shapes": ("rare_at", "rare_count", "rare_find"),
}
