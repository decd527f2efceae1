"""Samples that show what the validation set shows: they must never be tuned on.

A sample overlaps if one of its images is a validation image (same file, or a near-copy: perceptual hashes propose,
pixels decide) or, having no image, if it asks a validation question. Not covered: crops, mirrored pictures, questions
reworded.
"""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import DataError
from retrieval.images import are_copies, fingerprint, read_image, thumbnail
from retrieval.pool import Pool

#: Bits of 64 in which perceptual hashes of copies may differ (measured: scaling and JPEG, at most 4).
MAX_BITS = 8
_CHUNK = 65536


def overlap(pool: Pool, images: Iterable[Path], questions: Iterable[str]) -> dict[str, str]:
    """Ids of the pool's samples that overlap, with the reason in words; `images` and `questions` are the validation
    set's.

    Validation images that cannot be read are passed over.
    """
    wanted = _fingerprints(images)
    asked = {_plain(question) for question in questions}
    found: dict[str, str] = {}
    owners: dict[str, list[str]] = defaultdict(list)
    hashes: dict[str, int] = {}
    for sample, prints, question in pool.fingerprints():
        if not prints and _plain(question) in asked:
            found[sample] = "asks a validation question"
        for name, phash in prints:
            owners[name].append(sample)
            hashes[name] = phash
    for name, other in _copies(pool, hashes, wanted).items():
        reason = "shows" if name == other else "shows a near-copy of"
        for sample in owners[name]:
            found.setdefault(sample, f"{reason} the validation image {wanted[other].path.name}")
    return found


def _plain(question: str) -> str:
    return " ".join(question.casefold().split())


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


def _copies(pool: Pool, hashes: dict[str, int], wanted: dict[str, _Wanted]) -> dict[str, str]:
    """Names of pool images that copy a validation image, with that image's name."""
    found = {name: name for name in hashes if name in wanted}
    names = [name for name in hashes if name not in found]
    ours = np.array([hashes[name] for name in names], dtype=np.uint64)
    others = list(wanted)
    theirs = np.array([image.phash for image in wanted.values()], dtype=np.uint64)

    @lru_cache(maxsize=4096)
    def look(path: Path) -> NDArray[np.int16]:
        return thumbnail(read_image(path))

    for start in range(0, len(ours), _CHUNK):
        for column, phash in enumerate(theirs):
            near = np.flatnonzero(np.bitwise_count(ours[start : start + _CHUNK] ^ phash) <= MAX_BITS)
            for row in near:
                name = names[start + int(row)]
                if name not in found and are_copies(look(pool.image_path(name)), look(wanted[others[column]].path)):
                    found[name] = others[column]
    return found
