"""How many tokens an image counts as, before anybody is asked.

OpenAI's rules are those of its guide "Images and vision" (Calculating costs) at detail `high`, which is what `auto` comes to,
in copies of 2025. What it bills has been seen to differ by a third (gpt-5-mini: 1.2 tokens a patch, not 1.62), so tokens
that an endpoint reports go before them.
"""

import math
import re
from collections.abc import Callable
from typing import NamedTuple

Count = Callable[[int, int], int]


class ImageRule(NamedTuple):
    """`tokens` of an image of so many pixels (width, height), and what rule that is, in words."""

    words: str
    tokens: Count


def image_rule(model: str) -> ImageRule:
    """The rule of OpenAI's for this model; of all others, what comes near to most."""
    name = re.sub(r"-\d{4}-?\d{2}-?\d{2}$", "", model.rpartition("/")[2])
    if name in _TILES:
        base, tile = _TILES[name]
        return ImageRule(f"OpenAI's rule for {name}: {base} and {tile} a tile of 512 pixels", _tiled(base, tile))
    if name in _PATCHES:
        factor = _PATCHES[name]
        return ImageRule(
            f"OpenAI's rule for {name}: {factor} a patch of 32 pixels, at most {_MOST} patches", _patched(factor)
        )
    return ImageRule(f"one token a patch of 28 pixels, since no rule of {model} is known", _plain)


#: Tokens of an image, and of each of its tiles.
_TILES = {
    "gpt-4o": (85, 170),
    "gpt-4.1": (85, 170),
    "gpt-4o-mini": (2833, 5667),
    "gpt-5": (70, 140),
    "gpt-5-chat-latest": (70, 140),
    "o1": (75, 150),
    "o3": (75, 150),
}
#: Tokens of each patch.
_PATCHES = {"gpt-4.1-mini": 1.62, "gpt-4.1-nano": 2.46, "gpt-5-mini": 1.62, "gpt-5-nano": 2.46, "o4-mini": 1.72}
_MOST = 1536


def _tiled(base: int, tile: int) -> Count:
    def tokens(width: int, height: int) -> int:
        scale = min(1.0, 2048 / max(width, height))
        scale *= min(1.0, 768 / (scale * min(width, height)))  # never scaled up
        return base + tile * _parts(width * scale, 512) * _parts(height * scale, 512)

    return tokens


def _patched(factor: float) -> Count:
    def tokens(width: int, height: int) -> int:
        patches = _parts(width, 32) * _parts(height, 32)
        if patches > _MOST:
            scale = math.sqrt(_MOST * 32**2 / (width * height))
            # One side becomes a whole number of patches.
            scale *= min(
                1.0, *(max(1, math.floor(side * scale / 32)) / (side * scale / 32) for side in (width, height))
            )
            patches = min(_MOST, _parts(width * scale, 32) * _parts(height * scale, 32))
        return math.ceil(patches * factor)

    return tokens


def _plain(width: int, height: int) -> int:
    return _parts(width, 28) * _parts(height, 28)


def _parts(length: float, part: int) -> int:
    return max(1, math.ceil(round(length / part, 6)))
