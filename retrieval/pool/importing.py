"""The import of a pool: from the user's file and images into a folder of our own, once.

    STORE/<name>-<key>/  manifest.json  parts/00000.arrow  parts/00000.json  images/ab/abcd….png

The key is the digest of FORMAT and the pool's files, image folder, limit and seed, so a pool is imported once and shared by
runs. It goes part by part; a killed import goes on after its last whole part, and the manifest comes last. In memory
stand one part and a set entry per sample (to see ids that come twice, about 70 MB a million), never all texts or
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
from retrieval.pool.formats import PoolRow, image_folder, read_pool
from retrieval.pool.images import Fingerprint, ImageStore
from retrieval.pool.records import SetAside, record_files
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
FORMAT = 3
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
                totals = _import_parts(_drawn(path, images, limit, seed, anywhere), folder, path, on_progress)
                write_json(folder / "manifest.json", {"schema": FORMAT, "key": key, **totals._asdict()})
    return folder


def find_pool(
    path: Path, images: Path | None, store: Path, limit: int | None, seed: int, anywhere: bool = False
) -> Path | None:
    """The folder of a pool that has been imported whole, None if there is none. Raises DataError."""
    folder = _pool_folder(path, store, pool_key(path, images, limit, seed, anywhere))
    return folder if (folder / "manifest.json").exists() else None


def _pool_folder(path: Path, store: Path, key: str) -> Path:
    return store / f"{path.stem}-{key[:12]}"


def part_path(folder: Path, part: int, kind: str) -> Path:
    """Where a part lies; its kinds are `arrow` (the samples) and `json` (records read, rows set aside)."""
    return folder / "parts" / f"{part:05d}.{kind}"


def id_key(name: str) -> int:
    """64 bits that stand for a sample's id."""
    return seeded_hash(0, "id", name)


def pool_key(path: Path, images: Path | None, limit: int | None, seed: int, anywhere: bool = False) -> str:
    """What tells a pool from all others: the digest of its files, and how they are read. Raises DataError."""
    files = [[file.name, _digest_of(file)] for file in record_files(path)]
    folder = str(image_folder(path, images).resolve())
    return digest(
        [FORMAT, files, folder, limit, seed if limit is not None else None, *(["anywhere"] if anywhere else [])]
    )


def _digest_of(file: Path) -> str:
    found = file.stat()
    return _digest_as_of(file, found.st_size, found.st_mtime_ns)


@cache
def _digest_as_of(file: Path, size: int, changed: int) -> str:
    """A file's digest, taken once as long as it stays as it was: pools are large, and are asked for several times at a start."""
    return file_digest(file)


class _Totals(NamedTuple):
    """How far an import has come: parts that are whole, records they hold, samples among them."""

    parts: int
    records: int
    samples: int


def _import_parts(
    rows: Iterable[PoolRow | SetAside], folder: Path, path: Path, on_progress: Progress | None
) -> _Totals:
    seen: set[int] = set()
    totals = _whole_parts(folder, seen)
    store = ImageStore(folder / "images")
    stream = islice(rows, totals.records, None)
    while part := list(islice(stream, PART)):
        kept, aside = _import_part(part, store, seen)
        if not kept and not totals.samples:
            more = f"; none of the first {len(aside)} records is a sample" if len(aside) > 1 else ""
            raise PoolError(f"{path} is no pool: {aside[0].where}: {aside[0].reason}{more}")
        os.sync()  # linked and copied images, before the part vouches for them
        _write_part(folder, totals.parts, kept, aside)
        totals = _Totals(totals.parts + 1, totals.records + len(part), totals.samples + len(kept))
        if on_progress is not None:
            on_progress(totals.records)
    if not totals.samples:
        raise PoolError(f"{path} is no pool: it is empty")
    return totals


def _whole_parts(folder: Path, seen: set[int]) -> _Totals:
    """Parts that an earlier, killed import left whole; their ids go into `seen`."""
    parts = records = samples = 0
    while part_path(folder, parts, "json").exists() and part_path(folder, parts, "arrow").exists():
        records += read_json(part_path(folder, parts, "json"))["records"]
        keys = read_part(folder, parts)["key"].to_pylist()
        seen.update(keys)
        samples += len(keys)
        parts += 1
    return _Totals(parts, records, samples)


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
    """(seeded hash, place) of the first record of each id."""
    seen: set[int] = set()
    for place, row in enumerate(read_pool(path, images, anywhere)):
        if isinstance(row, PoolRow) and (key := id_key(row.id)) not in seen:
            seen.add(key)
            yield seeded_hash(seed, "limit", row.id), place


def _import_part(
    rows: list[PoolRow | SetAside], store: ImageStore, seen: set[int]
) -> tuple[list[dict[str, Any]], list[SetAside]]:
    """Arrow rows of the samples that are usable, and the rest with reasons; `seen` gains the ids of the former."""
    prints = _store_all(store, rows)
    kept, aside = [], []
    for row in rows:
        if isinstance(row, SetAside):
            aside.append(row)
            continue
        found = [prints[image] for image in row.images]
        key = id_key(row.id)
        reason = f"another sample before it has the id {row.id!r}" if key in seen else _first_fault(found)
        if reason:
            aside.append(SetAside(row.id, row.where, reason))
        else:
            seen.add(key)
            kept.append(_arrow_row(row, key, [image for image in found if isinstance(image, Fingerprint)]))
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


def _arrow_row(row: PoolRow, key: int, prints: list[Fingerprint]) -> dict[str, Any]:
    return {
        "id": row.id,
        "key": key,
        "questions": [turn.question for turn in row.turns],
        "answers": [turn.answer for turn in row.turns],
        "images": [found.name for found in prints],
        "phashes": [found.phash for found in prints],
        "source": row.source,
    }


def _write_part(folder: Path, part: int, kept: list[dict[str, Any]], aside: list[SetAside]) -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist(kept, schema=SCHEMA))
    write_bytes(part_path(folder, part, "arrow"), sink.getvalue().to_pybytes())
    rows = [{"id": row.id, "where": row.where, "reason": row.reason} for row in aside]
    report = {"schema": 1, "records": len(kept) + len(rows), "set_aside": rows}
    write_bytes(part_path(folder, part, "json"), json.dumps(report).encode())
