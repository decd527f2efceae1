"""Whether one picture is a copy of another: encoded anew, scaled, or cropped by up to about 3% on each side.

Looked at ever closer, so that most pairs cost microseconds: small grey sketches first as they lie, then laid on each other
(Gauss-Newton on the squared difference, as by Lucas and Kanade, 1981: a scale and a shift along each axis), and what is
left at 128 × 128 and then tile by tile at up to 1,024 pixels. There unrelated pages of one layout differ in each line,
forms of one template in each field, while a copy differs nowhere by much. Not covered: turned, mirrored or recoloured
copies, copies in another picture, small pictures scaled without smoothing.

Measured (`benchmarks/pictures.py`) on drawn pages, forms, charts and screenshots, on photographs and on scenes of 64 × 64. An
error on the generous side costs one sample of the pool, one on the other side an honest score.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.pool.images import perceptual_hash

Floats = NDArray[np.floating[Any]]
#: Where a point of one picture lies in another, both measured in widths and heights: (scale, shift) across, then down.
Placement = NDArray[np.floating[Any]]

#: Bits of 64 in which the hash of a copy may differ from one of `hashes` (measured: at most 10, but for tiny pictures).
MAX_BITS = 10
#: Share of a side by which `hashes` crops or pads.
_CROP = 0.025
#: Side (pixels) of the grey version that sketches are made of.
_FROM = 256
#: Sides (pixels) of the sketches, and how they are made smaller.
_SIDES = {16: Image.Resampling.BILINEAR, 32: Image.Resampling.BILINEAR, 64: Image.Resampling.LANCZOS}
#: Pixels at the edges that are not looked at: a crop has lost what was there.
_BORDERS = {16: 2, 32: 2, 64: 4}
#: Side of a closer one, made of one pair where neither picture is smaller.
_CLOSER = 128
#: A tile of a sketch is another if it differs by more than noise (levels of 255) and this share of its own contrast; see
#: `_strangeness`. Measured on pages of six prints, forms, charts and screenshots: copies to 1.4 at 16, 0.95 at 64 and 1.5
#: at 128, others at 128 from 2.0 (at 64 other forms come as near as 0.8).
_NOISE, _CONTRAST, _TOO_STRANGE = 2.0, {16: 0.4, 64: 0.5, _CLOSER: 0.5}, {16: 1.5, 64: 1.1, _CLOSER: 1.7}
#: Pictures with a shorter side (pixels) have nothing to show at the last sketch.
_LEAST = 96
#: Pairs that are laid on each other at a time; each takes some 100 kB.
_TOGETHER = 256
#: Longest side (pixels) at which tiles are compared, and their side.
_LONGEST, _TILE = 1024, 16
#: A tile differs if its mean squared difference is above both; half a percent of a picture may.
_TILE_NOISE, _TILE_CONTRAST, _MAY_DIFFER = 12.0**2, 0.7**2, 1 / 200


class Sketch(NamedTuple):
    """Grey versions of a picture, smoothed, of sides 16, 32 and 64; whether the picture is too small for the last."""

    levels: tuple[NDArray[np.uint8], ...]
    small: bool


def greyed(image: Image.Image) -> Image.Image:
    """A grey version of a picture, 256 × 256 whatever its shape; a side that is shorter stays as it is."""
    width, height = (min(_FROM, side) for side in image.size)
    return image.convert("L").resize((width, height), Image.Resampling.BILINEAR)


def sketch(image: Image.Image) -> Sketch:
    """What is kept of an RGB picture, 5 kB."""
    grey = greyed(image)
    # Lines of text closer than two pixels of 64 would show as waves that lie elsewhere in a crop: cut off, not averaged.
    levels = [_smooth(np.asarray(grey.resize((side, side), how), dtype=np.float32)) for side, how in _SIDES.items()]
    levels[-1] = _smooth(levels[-1])
    return Sketch(tuple(np.rint(each).astype(np.uint8) for each in levels), min(image.size) < _LEAST)


def hashes(image: Image.Image) -> NDArray[np.uint64]:
    """Perceptual hashes of a picture as it is, cropped a little, and padded (as if it were the crop) on each choice of
    sides: shape (31,). One of them is near the hash of any copy."""
    side = 128
    pad = round(side * _CROP)
    levels = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX))
    padded = Image.fromarray(np.pad(levels, pad, mode="edge"))
    whole, far = [pad] * 4, side + 2 * pad
    moves = [*product((0, 1), repeat=4), *product((0, -1), repeat=4)]
    edges = dict.fromkeys(tuple(at + pad * move for at, move in zip(whole, some, strict=True)) for some in moves)
    crops = (padded.crop((left, top, far - right, far - bottom)) for left, top, right, bottom in edges)
    return np.array([perceptual_hash(crop) for crop in crops], dtype=np.uint64)


class Sketches:
    """The sketches of many pictures, to find in them what one picture may be a copy of."""

    def __init__(self, sketches: Sequence[Sketch]) -> None:
        self._levels = {
            side: np.stack([each.levels[place] for each in sketches]) for place, side in enumerate(_SIDES) if sketches
        }
        self._small = np.array([each.small for each in sketches], dtype=bool)

    def alike(self, ours: Sketch, places: NDArray[np.intp]) -> list[tuple[int, Placement]]:
        """Those of the pictures at `places` of which `ours` may be a copy, or they of it, each with where its points lie
        in ours."""
        found = []
        for start in range(0, len(places), _TOGETHER):
            some = places[start : start + _TOGETHER]
            some = some[_at_once(_floats(ours.levels[0]), _floats(self._levels[16][some])) <= _TOO_STRANGE[16]]
            if not len(some):
                continue
            laid, _ = _lay(_floats(ours.levels[1]), _floats(self._levels[32][some]), np.tile(_ASIS, (len(some), 1)), 3)
            laid, strange = _lay(_floats(ours.levels[2]), _floats(self._levels[64][some]), laid, 2)
            stay = (strange <= _TOO_STRANGE[64]) | self._small[some] | ours.small
            found += list(zip(some[stay].tolist(), laid[stay], strict=True))
        return found


def for_tiles(image: Image.Image) -> Image.Image:
    """An RGB picture at the size at which `is_copy` looks at it."""
    scale = _LONGEST / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def closer(ours: Image.Image, other: Image.Image, placement: Placement) -> Placement | None:
    """Two pictures as `greyed` gives them laid on each other more closely than `alike` did; None if they show other
    things. Small pictures stay as they were laid."""
    if min(*ours.size, *other.size) < _CLOSER:
        return placement
    placement, mine, theirs = _laid_closer((ours, other), placement, _CLOSER)
    strange = _strangeness((mine - theirs)[None], (mine[None], theirs[None]), 8, _CONTRAST[_CLOSER])
    return None if strange[0] > _TOO_STRANGE[_CLOSER] else placement


def is_copy(ours: Image.Image, other: Image.Image, placement: Placement) -> bool:
    """Whether two pictures, as `for_tiles` gives them, show the same, once laid on each other as `closer` found."""
    placement, _, _ = _laid_closer((ours.convert("L"), other.convert("L")), placement)
    boxes = _shared(placement)
    size = _size(ours.size, other.size, boxes)
    return _tiles_agree(_smooth(_cut(ours, boxes[0], size)), _smooth(_cut(other, boxes[1], size)))


def _laid_closer(
    pair: tuple[Image.Image, Image.Image], placement: Placement, side: int | None = None
) -> tuple[Placement, Floats, Floats]:
    """Two grey pictures laid on each other more closely, and the parts that they share, as squares of `side` pixels or as
    large as they are."""
    how = Image.Resampling.LANCZOS if side else Image.Resampling.BILINEAR
    for left in (2, 1, 0):
        boxes = _shared(placement)
        size = (side, side) if side else _size(pair[0].size, pair[1].size, boxes)
        mine, theirs = (_smooth(_cut(*each, size, how)) for each in zip(pair, boxes, strict=True))
        gaps = theirs - mine
        gaps -= gaps.mean()
        if left:
            placement = _moved(placement, boxes, _step(mine, gaps))
    return placement, mine, mine + gaps


# ── sketches ──

_ASIS = np.array([1, 0, 1, 0], dtype=np.float64)
_MOST_SCALE, _MOST_SHIFT = 0.12, 0.08


def _floats(levels: NDArray[np.uint8]) -> Floats:
    return levels.astype(np.float32)


def _smooth(levels: Floats) -> Floats:
    """Without what depends on where a pixel's edge falls: (1, 2, 1) / 4 along the first two axes."""
    for axis in (0, 1):
        moved = np.swapaxes(levels, 0, axis)
        padded = np.concatenate([moved[:1], moved, moved[-1:]])
        levels = np.swapaxes(padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4, 0, axis)
    return levels


def _strangeness(gaps: Floats, pairs: Sequence[Floats], tile: int, contrast: float) -> Floats:
    """Of each pair, by how many times the most different tile differs more than it may; `gaps` and either side of the pairs:
    (n, side, side)."""

    def mean(values: Floats) -> Floats:
        count = values.shape[-1] // tile
        found: Floats = values.reshape(-1, count, tile, count, tile).mean((2, 4))
        return found

    spread = sum(np.maximum(mean(levels * levels) - mean(levels) ** 2, 0) for levels in pairs) / len(pairs)
    worst: Floats = np.sqrt((mean(gaps * gaps) / (_NOISE**2 + contrast**2 * spread)).max((1, 2)))
    return worst


def _at_once(ours: Floats, others: Floats) -> Floats:
    """Strangeness of pairs less what the best small scaling and shift explains of it, to first order (the tangent distance
    of Simard et al., 1993): no picture is resampled. (side, side) and (n, side, side)."""
    side = ours.shape[-1]
    inside = slice(_BORDERS[side], side - _BORDERS[side])
    down, across = (slope[inside, inside] for slope in np.gradient(ours))
    at = np.arange(len(down), dtype=np.float32) - len(down) / 2
    tangents = np.stack([across * at, across, down * at[:, None], down, np.ones_like(down)]).reshape(5, -1)
    basis = np.linalg.qr(tangents.T)[0]
    gaps = (others - ours)[:, inside, inside].reshape(len(others), -1)
    gaps -= (gaps @ basis) @ basis.T
    return _strangeness(gaps.reshape(-1, len(at), len(at)), (others[:, inside, inside],), 3, _CONTRAST[side])


def _lay(ours: Floats, others: Floats, placements: Placement, steps: int) -> tuple[Placement, Floats]:
    """Lay a picture on each of n others, from `placements` (n, 4) on: placements, and the strangeness that is left."""
    n, side = len(others), ours.shape[-1]
    border = _BORDERS[side]
    inside, before, behind = (slice(border + by, side - border + by) for by in (0, -1, 1))
    at = ((np.arange(side, dtype=np.float32) + 0.5) / side)[inside]
    wanted = others[:, inside, inside]
    for left in range(steps, -1, -1):
        seen = _warped(ours, placements)
        gaps = wanted - seen[:, inside, inside]
        gaps -= gaps.mean((1, 2), keepdims=True)
        if not left:
            break
        across = (seen[:, inside, behind] - seen[:, inside, before]) * (side / 2)
        down = (seen[:, behind, inside] - seen[:, before, inside]) * (side / 2)
        slopes = np.stack([across * at, across, down * at[:, None], down], 1).reshape(n, 4, -1)
        placements = placements + _solved(slopes, gaps.reshape(n, -1))
        placements[:, ::2] = np.clip(placements[:, ::2], 1 - _MOST_SCALE, 1 + _MOST_SCALE)
        placements[:, 1::2] = np.clip(placements[:, 1::2], -_MOST_SHIFT, _MOST_SHIFT)
    strange = _strangeness(gaps, (wanted, seen[:, inside, inside]), (side - 2 * border) // 7, _CONTRAST.get(side, 1.0))
    return placements, strange


def _solved(slopes: Floats, gaps: Floats) -> Placement:
    """Least squares of n systems: (n, 4, points), (n, points) → (n, 4); a direction that nothing shows stays as it is."""
    squares: Placement = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
    squares += (1e-4 * np.trace(squares, axis1=1, axis2=2) + 1e-3)[:, None, None] * np.eye(4)
    found: Placement = np.linalg.solve(squares, (slopes @ gaps[:, :, None]).astype(np.float64))[:, :, 0]
    return found


def _warped(picture: Floats, placements: Placement) -> Floats:
    """A picture (side, side) as it is seen through n placements, linear between its points: (n, side, side)."""
    side = len(picture)
    places = (np.arange(side) + 0.5) / side

    def weights(scale: Placement, shift: Placement) -> Floats:
        points = np.clip((scale[:, None] * places + shift[:, None]) * side - 0.5, 0, side - 1).astype(np.float32)
        near: Floats = np.maximum(0, 1 - np.abs(points[:, :, None] - np.arange(side, dtype=np.float32)))
        return near

    across, down = weights(*placements[:, :2].T), weights(*placements[:, 2:].T)
    seen: Floats = down @ picture @ across.transpose(0, 2, 1)
    return seen


# ── tiles ──

#: Left, top, right and bottom of a part of a picture, measured in its width and height.
_Box = tuple[float, float, float, float]


def _shared(placement: Placement) -> tuple[_Box, _Box]:
    """The parts of ours and of the other picture that show the same."""
    lows, highs = [], []
    for scale, shift in placement.reshape(2, 2).tolist():
        lows.append(max(0.0, -shift / scale))
        highs.append(min(1.0, (1 - shift) / scale))
    theirs = (lows[0], lows[1], highs[0], highs[1])
    return tuple(placement[[0, 2, 0, 2]] * theirs + placement[[1, 3, 1, 3]]), theirs


def _size(ours: tuple[int, int], other: tuple[int, int], boxes: tuple[_Box, _Box]) -> tuple[int, int]:
    """Width and height at which two parts are compared: those of the smaller."""
    sides = [
        min(whole[axis] * (box[axis + 2] - box[axis]) for whole, box in zip((ours, other), boxes, strict=True))
        for axis in (0, 1)
    ]
    return max(_TILE, round(sides[0])), max(_TILE, round(sides[1]))


def _cut(
    image: Image.Image, box: _Box, size: tuple[int, int], how: Image.Resampling = Image.Resampling.BILINEAR
) -> Floats:
    width, height = image.size
    left, top, right, bottom = np.clip(box, 0, 1).tolist()
    part = image.resize(size, how, (left * width, top * height, right * width, bottom * height))
    return np.asarray(part, dtype=np.float32)


def _step(ours: Floats, gaps: Floats) -> Placement:
    """How ours must move to close its gaps to theirs, as a placement of two equally large parts."""
    height, width = ours.shape
    down, across = np.gradient(ours)
    columns = ((np.arange(width) + 0.5) / width).astype(np.float32)
    rows = ((np.arange(height) + 0.5) / height).astype(np.float32)[:, None]
    slopes = np.stack([across * columns * width, across * width, down * rows * height, down * height])
    step: Placement = _solved(slopes.reshape(1, 4, -1), gaps.reshape(1, -1))[0]
    return _ASIS + step


def _moved(placement: Placement, boxes: tuple[_Box, _Box], step: Placement) -> Placement:
    """A placement after a step between two parts."""
    moved: list[float] = []
    for axis in (0, 1):
        (low, high), (from_, to) = ((box[axis], box[axis + 2]) for box in boxes)
        scale, shift = step[2 * axis : 2 * axis + 2]
        whole = (high - low) * scale / (to - from_)
        moved += [np.clip(whole, 0.5, 2), np.clip(low + (high - low) * shift - whole * from_, -0.2, 0.2)]
    return np.array(moved)


def _tiles_agree(ours: Floats, theirs: Floats) -> bool:
    """Whether nearly all tiles of two pictures (height, width, 3) show the same."""
    height, width = ours.shape[:2]
    side = min(_TILE, max(4, min(height, width) // 8))
    down, across = (np.linspace(0, length, max(1, round(length / side)) + 1).astype(int) for length in (height, width))
    area = np.diff(down)[:, None] * np.diff(across)

    def mean(values: Floats) -> Floats:
        found: Floats = np.add.reduceat(np.add.reduceat(values, down[:-1], 0), across[:-1], 1) / area
        return found

    gaps = ours - theirs
    gaps -= gaps.mean((0, 1))
    grey = [picture.mean(2) for picture in (ours, theirs)]
    spread = sum(mean(levels * levels) - mean(levels) ** 2 for levels in grey) / 2
    apart = mean((gaps * gaps).mean(2)) - _by_shift(gaps.mean(2), grey[1], mean)
    differ = (apart > _TILE_NOISE) & (apart > _TILE_CONTRAST * spread)
    return int(differ.sum()) <= int(area.size * _MAY_DIFFER)


def _by_shift(gaps: Floats, levels: Floats, mean: Callable[[Floats], Floats]) -> Floats:
    """How much of each tile's mean squared gap is that the tile lies up to 0.7 pixels off."""
    down, across = np.gradient(levels)
    aa, dd, ad = mean(across * across) + 0.1, mean(down * down) + 0.1, mean(across * down)
    ag, dg = mean(across * gaps), mean(down * gaps)
    apart = aa * dd - ad * ad
    x, y = (np.clip(by / apart, -0.7, 0.7) for by in (dd * ag - ad * dg, aa * dg - ad * ag))
    found: Floats = 2 * (x * ag + y * dg) - (x * x * aa + 2 * x * y * ad + y * y * dd)
    return found
