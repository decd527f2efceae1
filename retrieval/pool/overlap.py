"""Samples that show what the validation set shows: they must never be tuned on.

A sample overlaps if one of its images is a validation image (same file, or a near-copy: perceptual hashes propose,
pixels decide) or, having no image, if one of its turns asks a validation question, whatever lettered choices stand
below either. Not covered: crops, mirrored pictures, questions reworded, choices within a line.

In memory stand the validation set's fingerprints and questions, and of the pool only what comes near to one.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DataError
from retrieval.pool.images import Fingerprint, are_copies, fingerprint, read_image, thumbnail
from retrieval.pool.pool import Pool

#: Bits of 64 in which perceptual hashes of copies may differ (measured: scaling and JPEG, at most 4).
MAX_BITS = 8
#: A line that begins with the letter of one of the first two choices, as in "A. left", "(b) right"; with the heading
#: above the first.
_LETTERED = re.compile(r"(?:\n[ \t]*(?:options|choices):?[ \t]*)?\n[ \t]*\(?([ab])[.):][ \t]", re.IGNORECASE)


def overlap(pool: Pool, images: Iterable[Path], questions: Iterable[str]) -> dict[str, str]:
    """Ids of the pool's samples that overlap, with the reason in words; `images` and `questions` (with choices or
    without) are the validation set's.

    Validation images that cannot be read are passed over.
    """
    copies = _Copies(pool, _fingerprints(images))
    asked = {wording for question in questions for wording in wordings(question)}
    found: dict[str, str] = {}
    for sample, prints, turns in pool.fingerprints():
        if not prints and any(not asked.isdisjoint(wordings(turn)) for turn in turns):
            found[sample] = "asks a validation question"
        for reason in filter(None, map(copies.reason, prints)):
            found.setdefault(sample, reason)
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
    """A validation image."""

    path: Path
    phash: int


def _fingerprints(images: Iterable[Path]) -> dict[str, _Wanted]:
    found = {}
    for path in dict.fromkeys(images):
        with suppress(DataError):
            name, phash = fingerprint(path)
            found[name] = _Wanted(path, phash)
    return found


class _Copies:
    """Tells which images of the pool copy a validation image, one at a time."""

    def __init__(self, pool: Pool, wanted: dict[str, _Wanted]) -> None:
        self._pool, self._wanted = pool, wanted
        self._names = list(wanted)
        self._hashes = np.array([image.phash for image in wanted.values()], dtype=np.uint64)
        self._near: dict[str, str | None] = {}
        self._look = lru_cache(maxsize=4096)(_thumbnail)

    def reason(self, image: Fingerprint) -> str | None:
        """Why samples with this image overlap, None if they do not."""
        if image.name in self._wanted:
            return f"shows the validation image {self._wanted[image.name].path.name}"
        near = np.flatnonzero(np.bitwise_count(self._hashes ^ np.uint64(image.phash)) <= MAX_BITS)
        if len(near) and image.name not in self._near:
            self._near[image.name] = self._copied(image.name, [self._names[place] for place in near.tolist()])
        return self._near.get(image.name)

    def _copied(self, name: str, candidates: list[str]) -> str | None:
        ours = self._look(self._pool.image_path(name))
        for path in (self._wanted[candidate].path for candidate in candidates):
            if are_copies(ours, self._look(path)):
                return f"shows a near-copy of the validation image {path.name}"
        return None


def _thumbnail(path: Path) -> NDArray[np.int16]:
    return thumbnail(read_image(path))
