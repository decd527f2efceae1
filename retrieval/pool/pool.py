"""The pool: what the user brought, as Arrow files mapped into memory and an image store.

In memory stand, for each sample, 16 bytes by which ids are looked up. The parts are Arrow streams, as
`datasets.Dataset.from_file` reads them. See `retrieval.pool.importing` for the folder and how it is made.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrieval.errors import DataError, PoolError
from retrieval.pool.formats import id_key
from retrieval.pool.images import Fingerprint, ImageStore
from retrieval.pool.importing import (
    FORMAT,
    FORMATS,
    SCHEMA,
    Progress,
    find_pool,
    forget_damaged,
    import_pool,
    part_path,
    pool_key,
    read_part,
)
from retrieval.pool.sample import Sample, Turn
from retrieval.reading.records import SetAside
from retrieval.reading.understood import no_picture_words, or_none, set_aside_words, some_of
from retrieval.storage.files import read_json


class Pool:
    """An imported pool, read-only and memory-mapped; `len`, iteration (in the order of the user's file) and look-up
    by id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = _manifest(folder)
        self.key: str = manifest["key"]
        #: How many records of the user's file could not be used.
        self.set_aside_count: int = manifest["records"] - manifest["samples"]
        self._manifest = manifest
        self._parts: int = manifest["parts"]
        self._store = ImageStore(folder / "images")
        self._table = _map_parts(folder, self._parts)
        if len(self._table) != manifest["samples"]:
            counts = f"{len(self._table)} samples instead of {manifest['samples']}"
            raise PoolError(f"{folder} holds {counts}; delete it and it is imported again")
        keys = self._table["key"].to_numpy()
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    @classmethod
    def build(
        cls,
        path: Path,
        images: Path | None,
        store: Path,
        limit: int | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
        anywhere: bool = False,
        say: Callable[[str], None] | None = None,
        version: int = FORMAT,
    ) -> Self:
        """Import a pool into a folder of its own under `store`, or open it if that is done. Safe to repeat and to kill.

        Samples whose images lie outside `images` (by default the file's folder) are set aside, unless `anywhere`.
        `limit` keeps so many samples, drawn at random by `seed`, less those that must be set aside.
        `on_progress(records)` is called after each part. A pool that was imported and is damaged is imported again from
        the first damaged part on; `say` gets a sentence about it. One that an older `version` imported is only opened: its
        records would be read otherwise now. Raises PoolError if the file is no pool, StorageError if there is no room.
        """
        if version != FORMAT:
            found = cls.find(path, images, store, limit, seed, anywhere, version)
            if found is None:
                raise PoolError(
                    f"the pool that an older version imported from {path} is not in {store} any more; put its folder back, or "
                    "start over with --if-exists delete"
                )
            return found

        def imported() -> Path:
            return import_pool(path, images, store, limit, seed, on_progress, anywhere)

        try:
            folder = imported()
            try:
                return cls(folder)
            except PoolError as error:
                forget_damaged(folder)
                if say is not None:
                    say(f"the pool is imported again from where it is damaged: {error}")
                return cls(imported())
        except DataError as error:
            raise PoolError(str(error)) from None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open an imported pool. Raises PoolError if there is none at `folder`, or it is not whole."""
        return cls(folder)

    @classmethod
    def find(
        cls,
        path: Path,
        images: Path | None,
        store: Path,
        limit: int | None = None,
        seed: int = 0,
        anywhere: bool = False,
        version: int = FORMAT,
    ) -> Self | None:
        """The pool that `build` would open, None if it has not been imported yet. Changes nothing. Raises PoolError."""
        try:
            folder = find_pool(path, images, store, limit, seed, anywhere, version)
        except DataError as error:
            raise PoolError(str(error)) from None
        return cls(folder) if folder else None

    @staticmethod
    def key_of(
        path: Path,
        images: Path | None,
        limit: int | None = None,
        seed: int = 0,
        anywhere: bool = False,
        version: int = FORMAT,
    ) -> str:
        """The `key` that the pool `build` makes has, from its files alone. Raises PoolError."""
        try:
            return pool_key(path, images, limit, seed, anywhere, version)
        except DataError as error:
            raise PoolError(str(error)) from None

    def __len__(self) -> int:
        return len(self._table)

    @property
    def ids(self) -> list[str]:
        """The ids of all samples, in order (made anew at each call)."""
        return list(self._table["id"].to_pylist())

    @property
    def set_aside(self) -> Iterator[SetAside]:
        """What of the user's file could not be used, and why, in order."""
        for part in range(self._parts):
            for row in read_json(part_path(self.folder, part, "json"))["set_aside"]:
                yield SetAside(**row)

    def understood(self) -> list[str]:
        """What was understood of the user's file, a line each: first what there is, then what was set aside and why, then what
        may be a mistake. Of a pool that an older version imported, less."""
        found = self._manifest
        parts = [f"{len(self):,} samples"]
        if "pictures" in found:
            parts += [f"{or_none(found['pictures'])} with a picture"]
            parts += [f"{or_none(found['steps'])} with an answer in steps"]
        unused = found.get("unused", [])
        lines = [", ".join(parts) + (f"; not used: {some_of(unused)}" if unused else "")]
        if self.set_aside_count:
            lines += set_aside_words(list(self.set_aside))
        if found.get("picture_like") and not found["pictures"]:
            lines.append(no_picture_words(found["picture_like"], "sample"))
        return lines

    @property
    def images(self) -> Path:
        """The folder of the image store (`image_path` finds a file in it)."""
        return self._store.folder

    def image_path(self, name: str) -> Path:
        """Where the image that a sample names lies."""
        return self._store.path(name)

    def sample(self, index: int) -> Sample:
        """The sample at a place in the pool, 0-based. Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return _sample(self._table.slice(index, 1).to_pylist()[0])

    def get(self, name: str) -> Sample:
        """The sample of that id. Raises PoolError if there is none."""
        return self.sample(self.place(name))

    def place(self, name: str) -> int:
        """Where in the pool the sample of that id stands. Raises PoolError if nowhere."""
        key = np.uint64(id_key(name))
        for found in range(int(np.searchsorted(self._keys, key)), len(self._keys)):
            if self._keys[found] != key:
                break
            index = int(self._order[found])
            if self._table["id"][index].as_py() == name:
                return index
        raise PoolError(f"{self.folder}: there is no sample {name!r} in this pool")

    def __contains__(self, name: str) -> bool:
        try:
            self.place(name)
        except PoolError:
            return False
        return True

    def __iter__(self) -> Iterator[Sample]:
        for batch in self._table.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                yield _sample(row)

    def questions(self, names: Iterable[str]) -> list[str]:
        """The question text of each sample named. Raises PoolError if one is not in the pool."""
        places = np.array([self.place(name) for name in names], dtype=np.int64)
        column = self._table["questions"]
        starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
        chunks = np.searchsorted(starts, places, side="right") - 1
        found = [""] * len(places)
        # A part at a time: Arrow counts the letters of what is taken at once in 32 bits.
        for chunk in np.unique(chunks):
            where = np.flatnonzero(chunks == chunk)
            taken = column.chunk(int(chunk)).take(pa.array(places[where] - starts[chunk]))
            for at, questions in zip(where, taken.to_pylist(), strict=True):
                found[at] = "\n".join(questions)
        return found

    def sources(self, ids: Collection[str]) -> list[dict[str, Any]]:
        """Of each source ("" for samples without one): `source`, how many of those samples it has (`excluded`), `of` how many."""
        named = pc.fill_null(self._table["source"], "")
        mine = named.filter(pc.is_in(self._table["id"], value_set=pa.array(list(ids), pa.string())))
        some = {row["values"]: row["counts"] for row in mine.value_counts().to_pylist()}
        every = sorted((row["values"], row["counts"]) for row in named.value_counts().to_pylist())
        return [{"source": name, "excluded": some.get(name, 0), "of": count} for name, count in every]

    def fingerprints(self) -> Iterator[tuple[str, list[Fingerprint], list[str]]]:
        """Id, image fingerprints and the questions of the turns of each sample, in order."""
        columns = ["id", "images", "phashes", "questions"]
        for batch in self._table.select(columns).to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                prints = [Fingerprint(*pair) for pair in zip(row["images"], row["phashes"], strict=True)]
                yield row["id"], prints, row["questions"]


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = read_json(folder / "manifest.json")
        if manifest["schema"] not in FORMATS:
            raise PoolError(f"{folder} was imported by another version of gaptutor; delete it and it is imported again")
        return dict(manifest)
    except (DataError, KeyError, TypeError):
        raise PoolError(f"{folder} holds no imported pool; run the import again") from None


def _map_parts(folder: Path, parts: int) -> pa.Table:
    tables = [SCHEMA.empty_table()]
    for part in range(parts):
        tables.append(read_part(folder, part))
    return pa.concat_tables(tables)


def _sample(row: dict[str, Any]) -> Sample:
    turns = tuple(Turn(*pair) for pair in zip(row["questions"], row["answers"], strict=True))
    return Sample(row["id"], turns, tuple(row["images"]), row["source"])
