"""The skill index: from a skill in anyone's words to the pool's samples that exercise it.

    FOLDER-KEY/  manifest.json  skills.arrow  chroma-…/  (and, beside the pool, the vectors of its questions)

It holds the pool's distinct skill texts, in Chroma for embeddings and in memory for BM25, and for each text its
samples. The key is the digest of pool, embedder, Chroma server and skills: other contents are another folder and
another collection, and none is taken away, since another run may be reading it. It only proposes: whether two texts
mean the same skill is for the teacher to say, since twins (largest, smallest) lie close together in every embedding.
Below 200,000 texts Chroma's vectors are read at opening and searched exactly, since its graph is not built the same
way twice; above, the graph proposes and exact similarity ranks. A killed build starts over; the manifest comes last.
In a folder, Chroma belongs to one process.
"""

import hashlib
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pyarrow as pa
from filelock import FileLock

from retrieval.errors import DataError, PoolError
from retrieval.index.embedding import Embedder, Progress, VectorCache, Vectors
from retrieval.index.ranking import Bm25, Hit, Mode, fuse, top
from retrieval.index.vector_store import VectorStore
from retrieval.pool.pool import Pool
from retrieval.storage.files import digest, publish_folder, read_json, storage_errors, write_json

_FORMAT = 1


def canonical(text: str) -> str:
    """What two spellings of one skill text share: case, spaces and a final full stop do not count."""
    return " ".join(text.split()).rstrip(" .").casefold()


class SkillIndex:
    """The pool's skill texts and the samples behind each; read-only."""

    def __init__(self, folder: Path, pool: Pool, embedder: Embedder, chroma_url: str | None = None) -> None:
        manifest = _manifest(folder, pool, embedder)
        self.folder, self.pool, self.embedder, self.key = folder, pool, embedder, str(manifest["key"])
        self._table = _map(folder / "skills.arrow")
        self.texts: list[str] = self._table["text"].to_pylist()
        self._place = {canonical(text): place for place, text in enumerate(self.texts)}
        self._store = VectorStore(folder / manifest["chroma"], chroma_url, f"skills-{self.key[:16]}")
        count = self._store.count()
        if not len(self.texts) == manifest["texts"] == count:
            self.close()
            raise PoolError(f"{folder} should hold {manifest['texts']} skills, Chroma has {count}; delete it")
        self._store.load()
        self._questions = VectorCache(pool.folder / f"questions-{digest(embedder.name)[:12]}", embedder)

    @classmethod
    def build(
        cls,
        folder: Path,
        pool: Pool,
        skills: Mapping[str, Sequence[str]],
        embedder: Embedder,
        chroma_url: str | None = None,
        on_progress: Progress | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Self:
        """Build the index of `skills` (sample id → its skills in words) in a folder of its own beside `folder`, or open
        it if it is there.

        Samples without skills may be left out; they are then only drawn at random. An index of a folder that is damaged
        is built again; `say` gets a sentence about it. Raises PoolError if a sample is not in the pool or nothing is
        named at all.
        """
        key = digest([_FORMAT, pool.key, embedder.name, chroma_url, _skills_digest(skills)])
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder.parent / f".{folder.name}.lock")
        own = folder.with_name(f"{folder.name}-{key[:12]}")
        with lock:
            for left in folder.parent.glob(f".{folder.name}-*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            if (own / "manifest.json").exists():
                try:
                    return cls(own, pool, embedder, chroma_url)
                except PoolError as error:
                    if chroma_url is not None:  # a server's collection is not ours to replace
                        raise
                    if say is not None:
                        say(f"the index of the pool's skills is built again: {error}")
            table = _table(pool, skills)
            vectors = embedder.encode(table["text"].to_pylist(), on_progress)
            _publish(own, table, vectors, {"key": key, "pool": pool.key, "embedder": embedder.name}, chroma_url)
            return cls(own, pool, embedder, chroma_url)

    @classmethod
    def open(cls, folder: Path, pool: Pool, embedder: Embedder, chroma_url: str | None = None) -> Self:
        """Open the index at `folder`, which is that of a built one. Raises PoolError if there is none, it is not whole,
        or it is of another pool or embedder."""
        return cls(folder, pool, embedder, chroma_url)

    def close(self) -> None:
        """Let go of Chroma."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ids(self) -> list[str]:
        """The ids of all samples of the pool, those without a skill too."""
        return self.pool.ids

    def samples(self, text: str) -> list[str]:
        """Ids of the samples with that skill text, in the pool's order; [] if there is no such text."""
        place = self._place.get(canonical(text))
        if place is None:
            return []
        return list(self._table["samples"][place].as_py())

    def search(self, text: str, k: int, mode: Mode = "dense") -> list[Hit]:
        """The k skill texts of the pool that fit a skill best, best first."""
        return self.propose([text], k, mode)

    def propose(self, names: Iterable[str], k: int, mode: Mode = "dense") -> list[Hit]:
        """The k distinct skill texts that fit a skill best that goes by these names, best first: all rankings of all
        names fused. What the teacher is shown to decide which of them are the same skill."""
        distinct = sorted({" ".join(name.split()) for name in names if name.strip()})
        depth = max(4 * k, 50)
        rankings = []
        if mode != "dense":
            rankings += [top(self.texts, self._bm25.scores(name), depth, floor=0.0) for name in distinct]
        if mode != "bm25" and distinct:
            rankings += [self._dense(vector, depth) for vector in self.embedder.encode(distinct)]
        return fuse(rankings)[:k]

    def questions(self, samples: Sequence[str]) -> list[str]:
        """The question of each sample."""
        return self.pool.questions(samples)

    def have_steps(self, samples: Sequence[str]) -> list[bool]:
        """Whether each sample's answer is a rationale."""
        return [self.pool.get(name).has_steps for name in samples]

    def question_vectors(self, questions: Sequence[str], on_progress: Progress | None = None) -> Vectors:
        """Vectors of questions, of samples or of items, shape (questions, dimension); each is embedded once for all
        runs."""
        return self._questions.vectors(questions, on_progress)

    @cached_property
    def _bm25(self) -> Bm25:
        return Bm25(self.texts)

    def _dense(self, vector: Vectors, k: int) -> list[Hit]:
        places, scores = self._store.nearest(vector, k)
        return top([self.texts[place] for place in places], scores, k)


def _manifest(folder: Path, pool: Pool, embedder: Embedder) -> dict[str, Any]:
    """The manifest. Raises PoolError if there is none, or it is of another version, embedder or pool."""
    try:
        manifest = dict(read_json(folder / "manifest.json"))
        version, built_with, built_for = manifest["schema"], manifest["embedder"], manifest["pool"]
    except (DataError, KeyError, TypeError, ValueError):
        raise PoolError(f"{folder} holds no skill index; build it again") from None
    if version != _FORMAT:
        raise PoolError(f"{folder} was built by another version of gaptutor; delete it to build it again")
    if built_with != embedder.name:
        raise PoolError(
            f"{folder} was built with the embedder {built_with!r}, not {embedder.name!r}: "
            "set pool.embedder to that, or delete the folder to build it again"
        )
    if built_for != pool.key:
        raise PoolError(f"{folder} was built for another pool than {pool.folder}; delete it to build it again")
    return manifest


def _publish(folder: Path, table: pa.Table, vectors: Vectors, head: dict[str, str], chroma_url: str | None) -> None:
    # A new name each time: within a process, Chroma takes a folder of the same name for the one it had open before.
    chroma = f"chroma-{uuid4().hex[:8]}"
    with publish_folder(folder) as scratch:
        _write(scratch / "skills.arrow", table)
        with VectorStore(scratch / chroma, chroma_url, f"skills-{head['key'][:16]}") as store:
            store.write(vectors)
        write_json(scratch / "manifest.json", {"schema": _FORMAT, **head, "texts": len(table), "chroma": chroma})


def _skills_digest(skills: Mapping[str, Sequence[str]]) -> str:
    whole = hashlib.sha256()
    for sample in sorted(skills):
        whole.update(digest([sample, sorted({canonical(text) for text in skills[sample]})]).encode())
    return whole.hexdigest()


def _table(pool: Pool, skills: Mapping[str, Sequence[str]]) -> pa.Table:
    """Distinct texts in sorted order, each with the ids of its samples in the pool's order."""
    spelling: dict[str, str] = {}
    places: dict[str, array[int]] = {}
    for sample in sorted(skills):
        place = pool.place(sample)
        for key, text in _distinct(skills[sample]):
            spelling[key] = min(text, spelling.get(key, text))
            places.setdefault(key, array("q")).append(place)
    if not places:
        raise PoolError("no sample of the pool has a skill; its skills must be named before it can be searched")
    ids = pool.ids
    keys = sorted(places)
    samples = [[ids[place] for place in sorted(places[key])] for key in keys]
    return pa.table({"text": pa.array([spelling[key] for key in keys]), "samples": pa.array(samples)})


def _distinct(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = {}
    for text in texts:
        if key := canonical(text):
            clean = " ".join(text.split()).rstrip(" .")
            found[key] = min(clean, found.get(key, clean))
    yield from found.items()


def _write(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _map(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise PoolError(f"{path} is damaged ({error}); delete {path.parent} to build it again") from None


__all__ = ["Hit", "Mode", "SkillIndex", "canonical"]
