"""Canonical rationales of questions about the digits in a scene, or in the question itself (no picture)."""

from eval.microworld.scene import CELL_INDEX, CELLS, COLUMNS, ROWS, Scene
from eval.microworld.solving import MOVES, Args, Solution, Step, UnanswerableError, mirrored, moved

PARITIES = ("even", "odd")


def _conclusion(digits: list[str], wanted: str) -> tuple[Step, str]:
    """The last step on a list of digits, and the answer."""
    numbers = [int(digit) for digit in digits]
    if not numbers or (wanted in ("sum", "difference") and len(numbers) != 2):
        raise UnanswerableError(f"{len(numbers)} digits have no {wanted}")
    if wanted == "sum":
        total = sum(numbers)
        return Step(f"{numbers[0]} plus {numbers[1]} is {total}.", "add"), str(total)
    if wanted == "difference":
        high, low = max(numbers), min(numbers)
        return Step(f"{high} minus {low} is {high - low}.", "subtract"), str(high - low)
    chosen = max(numbers) if wanted == "largest" else min(numbers)
    return Step(f"the {wanted} is {chosen}.", wanted), str(chosen)


def _listing(scene: Scene, args: Args) -> tuple[Step, Step, list[str]]:
    """The steps that find the digits (of a region, if the question names one) and read them."""
    cells, region, skill = scene.cells(lambda t: t.is_digit), "", "find_digits"
    if "row" in args:
        cells = [c for c in cells if c // 4 == ROWS.index(args["row"])]
        region, skill = f" in row {args['row']}", "find_row"
    elif "column" in args:
        cells = [c for c in cells if c % 4 == COLUMNS.index(args["column"])]
        region, skill = f" in column {args['column']}", "find_column"
    if not cells:
        raise UnanswerableError("there are no digits")
    digits = [scene.things[cell].kind for cell in cells]
    names = " ".join(CELLS[cell] for cell in cells)
    found = Step(f"digits{region} at {names}.", skill)
    return found, Step(f"they are {' '.join(digits)}.", "read_digit"), digits


def of_digits(scene: Scene, args: Args) -> Solution:
    """Largest, smallest, sum or difference (args: extreme or operation) of a scene's, row's or column's digits."""
    found, read, digits = _listing(scene, args)
    last, answer = _conclusion(digits, args.get("extreme") or args["operation"])
    return Solution((found, read, last), answer)


def _of_parity(digits: list[str], parity: str) -> list[str]:
    return [digit for digit in digits if int(digit) % 2 == PARITIES.index(parity)]


def parity_pick(scene: Scene, args: Args) -> Solution:
    found, read, digits = _listing(scene, args)
    chosen = _of_parity(digits, args["parity"])
    if len(chosen) != 1:
        raise UnanswerableError(f"{len(chosen)} digits are {args['parity']}")
    return Solution((found, read, Step(f"the {args['parity']} one is {chosen[0]}.", "parity")), chosen[0])


def parity_count(scene: Scene, args: Args) -> Solution:
    found, read, digits = _listing(scene, args)
    chosen = _of_parity(digits, args["parity"])
    text = f"the {args['parity']} ones are {' '.join(chosen)}." if chosen else f"none is {args['parity']}."
    count = Step(f"the count is {len(chosen)}.", "count")
    return Solution((found, read, Step(text, "parity"), count), str(len(chosen)))


# --- without a picture: the scene is not looked at
# ----------------------------------------------------------------------


def text_digits(scene: Scene, args: Args) -> Solution:
    digits = args["digits"].split()
    last, answer = _conclusion(digits, args.get("extreme") or args["operation"])
    return Solution((Step(f"the digits are {' '.join(digits)}.", "copy"), last), answer)


def text_parity(scene: Scene, args: Args) -> Solution:
    digits = args["digits"].split()
    chosen = _of_parity(digits, args["parity"])
    if len(chosen) != 1:
        raise UnanswerableError(f"{len(chosen)} digits are {args['parity']}")
    first = Step(f"the digits are {' '.join(digits)}.", "copy")
    return Solution((first, Step(f"the {args['parity']} one is {chosen[0]}.", "parity")), chosen[0])


def text_move(scene: Scene, args: Args) -> Solution:
    cell, direction = args["cell"], args["direction"]
    end = moved(CELL_INDEX[cell], direction)
    if end is None:
        raise UnanswerableError(f"no cell lies {direction} {cell}")
    step = Step(f"{direction} {cell} is {CELLS[end]}.", MOVES[direction][0])
    return Solution((step, Step(f"the cell is {CELLS[end]}.", "conclude")), CELLS[end])


def text_mirror(scene: Scene, args: Args) -> Solution:
    end = CELLS[mirrored(CELL_INDEX[args["cell"]])]
    step = Step(f"the mirror cell of {args['cell']} is {end}.", "mirror")
    return Solution((step, Step(f"the cell is {end}.", "conclude")), end)
