"""Rankings of the skill texts: BM25, embeddings, and their fusion by reciprocal rank.

Reciprocal rank fusion: Cormack, Clarke, Büttcher, SIGIR 2009; a text's score is the sum of 1 / (60 + rank) over the
rankings it stands in, ranks from 1. Ties go by a seeded hash of the text, so a ranking does not depend on the order
of building.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import bm25s
import numpy as np
import Stemmer  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray

from retrieval.storage.order import seeded_hash

Mode = Literal["fused", "bm25", "dense"]

_RRF = 60
#: Only words without any meaning of their own: "more", "below", "not" tell one skill from another.
_STOP_WORDS = ["a", "an", "and", "are", "is", "of", "or", "the", "to"]


class Hit(NamedTuple):
    """A skill text of the pool and how well it fits: higher is better, comparable within one search only."""

    text: str
    score: float


class Bm25:
    """BM25 over texts, English stems."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        tokens = self._tokens(texts)
        self._size = len(texts)
        self._index: bm25s.BM25 | None = None
        if any(tokens):
            self._index = bm25s.BM25()
            self._index.index(tokens, show_progress=False)

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        return list(
            bm25s.tokenize(
                list(texts),
                token_pattern=r"(?u)\b\w+\b",
                stopwords=_STOP_WORDS,
                stemmer=self._stemmer,
                return_ids=False,
                show_progress=False,
            )
        )

    def scores(self, text: str) -> NDArray[np.float32]:
        """BM25 score of every text for a query, 0 where they share no word."""
        tokens = self._tokens([text])[0]
        if self._index is None or not tokens:
            return np.zeros(self._size, dtype=np.float32)
        return np.asarray(self._index.get_scores(tokens), dtype=np.float32)


def top(texts: Sequence[str], scores: NDArray[np.float32], k: int, floor: float = -np.inf) -> list[Hit]:
    """The k texts that score highest, above `floor`, best first; scores closer than a millionth tie."""
    rounded = np.round(scores, 6)
    places = np.flatnonzero(rounded > floor)
    if len(places) > k:
        least = np.partition(rounded[places], len(places) - k)[len(places) - k]
        places = places[rounded[places] >= least]
    return order(Hit(texts[place], float(rounded[place])) for place in places.tolist())[:k]


def order(hits: Iterable[Hit]) -> list[Hit]:
    """Best first, ties by hash."""
    return sorted(hits, key=lambda hit: (-hit.score, seeded_hash(0, "skill", hit.text), hit.text))


def fuse(rankings: Iterable[Sequence[Hit]]) -> list[Hit]:
    """One ranking out of several, by reciprocal rank."""
    scores: dict[str, float] = defaultdict(float)
    for ranking in rankings:
        for rank, hit in enumerate(ranking, 1):
            scores[hit.text] += 1 / (_RRF + rank)
    return order(Hit(text, round(score, 9)) for text, score in scores.items())
