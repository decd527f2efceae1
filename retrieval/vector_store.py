"""Vectors in Chroma, in a folder or on a server: kept under their row numbers, found by inner product."""

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from retrieval.embedding import Vectors
from retrieval.errors import PoolError

#: Up to so many vectors every one is compared; past it, Chroma's graph proposes candidates.
EXACT = 200_000
#: Rows read or written in one call; Chroma takes at most 5,461.
_PAGE = 5000
#: Candidates asked of the graph for each hit that is wanted.
_WIDEN = 4


class VectorStore:
    """A Chroma collection. Opening it loads Chroma (half a second); a folder belongs to one process at a time."""

    def __init__(self, folder: Path, url: str | None, name: str) -> None:
        self._client = _client(folder, url)
        self._name = name

    def replace(self, vectors: Vectors) -> None:
        """Keep these vectors, shape (rows, dimension), and nothing else."""
        from chromadb.errors import NotFoundError

        with suppress(NotFoundError, ValueError):
            self._client.delete_collection(self._name)
        collection = self._client.create_collection(
            self._name, embedding_function=None, configuration={"hnsw": {"space": "ip"}}
        )
        for start in range(0, len(vectors), _PAGE):
            rows = range(start, min(start + _PAGE, len(vectors)))
            collection.add(ids=[str(row) for row in rows], embeddings=vectors[rows.start : rows.stop])
        self.__dict__.pop("_collection", None)

    def count(self) -> int:
        """Rows kept; 0 if there is no collection."""
        return int(self._collection.count()) if self._collection is not None else 0

    def nearest(self, vector: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Rows and inner products of at least the k nearest (fewer only if there are fewer), in no order."""
        if self.count() <= EXACT:
            return np.arange(len(self._matrix)), self._matrix @ vector
        found = self._collection.query(
            query_embeddings=[vector], n_results=min(_WIDEN * k, self.count()), include=["embeddings"]
        )
        rows = np.array([int(row) for row in found["ids"][0]], dtype=np.int64)
        return rows, np.asarray(found["embeddings"][0], dtype=np.float32) @ vector

    def close(self) -> None:
        """Let go of the files."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def _collection(self) -> Any:
        from chromadb.errors import NotFoundError

        try:
            return self._client.get_collection(self._name, embedding_function=None)
        except (NotFoundError, ValueError):
            return None

    @cached_property
    def _matrix(self) -> Vectors:
        parts: list[Any] = []
        rows: list[int] = []
        for start in range(0, self.count(), _PAGE):
            page = self._collection.get(include=["embeddings"], limit=_PAGE, offset=start)
            parts.append(np.asarray(page["embeddings"], dtype=np.float32))
            rows += [int(row) for row in page["ids"]]
        matrix = np.concatenate(parts)
        return matrix[np.argsort(rows)]


def _client(folder: Path, url: str | None) -> Any:
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        return chromadb.PersistentClient(str(folder), settings=settings)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PoolError(f"pool.chroma_url {url!r} is no address; write it as http://host:8000")
    secure = parts.scheme == "https"
    try:
        return chromadb.HttpClient(
            parts.hostname, parts.port or (443 if secure else 8000), ssl=secure, settings=settings
        )
    except ValueError as error:
        message = f"the Chroma server at {parts.hostname} does not answer ({error}); start it, or drop pool.chroma_url"
        raise PoolError(message) from None
