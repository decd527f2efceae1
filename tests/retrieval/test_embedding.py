import random
from pathlib import Path

import numpy as np
import pytest

from retrieval import Embedder, VectorCache
from retrieval.errors import PoolError
from retrieval.index.embedding import Vectors

TEXTS = ["x"] + [
    f"how many {colour} {shape}s are in {'the picture ' * number}row {number}"
    for colour in ("red", "blue", "green")
    for number, shape in enumerate(("circle", "star", "cross"))
]


class CountingEmbedder(Embedder):
    """The real model, noting what it is asked."""

    def __init__(self, model: Embedder) -> None:
        super().__init__(model.name)
        self._inner = model
        self.asked: list[str] = []

    def encode(self, texts: object, on_progress: object = None) -> Vectors:
        self.asked += list(texts)  # type: ignore[call-overload]
        return self._inner.encode(texts)  # type: ignore[arg-type]


def test_alike_texts_lie_closer_than_unlike_ones_and_all_have_length_one(embedder: Embedder) -> None:
    vectors = embedder.encode(["the smallest digit", "the least of the digits", "a dog in the snow"])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3


def test_a_vector_does_not_depend_on_its_company(embedder: Embedder) -> None:
    together = embedder.encode(TEXTS)
    mixed = random.Random(1).sample(TEXTS, len(TEXTS))
    again = embedder.encode([*mixed, *mixed])
    np.testing.assert_allclose(again[: len(TEXTS)], together[[TEXTS.index(text) for text in mixed]], atol=1e-6)
    np.testing.assert_allclose(np.concatenate([embedder.encode([text]) for text in TEXTS]), together, atol=1e-6)
    assert embedder.encode([]).shape[0] == 0


def test_an_embedder_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="cannot load the embedder"):
        Embedder(str(tmp_path)).encode(["x"])


def test_progress_counts_distinct_texts(embedder: Embedder) -> None:
    seen: list[tuple[int, int]] = []
    embedder.encode([*TEXTS, *TEXTS], lambda done, total: seen.append((done, total)))
    assert seen == [(len(TEXTS), len(TEXTS))]


def test_a_text_is_embedded_once_and_its_vector_stays_the_same(embedder: Embedder, tmp_path: Path) -> None:
    counting = CountingEmbedder(embedder)
    cache = VectorCache(tmp_path / "cache", counting)
    first = cache.vectors([*TEXTS[:6], TEXTS[0]])
    both = cache.vectors(TEXTS)
    fresh = VectorCache(tmp_path / "cache", counting).vectors(TEXTS)
    assert sorted(counting.asked) == sorted(TEXTS)
    np.testing.assert_array_equal(first, both[[*range(6), 0]])
    np.testing.assert_array_equal(fresh, both)
    np.testing.assert_allclose(both, embedder.encode(TEXTS), atol=1e-3)


def test_two_owners_of_one_cache_see_each_other(embedder: Embedder, tmp_path: Path) -> None:
    counting = CountingEmbedder(embedder)
    one, other = (VectorCache(tmp_path / "cache", counting) for _ in range(2))
    one.vectors(TEXTS[:2])
    other.vectors(TEXTS[1:4])
    one.vectors(TEXTS[:4])
    assert len(counting.asked) == 4


def test_a_damaged_block_is_named(embedder: Embedder, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    VectorCache(cache, embedder).vectors(TEXTS[:2])
    (cache / "00000.npy").write_bytes(b"no array")
    with pytest.raises(PoolError, match=r"00000.npy is damaged"):
        VectorCache(cache, embedder).vectors(TEXTS[:2])
