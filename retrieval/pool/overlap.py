"""Samples that show what the validation set shows: they must never be tuned on.

A sample overlaps if one of its images is a validation image (same file, or a near-copy: perceptual hashes propose,
`retrieval.pool.copies` looks) or, having no image, if one of its turns asks a validation question, whatever lettered
choices stand below either. Not covered: pictures that `copies` does not know again, questions reworded, choices within
a line.

In memory stand the validation set's fingerprints, sketches (5 kB each) and questions, and of the pool the names of
pictures that come near to one; each of those is decoded once.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.errors import DataError
from retrieval.pool.copies import MAX_BITS, Sketch, Sketches, closer, for_tiles, greyed, hashes, is_copy, sketch
from retrieval.pool.images import Fingerprint, file_name, read_image
from retrieval.pool.pool import Pool

#: What overlaps is found in another way than by earlier versions; kept results of those do not count.
VERSION = 3
#: Samples that are looked at together.
_TOGETHER = 1024
#: A line that begins with the letter of one of the first two choices, as in "A. left", "(b) right"; with the heading
#: above the first.
_LETTERED = re.compile(r"(?:\n[ \t]*(?:options|choices):?[ \t]*)?\n[ \t]*\(?([ab])[.):][ \t]", re.IGNORECASE)


def overlap(
    pool: Pool,
    images: Iterable[Path],
    questions: Iterable[str],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, str]:
    """Ids of the pool's samples that overlap, with the reason in words; `images` and `questions` (with choices or
    without) are the validation set's.

    Validation images that cannot be read are passed over. `on_progress(samples, of all)` is called now and then.
    """
    asked = {wording for question in questions for wording in wordings(question)}
    found: dict[str, str] = {}
    samples = pool.fingerprints()
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        copies = _Copies(pool, _wanted(images, threads))
        done = 0
        while some := list(islice(samples, _TOGETHER)):
            copies.look(threads, (image for _, prints, _ in some for image in prints))
            for sample, prints, turns in some:
                if not prints and any(not asked.isdisjoint(wordings(turn)) for turn in turns):
                    found[sample] = "asks a validation question"
                for reason in filter(None, map(copies.reason, prints)):
                    found.setdefault(sample, reason)
            done += len(some)
            on_progress(done, len(pool))
    return found


def wordings(question: str) -> set[str]:
    """A question as it is compared: in lower case and single spaces, whole and without what begins at its choices."""
    plain = (" ".join(text.casefold().split()) for text in (question, _without_choices(question)))
    return {text for text in plain if text}


def _without_choices(question: str) -> str:
    """The question up to its last line "A. …" that has a line "B. …" below it."""
    second = False
    for mark in reversed(list(_LETTERED.finditer(question))):
        if mark[1] in "bB":
            second = True
        elif second:
            return question[: mark.start()]
    return question


class _Wanted(NamedTuple):
    """A validation image; `near` are hashes, one of which is near that of any copy."""

    path: Path
    near: NDArray[np.uint64]
    sketch: Sketch


def _wanted(images: Iterable[Path], threads: ThreadPoolExecutor) -> dict[str, _Wanted]:
    """Validation images by their names in a store."""
    return dict(filter(None, threads.map(_read_wanted, dict.fromkeys(images))))


def _read_wanted(path: Path) -> tuple[str, _Wanted] | None:
    try:
        image = read_image(path)
        return file_name(path), _Wanted(path, hashes(image), sketch(image))
    except DataError:
        return None


class _Copies:
    """Tells which images of the pool copy a validation image."""

    def __init__(self, pool: Pool, wanted: dict[str, _Wanted]) -> None:
        self._pool, self._wanted = pool, wanted
        self._paths = [image.path for image in wanted.values()]
        self._hashes = np.array([image.near for image in wanted.values()], dtype=np.uint64)
        self._sketches = Sketches([image.sketch for image in wanted.values()])
        self._found: dict[str, str | None] = {}
        self._greyed = lru_cache(maxsize=1024)(lambda path: greyed(read_image(path)))
        self._tiles = lru_cache(maxsize=32)(lambda path: for_tiles(read_image(path)))

    def look(self, threads: ThreadPoolExecutor, images: Iterable[Fingerprint]) -> None:
        """Look at those of the images that are near a validation image and were not looked at before."""
        near = dict(self._near(images))
        self._found.update(zip(near, threads.map(self._copied, near, near.values()), strict=True))

    def reason(self, image: Fingerprint) -> str | None:
        """Why samples with this image overlap, None if they do not."""
        if image.name in self._wanted:
            return f"shows the validation image {self._wanted[image.name].path.name}"
        return self._found.get(image.name)

    def _near(self, images: Iterable[Fingerprint]) -> Iterator[tuple[str, NDArray[np.intp]]]:
        for image in images:
            if len(self._hashes) and image.name not in self._found and image.name not in self._wanted:
                near = np.bitwise_count(self._hashes ^ np.uint64(image.phash)).min(axis=1) <= MAX_BITS
                if near.any():
                    yield image.name, np.flatnonzero(near)

    def _copied(self, name: str, places: NDArray[np.intp]) -> str | None:
        image = read_image(self._pool.image_path(name))
        tiles: Image.Image | None = None
        grey: Image.Image | None = None
        for place, laid in self._sketches.alike(sketch(image), places):
            grey = grey or greyed(image)
            placement = closer(grey, self._greyed(self._paths[place]), laid)
            if placement is None:
                continue
            tiles = tiles or for_tiles(image)
            if is_copy(tiles, self._tiles(self._paths[place]), placement):
                return f"shows a near-copy of the validation image {self._paths[place].name}"
        return None
