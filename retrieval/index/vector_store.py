"""Vectors in Chroma, in a folder or on a server: kept under their row numbers, found by inner product."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from retrieval.errors import PoolError, StorageError, first_line
from retrieval.index.embedding import Vectors
from retrieval.storage.files import storage_errors

#: Up to so many vectors every one is compared; past it, Chroma's graph proposes candidates.
EXACT = 200_000
#: Rows read or written in one call; Chroma takes at most 5,461.
_PAGE = 5000
#: Candidates asked of the graph for each hit that is wanted.
_WIDEN = 4
#: Where a server's API begins.
_API = "/api/v2"
#: What SQLite and the system say on a full disk.
_NO_ROOM = ("no space left", "database or disk is full", "disk i/o error", "code: 13", "disk quota")
#: Seconds in which a server must show that it is there, and those it may take for one call.
_GREETING, _PATIENCE = 10.0, 300.0


class VectorStore:
    """A Chroma collection. Opening it loads Chroma (half a second); a folder belongs to one process at a time.

    Everything raises PoolError where a server does not do what it is asked.
    """

    def __init__(self, folder: Path, url: str | None, name: str) -> None:
        self._folder, self._url = folder, url
        self._client = _client(folder, url)
        self._name = name
        self._exact: Vectors | None = None

    def write(self, vectors: Vectors) -> None:
        """Keep these vectors, shape (rows, dimension). If just these are there, nothing is touched. Nothing is ever
        taken away: on a server, another machine may be writing the same collection, or reading it."""
        with _chroma_errors(self._url):
            if not self._holds(vectors):
                self._write(vectors)

    def _holds(self, vectors: Vectors) -> bool:
        if not 0 < self.count() == len(vectors):
            return False
        kept = self._read()
        # How the texts were batched shows in a vector's last bits.
        return kept.shape == vectors.shape and np.allclose(kept, vectors, atol=1e-4)

    def _write(self, vectors: Vectors) -> None:
        collection = self._client.get_or_create_collection(
            self._name, embedding_function=None, configuration={"hnsw": {"space": "ip"}}
        )
        for start in range(0, len(vectors), _PAGE):
            rows = range(start, min(start + _PAGE, len(vectors)))
            collection.upsert(ids=[str(row) for row in rows], embeddings=vectors[rows.start : rows.stop])
        self.__dict__.pop("_collection", None)
        self._exact = None

    def load(self) -> None:
        """Read the vectors if every one is compared; Chroma is then not asked again."""
        with _chroma_errors(self._url):
            self._exact = self._read() if self.count() <= EXACT else None

    def count(self) -> int:
        """Rows kept; 0 if there is no collection."""
        with _chroma_errors(self._url):
            return int(self._collection.count()) if self._collection is not None else 0

    def nearest(self, vector: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
        """Rows and inner products of at least the k nearest (fewer only if there are fewer), in no order."""
        if self._exact is None:
            self.load()
        if self._exact is not None:
            return np.arange(len(self._exact)), self._exact @ vector
        with _chroma_errors(self._url):
            return self._proposed(vector, k)

    def _proposed(self, vector: Vectors, k: int) -> tuple[NDArray[np.int64], Vectors]:
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

    def _read(self) -> Vectors:
        count = self.count()
        parts: list[Any] = []
        rows: list[str] = []
        for start in range(0, count, _PAGE):
            page = self._collection.get(include=["embeddings"], limit=_PAGE, offset=start)
            parts.append(page["embeddings"])
            rows += page["ids"]
        if sorted(rows) != sorted(map(str, range(count))):
            at = server_address(self._url) if self._url else self._folder.parent
            message = f"Chroma's collection {self._name} ({at}) does not give each of its {count} rows once"
            raise PoolError(f"{message}; delete it and run again")
        return np.concatenate(parts, dtype=np.float32)[np.argsort(np.array(rows, dtype=np.int64))]


def server_address(url: str) -> str:
    """A Chroma server's address as its client takes it. Raises PoolError, which does not repeat `url` (it may hold a
    password), if it is more than scheme, host, port and the path of a proxy, or less."""
    with suppress(ValueError):  # of a port that is none
        parts = urlsplit(url)
        more = parts.username or parts.password or parts.query or parts.fragment
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not more:
            return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix(_API)}"
    raise PoolError(
        "pool.chroma_url is no address of a Chroma server: scheme, host, port and, behind a proxy, a path, without user, "
        "password and query; write it as http://127.0.0.1:8000 or https://example.org/chroma"
    )


def _client(folder: Path, url: str | None) -> Any:
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    if url is None:
        with storage_errors(folder), _chroma_errors(None):
            folder.mkdir(parents=True, exist_ok=True)
            return chromadb.PersistentClient(str(folder), settings=settings)
    address = server_address(url)
    with _chroma_errors(url):
        _greet(address)
        # A whole address as the host goes before the port; a bare host would lose the path.
        client = chromadb.HttpClient(address, ssl=address.startswith("https:"), settings=settings)
        # Chroma's own client waits for ever, and has no setting for it.
        client._server._session.timeout = httpx.Timeout(_PATIENCE, connect=_GREETING)
    return client


def check_server(url: str) -> None:
    """Raise PoolError if no Chroma server answers at an address."""
    with _chroma_errors(url):
        _greet(server_address(url))


def _greet(address: str) -> None:
    """See that a Chroma server is there; its client would wait for ever for one that says nothing."""
    reply = httpx.get(f"{address}{_API}/heartbeat", timeout=_GREETING)
    if "heartbeat" not in reply.text:
        raise ValueError(f"what answers there, with status {reply.status_code}, is no Chroma server")


@contextmanager
def _chroma_errors(url: str | None) -> Iterator[None]:
    """Turn whatever goes wrong with Chroma, on a server or in a folder, into one sentence for the user."""
    try:
        yield
    except PoolError:
        raise
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # what is written in Rust panics outside of Exception
        if url is None:
            said = first_line(error)[:200]
            if any(word in said.lower() for word in _NO_ROOM):
                raise StorageError(f"Chroma cannot write its files: {said}; make room, then run again") from error
            raise PoolError(
                f"Chroma's files cannot be read ({said}); delete the index's folder to build it again"
            ) from error
        raise PoolError(
            f"cannot use the Chroma server at {server_address(url)}: {first_line(error)[:200]}; "
            "see that it runs and run again, or drop pool.chroma_url"
        ) from error
