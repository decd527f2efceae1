"""The import of a pool: from the user's file and images into a folder of our own, once.

    STORE/<name>-<key>/  manifest.json  parts/00000.arrow  parts/00000.json  images/ab/abcd….png

The key is the digest of FORMAT and the pool's files, image folder, limit and seed, so a pool is imported once and shared by
runs. It goes part by part; a killed import goes on after its last whole part, and the manifest comes last. In memory
stand one part and a set entry per sample (to tell ids that come twice apart, about 70 MB a million), never all texts or
images. Every image is decoded once, which finds the unreadable ones and gives the perceptual hash. Not covered: an
image edited under an unchanged path after the import; delete the pool's folder then.
"""

import heapq
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from filelock import FileLock

from retrieval.errors import DataError, PoolError, first_line
from retrieval.pool.formats import PoolRow, id_key, read_pool
from retrieval.pool.images import Fingerprint, ImageStore
from retrieval.pool.rationale import parse_rationale
from retrieval.reading.records import SetAside
from retrieval.reading.sources import image_folder, record_files
from retrieval.reading.understood import Columns
from retrieval.storage.files import (
    clear_scratch,
    digest,
    file_digest,
    read_json,
    read_object,
    storage_errors,
    write_bytes,
    write_json,
)
from retrieval.storage.order import seeded_hash

#: Called with the number of records imported so far.
Progress = Callable[[int], None]

#: Records imported together; the unit that a killed import repeats. If the first part holds no sample, the file is no
#: pool.
PART = 4096
#: Version of the folder's layout and of how records are read (`retrieval.pool.formats`); part of a pool's key.
FORMAT = 4
#: Versions whose folders are read, the newest first: a run goes on with the pool that it began with.
FORMATS = (4, 3)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("key", pa.uint64()),
        ("questions", pa.list_(pa.string())),
        ("answers", pa.list_(pa.string())),
        ("images", pa.list_(pa.string())),
        ("phashes", pa.list_(pa.uint64())),
        ("source", pa.string()),
    ]
)


def import_pool(
    path: Path,
    images: Path | None,
    store: Path,
    limit: int | None,
    seed: int,
    on_progress: Progress | None,
    anywhere: bool = False,
) -> Path:
    """The folder of the imported pool; see `Pool.build`. Raises PoolError, StorageError, DataError."""
    key = pool_key(path, images, limit, seed, anywhere)
    folder = _pool_folder(path, store, key)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "manifest.json").exists():
                clear_scratch(folder)
                found = _import_parts(_drawn(path, images, limit, seed, anywhere), folder, path, on_progress)
                write_json(folder / "manifest.json", {"schema": FORMAT, "key": key, **found})
    return folder


def find_pool(
    path: Path,
    images: Path | None,
    store: Path,
    limit: int | None,
    seed: int,
    anywhere: bool = False,
    version: int = FORMAT,
) -> Path | None:
    """The folder of a pool that has been imported whole, None if there is none. Raises DataError."""
    folder = _pool_folder(path, store, pool_key(path, images, limit, seed, anywhere, version))
    return folder if (folder / "manifest.json").exists() else None


def _pool_folder(path: Path, store: Path, key: str) -> Path:
    return store / f"{path.stem}-{key[:12]}"


def part_path(folder: Path, part: int, kind: str) -> Path:
    """Where a part lies; its kinds are `arrow` (the samples) and `json` (records read, rows set aside)."""
    return folder / "parts" / f"{part:05d}.{kind}"


def pool_key(
    path: Path, images: Path | None, limit: int | None, seed: int, anywhere: bool = False, version: int = FORMAT
) -> str:
    """What tells a pool from all others: the digest of its files, and how they are read. Raises DataError."""
    files = [[file.name, _digest_of(file)] for file in record_files(path)]
    folder = str(image_folder(path, images).resolve())
    return digest(
        [version, files, folder, limit, seed if limit is not None else None, *(["anywhere"] if anywhere else [])]
    )


def _digest_of(file: Path) -> str:
    found = file.stat()
    return _digest_as_of(file, found.st_size, found.st_mtime_ns)


@cache
def _digest_as_of(file: Path, size: int, changed: int) -> str:
    """A file's digest, taken once as long as it stays as it was: pools are large, and are asked for several times at a start."""
    return file_digest(file)


class _Kept(NamedTuple):
    """A sample that is imported, and its pictures as they are stored."""

    row: PoolRow
    prints: list[Fingerprint]


class _Totals(NamedTuple):
    """How far an import has come: parts that are whole, records they hold, samples among them, and samples with a picture and
    with steps among these."""

    parts: int = 0
    records: int = 0
    samples: int = 0
    pictures: int = 0
    steps: int = 0

    def and_part(self, report: dict[str, Any]) -> "_Totals":
        """With one part more."""
        return _Totals(self.parts + 1, *(mine + report[name] for name, mine in list(self._asdict().items())[1:]))


def _import_parts(
    rows: Iterable[PoolRow | SetAside], folder: Path, path: Path, on_progress: Progress | None
) -> dict[str, Any]:
    """Import what is not imported yet; what the manifest says of all parts."""
    totals, columns = _whole_parts(folder)
    store = ImageStore(folder / "images")
    stream = islice(rows, totals.records, None)
    while part := list(islice(stream, PART)):
        kept, aside = _import_part(part, store)
        if not kept and not totals.samples:
            more = f"; none of the first {len(aside)} records is a sample" if len(aside) > 1 else ""
            raise PoolError(f"{path} is no pool: {aside[0].where}: {aside[0].reason}{more}")
        os.sync()  # linked and copied images, before the part vouches for them
        report = _write_part(folder, totals.parts, kept, aside)
        totals = totals.and_part(report)
        columns.add(report["columns"], report["used"], report["picture_like"])
        if on_progress is not None:
            on_progress(totals.records)
    if not totals.samples:
        raise PoolError(f"{path} is no pool: it is empty")
    return {**totals._asdict(), "unused": columns.unused, "picture_like": columns.pictures}


def _whole_parts(folder: Path) -> tuple[_Totals, Columns]:
    """Parts that an earlier, killed import left whole."""
    totals, columns = _Totals(), Columns()
    while part_path(folder, totals.parts, "json").exists() and part_path(folder, totals.parts, "arrow").exists():
        report = read_json(part_path(folder, totals.parts, "json"))
        totals = totals.and_part(report)
        columns.add(report["columns"], report["used"], report["picture_like"])
    return totals, columns


def read_part(folder: Path, part: int) -> pa.Table:
    """The samples of a part, mapped into memory. Raises PoolError if it is damaged."""
    path = part_path(folder, part, "arrow")
    try:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise PoolError(f"{path} is damaged ({first_line(error)}); delete {folder} and it is imported again") from None


def forget_damaged(folder: Path) -> None:
    """Take away the manifest of an imported pool, and its parts from the first damaged one on: an import goes on there."""
    with storage_errors(folder), FileLock(folder / "lock"):
        (folder / "manifest.json").unlink(missing_ok=True)
        for part in sorted(int(path.stem) for path in (folder / "parts").glob("*.arrow") if path.stem.isdigit()):
            try:
                read_part(folder, part)
                read_object(part_path(folder, part, "json"))
            except (DataError, PoolError):
                for path in (folder / "parts").iterdir():
                    if path.stem.isdigit() and int(path.stem) >= part:
                        path.unlink()
                return


def _drawn(
    path: Path, images: Path | None, limit: int | None, seed: int, anywhere: bool
) -> Iterator[PoolRow | SetAside]:
    """The records to import: all, or the `limit` samples whose ids hash lowest, with all that is set aside."""
    if limit is None:
        return read_pool(path, images, anywhere)
    places = {place for _, place in heapq.nsmallest(limit, _tickets(path, images, seed, anywhere))}
    return (
        row
        for place, row in enumerate(read_pool(path, images, anywhere))
        if place in places or isinstance(row, SetAside)
    )


def _tickets(path: Path, images: Path | None, seed: int, anywhere: bool) -> Iterator[tuple[int, int]]:
    """(seeded hash, place) of each sample."""
    for place, row in enumerate(read_pool(path, images, anywhere)):
        if isinstance(row, PoolRow):
            yield seeded_hash(seed, "limit", row.id), place


def _import_part(rows: list[PoolRow | SetAside], store: ImageStore) -> tuple[list[_Kept], list[SetAside]]:
    """The samples that are usable, with their pictures, and the rest with reasons."""
    prints = _store_all(store, rows)
    kept, aside = [], []
    for row in rows:
        if isinstance(row, SetAside):
            aside.append(row)
            continue
        found = [prints[image] for image in row.images]
        if reason := _first_fault(found):
            aside.append(SetAside(row.id, row.where, reason))
        else:
            kept.append(_Kept(row, [image for image in found if isinstance(image, Fingerprint)]))
    return kept, aside


def _first_fault(found: list[Fingerprint | str]) -> str:
    return next((image for image in found if isinstance(image, str)), "")


def _store_all(store: ImageStore, rows: list[PoolRow | SetAside]) -> dict[Path | bytes, Fingerprint | str]:
    """Store each distinct image of the rows, a few at a time (decoding and hashing leave the interpreter's lock)."""
    wanted = list(dict.fromkeys(image for row in rows if isinstance(row, PoolRow) for image in row.images))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        return dict(zip(wanted, threads.map(lambda image: _store(store, image), wanted), strict=True))


def _store(store: ImageStore, image: Path | bytes) -> Fingerprint | str:
    """The fingerprint of a stored image, or why it cannot be used."""
    try:
        return store.add(image)
    except DataError as error:
        return str(error)


def _arrow_row(kept: _Kept) -> dict[str, Any]:
    row = kept.row
    return {
        "id": row.id,
        "key": id_key(row.id),
        "questions": [turn.question for turn in row.turns],
        "answers": [turn.answer for turn in row.turns],
        "images": [found.name for found in kept.prints],
        "phashes": [found.phash for found in kept.prints],
        "source": row.source,
    }


def _write_part(folder: Path, part: int, kept: list[_Kept], aside: list[SetAside]) -> dict[str, Any]:
    """Write a part; its report."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist([_arrow_row(each) for each in kept], schema=SCHEMA))
    write_bytes(part_path(folder, part, "arrow"), sink.getvalue().to_pybytes())
    rows = [{"id": row.id, "where": row.where, "reason": row.reason} for row in aside]
    columns = dict.fromkeys(name for each in kept for name in each.row.columns)
    like = dict.fromkeys(name for each in kept for name in each.row.picture_like)
    report = {
        "schema": 2,
        "records": len(kept) + len(rows),
        "samples": len(kept),
        "pictures": sum(bool(each.prints) for each in kept),
        "steps": sum(parse_rationale(each.row.turns[-1].answer).whole for each in kept),
        "columns": list(columns),
        "picture_like": list(like),
        "used": sorted(frozenset().union(*(each.row.used for each in kept))),
        "set_aside": rows,
    }
    write_bytes(part_path(folder, part, "json"), json.dumps(report).encode())
    return report
