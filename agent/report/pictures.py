"""Pictures inside the page: small, and all together below a budget."""

import base64
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from retrieval.errors import DataError
from retrieval.pool.images import read_image


class Picture(NamedTuple):
    """A picture as the page shows it: a data URL, or "" with the reason in `missing`. `tiny`: so few pixels that they
    are shown as squares."""

    url: str
    width: int
    height: int
    tiny: bool
    missing: str = ""

    @property
    def wide(self) -> bool:
        """Whether it needs the width of the page to be read, as a chart or a line of text does."""
        return not self.tiny and self.width >= 1.6 * self.height > 0


class Pictures:
    """Makes thumbnails until `budget` bytes are used up. With the same `made`, none is made twice."""

    def __init__(self, budget: int, made: dict[tuple[Path, int], Picture] | None = None) -> None:
        self._budget = self._left = budget
        self._made = {} if made is None else made

    def show(self, path: Path, side: int, large: int) -> Picture:
        """A picture of at most `large` pixels a side while a third of the budget lasts, of at most `side` from then on."""
        side = large if 3 * self._left > 2 * self._budget else side
        if self._left <= 0:
            return Picture("", 0, 0, False, f"left out to keep this page small: {path.name}")
        if (path, side) not in self._made:
            self._made[path, side] = _thumbnail(path, side)
        found = self._made[path, side]
        self._left -= len(found.url)
        return found


def _thumbnail(path: Path, side: int) -> Picture:
    try:
        image = read_image(path)
    except (DataError, OSError):
        return Picture("", 0, 0, False, f"not there any more: {path.name}")
    tiny = max(image.size) <= 128
    return Picture(_encode(image, side, tiny), *image.size, tiny)


def _encode(image: Image.Image, side: int, tiny: bool) -> str:
    """A data URL. Photographs become WebP; of a tiny picture every pixel counts, so it stays exact."""
    data = BytesIO()
    if tiny:
        image.save(data, "WEBP", lossless=True, method=4)
    else:
        small = image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        small.save(data, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
