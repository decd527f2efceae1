"""Recognising a scene from its picture: which cells hold what, from nothing but the pixels.

A cell is background + mask * (colour - background) + noise. The background is seen at the cells' corners, the colour
where the cell is brightest, the mask is what is left of the cell along that colour. A mask that is one of the 16
shapes (nine offsets each) up to noise is that shape; any other is a digit."""

import io
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.microworld.expert.digit_reader import read_digits
from eval.microworld.scene import CELL_PX, COLORS, SHAPES, SIDE_PX, SIZES, Scene, Thing, sprites

#: Grey levels above the background from which a pixel is part of an object, and how many of those make one.
BRIGHT, ENOUGH = 60.0, 12
#: Least cosine between a mask and a shape's: shapes have .985 and more, digits .95 and less.
ALIKE = 0.97
#: A digit that is ahead of the next likely one by less than this is in doubt.
DOUBTFUL = 0.5
_DIMMED = np.linspace(0.75, 1.02, 10, dtype=np.float32)


class Doubt(NamedTuple):
    """A cell that may hold another digit; `lead` says how much the first reading is ahead."""

    cell: int
    other: str
    lead: float


class Seen(NamedTuple):
    """A scene as recognised, and its doubts, the greatest first."""

    scene: Scene
    doubts: tuple[Doubt, ...] = ()


class PictureError(ValueError):
    """These bytes are no picture."""


def decode(data: bytes) -> NDArray[np.uint8]:
    """uint8 [64, 64, 3]; pictures of another size are scaled. Raises PictureError."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            picture = image.convert("RGB")
            if picture.size != (SIDE_PX, SIDE_PX):
                picture = picture.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
            return np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"not a picture: {error}") from None


@cache
def _shape_masks() -> NDArray[np.float32]:
    """Unit vectors [8 shapes * 2 sizes * 9 offsets, 256]."""
    masks = sprites()[: len(SHAPES) * 2 * 9].reshape(-1, CELL_PX * CELL_PX).astype(np.float32)
    lengths: NDArray[np.float32] = np.linalg.norm(masks, axis=1, keepdims=True)
    return masks / lengths


@cache
def _shades() -> NDArray[np.float32]:
    """Each colour at ten brightnesses: [8, 10, 3]."""
    colors = np.array(list(COLORS.values()), dtype=np.float32)
    return colors[:, None, :] * _DIMMED[None, :, None]


def recognise(pictures: NDArray[np.uint8]) -> list[Seen]:
    """Scenes of pictures, uint8 [n, 64, 64, 3]."""
    cells = pictures.reshape(-1, 4, CELL_PX, 4, CELL_PX, 3).transpose(0, 1, 3, 2, 4, 5).astype(np.float32)
    cells = cells.reshape(len(pictures), 16, CELL_PX * CELL_PX, 3)
    corners = cells[:, :, [0, CELL_PX - 1, CELL_PX * (CELL_PX - 1), CELL_PX * CELL_PX - 1]]
    cells -= np.median(corners.reshape(len(pictures), -1), axis=1)[:, None, None, None]
    bright = cells.max(axis=3)
    picture, cell = np.nonzero((bright > BRIGHT).sum(axis=2) >= ENOUGH)
    found, strength = cells[picture, cell], bright[picture, cell]
    greys = np.median(corners.reshape(len(pictures), -1), axis=1)[picture]
    tints = _tints(found, strength)
    masks = np.einsum("npc,nc->np", found, tints) / np.maximum((tints**2).sum(axis=1, keepdims=True), 1.0)
    things, doubts = _things(masks, tints + greys[:, None])
    seen: list[dict[int, Thing]] = [{} for _ in pictures]
    unsure: list[list[Doubt]] = [[] for _ in pictures]
    for i, (p, c) in enumerate(zip(picture.tolist(), cell.tolist(), strict=True)):
        seen[p][c] = things[i]
        if i in doubts:
            unsure[p].append(Doubt(c, *doubts[i]))
    return [Seen(Scene(t), tuple(sorted(d, key=lambda x: x.lead))) for t, d in zip(seen, unsure, strict=True)]


def _tints(cells: NDArray[np.float32], strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """An object's colour less the background, [n, 3]: the mean of the pixels within 15% of the brightest (the 5th
    brightest, as the very brightest owes most to noise)."""
    top = np.partition(strength, -5, axis=1)[:, -5:-4] if len(strength) else strength[:, :1]
    weight = (strength >= 0.85 * top).astype(np.float32)
    tints: NDArray[np.float32] = np.einsum("npc,np->nc", cells, weight)
    pixels: NDArray[np.float32] = np.maximum(weight.sum(axis=1, keepdims=True), 1.0)
    return tints / pixels


def _things(
    masks: NDArray[np.float32], colors: NDArray[np.float32]
) -> tuple[list[Thing], dict[int, tuple[str, float]]]:
    """What objects are, from masks [n, 256] and colours [n, 3]; and the doubts about digits: index to (other digit,
    lead)."""
    distance = ((colors[:, None, None, :] - _shades()) ** 2).sum(axis=3).min(axis=2)
    names = [tuple(COLORS)[i] for i in distance.argmin(axis=1)] if len(colors) else []
    lengths = np.linalg.norm(masks, axis=1, keepdims=True)
    likeness = (masks / np.maximum(lengths, 1e-6)) @ _shape_masks().T
    best = likeness.argmax(axis=1) if len(masks) else np.empty(0, dtype=np.int64)
    digits = [i for i, shape in enumerate(best.tolist()) if likeness[i, shape] < ALIKE]
    readings = dict(zip(digits, read_digits(masks[digits].reshape(-1, CELL_PX, CELL_PX)), strict=True))
    things, doubts = [], {}
    for i, (color, index) in enumerate(zip(names, best.tolist(), strict=True)):
        if i in readings:
            reading = readings[i]
            things.append(Thing(reading.digit, color))
            if reading.lead < DOUBTFUL:
                doubts[i] = (reading.other, reading.lead)
        else:
            things.append(Thing(SHAPES[index // 18], color, SIZES[index // 9 % 2]))
    return things, doubts


def recognise_all(pictures: Sequence[bytes]) -> list[Seen]:
    """Scenes of encoded pictures. Raises PictureError."""
    return recognise(np.stack([decode(data) for data in pictures])) if pictures else []
