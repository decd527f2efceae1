"""Scenes: 4x4 cells of 16 px, each empty or holding one object, and their pictures (64x64 RGB).

Columns are 1-4 from the left, rows a-d from the top; a cell's index is row * 4 + column, its name "c2". Objects are
shapes in two sizes or real handwritten digits (scikit-learn's load_digits, 1,797 scans of 8x8, enlarged x2), in one of
8 colours. Digit scans are split 1197/300/300 into train/validation/test and never cross.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits

from eval.microworld.dice import Dice

Split = Literal["train", "validation", "test"]

COMMON_SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
RARE_SHAPES = ("ring", "heart")
SHAPES = COMMON_SHAPES + RARE_SHAPES
SIZES = ("small", "large")
DIGITS = tuple("0123456789")
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 40),
    "green": (40, 175, 60),
    "blue": (50, 80, 235),
    "yellow": (240, 225, 50),
    "orange": (250, 135, 25),
    "purple": (150, 50, 190),
    "cyan": (60, 215, 225),
    "white": (240, 240, 240),
}
ROWS, COLUMNS = "abcd", "1234"
CELLS = tuple(row + column for row in ROWS for column in COLUMNS)
CELL_INDEX = {name: index for index, name in enumerate(CELLS)}

CELL_PX, SIDE_PX = 16, 64
RADIUS_PX = {"small": 4.3, "large": 7.3}
OFFSETS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
NOISE_SD, NOISE_PATTERNS = 5.0, 128  # grey levels; drawn once and reused: drawing costs 100 µs a scene
SPLIT_SEED, NOISE_SEED = 20, 21
SPLIT_SIZES: dict[Split, int] = {"train": 1197, "validation": 300, "test": 300}


class Thing(NamedTuple):
    """One object. `size` is empty for digits; `sprite` and `rgb` say how it was drawn and are no part of the facts."""

    kind: str
    color: str
    size: str = ""
    sprite: int = -1
    rgb: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def is_digit(self) -> bool:
        return self.kind in DIGITS


@dataclass(frozen=True, slots=True)
class Scene:
    """What lies where: cell index (0-15, row-major, ascending) to object."""

    things: dict[int, Thing]
    background: float = 40.0
    noise: int = 0

    def cells(self, wanted: Callable[[Thing], bool]) -> list[int]:
        return [cell for cell, thing in self.things.items() if wanted(thing)]


@cache
def digit_scans(split: Split) -> tuple[tuple[int, ...], ...]:
    """Scan numbers (0-1796) of a split, for each digit 0-9."""
    order = np.random.default_rng(SPLIT_SEED).permutation(1797)
    start = {"train": 0, "validation": 1197, "test": 1497}[split]
    numbers = np.sort(order[start : start + SPLIT_SIZES[split]])
    labels = load_digits().target
    return tuple(tuple(int(n) for n in numbers if labels[n] == digit) for digit in range(10))


def _outline(kind: str, radius: float, scale: int) -> NDArray[np.float32]:
    """A shape's mask, drawn `scale` times too large and reduced: float32 [16, 16] in 0-255."""
    side = CELL_PX * scale
    image = Image.new("L", (side, side))
    pen = ImageDraw.Draw(image)
    c, r = side / 2, radius * scale

    def polygon(points: Sequence[tuple[float, float]]) -> None:
        pen.polygon([(c + x * r, c + y * r) for x, y in points], fill=255)

    if kind in ("circle", "ring"):
        pen.ellipse((c - r, c - r, c + r, c + r), fill=255)
        if kind == "ring":
            pen.ellipse((c - r * 0.55, c - r * 0.55, c + r * 0.55, c + r * 0.55), fill=0)
    elif kind == "square":
        polygon([(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)])
    elif kind == "triangle":
        polygon([(0, -1), (1, 0.85), (-1, 0.85)])
    elif kind == "diamond":
        polygon([(0, -1), (0.7, 0), (0, 1), (-0.7, 0)])
    elif kind == "cross":
        polygon([(-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)])
        polygon([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)])
    elif kind == "star":
        angles = np.arange(10) * np.pi / 5 - np.pi / 2
        reach = np.where(np.arange(10) % 2, 0.42, 1.1)
        polygon([(float(np.cos(a) * q), float(np.sin(a) * q)) for a, q in zip(angles, reach, strict=True)])
    else:  # heart
        pen.ellipse((c - r, c - r * 0.9, c + r * 0.06, c + r * 0.15), fill=255)
        pen.ellipse((c - r * 0.06, c - r * 0.9, c + r, c + r * 0.15), fill=255)
        polygon([(-0.93, -0.15), (0.93, -0.15), (0, 1)])
    small = np.asarray(image, dtype=np.float32).reshape(CELL_PX, scale, CELL_PX, scale)
    mask: NDArray[np.float32] = small.mean(axis=(1, 3), dtype=np.float32)
    return mask


@cache
def sprites() -> NDArray[np.uint8]:
    """All masks: uint8 [(16 + 1797) * 9, 16, 16]; shape (2 sizes each), then digit scans, each at nine offsets."""
    shapes = [_outline(kind, RADIUS_PX[size], 8) for kind in SHAPES for size in SIZES]
    scans = load_digits().images.repeat(2, axis=1).repeat(2, axis=2) * (255 / 16)
    plain = np.concatenate([np.stack(shapes), scans.astype(np.float32)])
    padded = np.pad(plain, ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, 1 - dy : 17 - dy, 1 - dx : 17 - dx] for dy, dx in OFFSETS]
    return np.stack(moved, axis=1).reshape(-1, CELL_PX, CELL_PX).round().astype(np.uint8)


@cache
def _noise() -> NDArray[np.float32]:
    rng = np.random.default_rng(NOISE_SEED)
    return rng.normal(0.0, NOISE_SD, (NOISE_PATTERNS, SIDE_PX, SIDE_PX, 3)).astype(np.float32)


def draw_thing(dice: Dice, split: Split, kind: str, color: str, size: str) -> Thing:
    """An object with its jitter drawn: scan, offset, brightness and colour."""
    if kind in DIGITS:
        base, size = 2 * len(SHAPES) + dice.pick(digit_scans(split)[int(kind)]), ""
    else:
        base = SHAPES.index(kind) * 2 + SIZES.index(size)
    bright = 0.8 + 0.2 * dice.real()
    red, green, blue = COLORS[color]
    rgb = (
        red * bright + 20 * dice.real() - 10,
        green * bright + 20 * dice.real() - 10,
        blue * bright + 20 * dice.real() - 10,
    )
    return Thing(kind, color, size, base * 9 + dice.below(9), rgb)


def render(scenes: Sequence[Scene]) -> NDArray[np.uint8]:
    """Pictures of scenes: uint8 [n, 64, 64, 3]."""
    grey = np.array([scene.background for scene in scenes], dtype=np.float32)
    cells = np.empty((len(scenes) * 16, CELL_PX, CELL_PX, 3), dtype=np.float32)
    cells[:] = np.repeat(grey, 16)[:, None, None, None]
    where = [16 * i + cell for i, scene in enumerate(scenes) for cell in scene.things]
    if where:
        things = [thing for scene in scenes for thing in scene.things.values()]
        mask = sprites()[[thing.sprite for thing in things]].astype(np.float32)[..., None] * np.float32(1 / 255)
        tint = (
            np.array([thing.rgb for thing in things], dtype=np.float32)
            - np.repeat(grey, [len(scene.things) for scene in scenes])[:, None]
        )
        cells[where] += mask * tint[:, None, None, :]
    grid = cells.reshape(-1, 4, 4, CELL_PX, CELL_PX, 3).transpose(0, 1, 3, 2, 4, 5)
    picture = grid.reshape(-1, SIDE_PX, SIDE_PX, 3) + _noise()[[scene.noise for scene in scenes]]
    return np.clip(picture, 0, 255, out=picture).astype(np.uint8)
