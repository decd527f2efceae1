"""The first records of a pool, before it is imported: what they would be read as."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from retrieval.errors import PoolError
from retrieval.pool.formats import PoolRow, read_pool
from retrieval.pool.rationale import parse_rationale
from retrieval.reading.records import SetAside
from retrieval.reading.understood import Columns, no_picture_words, or_none, set_aside_words, some_of

#: Records that are looked at.
MOST = 1000


def glance(path: Path, images: Path | None, anywhere: bool = False, most: int = MOST) -> list[str]:
    """What was understood of a pool's first records, a line each, in the words of `Pool.understood`; whether their pictures are
    there is looked at, not what is in them. Raises PoolError if none of them is a sample, DataError if the file cannot be
    read."""
    columns, aside = Columns(), []
    samples = pictures = steps = 0
    for row in _looked_at(path, images, anywhere, most):
        if isinstance(row, SetAside):
            aside.append(row)
            continue
        samples += 1
        pictures += bool(row.images)
        steps += parse_rationale(row.turns[-1].answer).whole
        columns.add(row.columns, row.used, row.picture_like)
    if not samples:
        none = f"none of its first {len(aside):,} records is a sample"
        why = f"{aside[0].where}: {aside[0].reason}; {none}" if aside else "it is empty"
        raise PoolError(f"{path} is no pool: {why}")
    seen = samples + len(aside)
    first = f"the first {seen:,} records: " if seen == most else ""
    parts = [f"{samples:,} samples", f"{or_none(pictures)} with a picture", f"{or_none(steps)} with an answer in steps"]
    unused = f"; not used: {some_of(columns.unused)}" if columns.unused else ""
    warning = [no_picture_words(columns.pictures, "sample")] if columns.pictures and not pictures else []
    return [first + ", ".join(parts) + unused, *set_aside_words(aside), *warning]


def _looked_at(path: Path, images: Path | None, anywhere: bool, most: int) -> Iterator[PoolRow | SetAside]:
    for row in islice(read_pool(path, images, anywhere), most):
        missing = (
            [] if isinstance(row, SetAside) else [p for p in row.images if isinstance(p, Path) and not p.is_file()]
        )
        yield SetAside(row.id, row.where, f"{missing[0]}: there is no such image") if missing else row
