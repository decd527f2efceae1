"""A scene under construction: programs put what their question needs and fill the rest with bystanders."""

from collections.abc import Callable

from eval.microworld.dice import Dice
from eval.microworld.scene import CELLS, COLORS, COMMON_SHAPES, DIGITS, NOISE_PATTERNS, SIZES, Scene, Split, Thing
from eval.microworld.scene import draw_thing as _draw

COLOR_NAMES = tuple(COLORS)
DIGIT_SHARE = 0.35  # of bystanders


class Canvas:
    """Cells still free, and what has been put. Cells are indices 0-15."""

    def __init__(self, dice: Dice, split: Split) -> None:
        self.dice = dice
        self._split: Split = split
        self.free = dice.sample(range(len(CELLS)), len(CELLS))
        self.things: dict[int, Thing] = {}

    def put(self, kind: str, color: str = "", size: str = "", cell: int | None = None) -> int:
        """Puts an object of this kind; what is not given is drawn. Returns its cell."""
        if cell is None:
            cell = self.free.pop()
        else:
            self.free.remove(cell)
        color = color or self.dice.pick(COLOR_NAMES)
        self.things[cell] = _draw(self.dice, self._split, kind, color, size or self.dice.pick(SIZES))
        return cell

    def shape(self, cell: int | None = None, color: str = "") -> int:
        return self.put(self.dice.pick(COMMON_SHAPES), color, cell=cell)

    def digit(self, cell: int | None = None, color: str = "") -> int:
        return self.put(self.dice.pick(DIGITS), color, cell=cell)

    def thing(self, cell: int | None = None, color: str = "") -> int:
        return self.digit(cell, color) if self.dice.chance(DIGIT_SHARE) else self.shape(cell, color)

    def fill(
        self, low: int, high: int, allowed: Callable[[str, str, str], bool] | None = None, free: list[int] | None = None
    ) -> None:
        """Puts low-high bystanders, of (kind, color, size) that are allowed, in free cells (of the given ones)."""
        for _ in range(self.dice.between(low, high)):
            cells = self.free if free is None else [cell for cell in free if cell in self.free]
            if not cells:
                return
            for _try in range(50):
                kind = self.dice.pick(DIGITS if self.dice.chance(DIGIT_SHARE) else COMMON_SHAPES)
                color, size = self.dice.pick(COLOR_NAMES), self.dice.pick(SIZES)
                if allowed is None or allowed(kind, color, size):
                    self.put(kind, color, size, self.dice.pick(cells))
                    break

    def scene(self) -> Scene:
        things = dict(sorted(self.things.items()))
        return Scene(things, 20.0 + 40.0 * self.dice.real(), self.dice.below(NOISE_PATTERNS))
