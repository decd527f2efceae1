"""What the name of a skill means, so that the expert can tell which names are one skill.

Its own wordings it knows. Other names it reads like someone who has heard many: a linear classifier over a name's embedding and
its letters, learnt from names that authors wrote by hand in styles of their own (`names.json`; none of them saw a name that the
expert is tested with). A name that it cannot place clearly, or that speaks of other worlds, is one skill with another only if
both say the same words.

    python -m eval.microworld.expert.meaning    # learns `meaning.npz` again
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import Stemmer  # type: ignore[import-not-found,unused-ignore]
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.svm import LinearSVC

from eval.microworld.expert.phrasing import phrasings
from retrieval.index.embedding import Embedder

HERE = Path(__file__).parent
#: The corpus' name for what is no skill of this world.
OTHER = "other"
#: By how much the likeliest skill must be ahead of the next (margin of the classifier), or the name is in doubt.
MARGIN = 0.2
#: Groups of three to five letters are counted in so many bins.
LETTERS = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=2**13)
_FILLER = frozenset(("a", "an", "the", "of", "to", "in", "on", "at", "for", "its"))
#: Names that have been read; emptied when there are more than `_MOST`.
_read: dict[str, str | None] = {}
_MOST = 100_000


class _Reader(NamedTuple):
    skills: list[str]
    weights: NDArray[np.float32]  # [features, skills]
    offsets: NDArray[np.float32]  # [skills]


def same_skill(one: str, other: str) -> bool:
    """Whether two names mean the same skill; if in doubt, not."""
    first, second = meanings((one, other))
    if first is None and second is None:
        return bool(_content(one)) and _content(one) == _content(other)
    return first == second


def meanings(names: Sequence[str]) -> list[str | None]:
    """The skill of the micro-world that each name means, None for other matters and in doubt. Reading together is quicker."""
    new = sorted({name for name in names if name not in _read})
    if len(_read) + len(new) > _MOST:
        _read.clear()
        new = sorted(set(names))
    _read.update((name, _own()[name]) for name in new if name in _own())
    unknown = [name for name in new if name not in _own()]
    if unknown:
        _read.update(zip(unknown, _classify(unknown), strict=True))
    return [_read[name] for name in names]


@cache
def _own() -> dict[str, str]:
    return {name: skill for skill, uses in phrasings().items() for texts in uses.values() for name in texts}


def _content(name: str) -> frozenset[str]:
    words = re.findall(r"\w+", name.lower())
    return frozenset(Stemmer.Stemmer("english").stemWords([word for word in words if word not in _FILLER]))


def _classify(names: Sequence[str]) -> list[str | None]:
    reader = _reader()
    scores = _features(names) @ reader.weights + reader.offsets
    order = np.argsort(scores, axis=1)
    rows = np.arange(len(names))
    best = [reader.skills[place] for place in order[:, -1]]
    margins = scores[rows, order[:, -1]] - scores[rows, order[:, -2]]
    return [None if skill == OTHER or margin < MARGIN else skill for skill, margin in zip(best, margins, strict=True)]


def _features(names: Sequence[str]) -> sparse.csr_matrix:
    """[names, 384 of the embedding and the bins of letters], both parts of length 1."""
    return sparse.csr_matrix(sparse.hstack([_embedder().encode(names), LETTERS.transform(names)]), dtype=np.float32)


@cache
def _embedder() -> Embedder:
    return Embedder()


@cache
def _reader() -> _Reader:
    with np.load(HERE / "meaning.npz") as kept:
        return _Reader(kept["skills"].tolist(), kept["weights"].astype(np.float32), kept["offsets"])


def corpus() -> dict[str, list[str]]:
    """Skill (or "other") → names to learn from."""
    found: dict[str, list[str]] = json.loads((HERE / "names.json").read_text(encoding="utf-8"))["names"]
    return found


def learn(names: dict[str, list[str]], path: Path) -> None:
    """Learn to read from these names and the expert's own, and write the weights."""
    rows = sorted({(name, skill) for skill, some in names.items() for name in some} | set(_own().items()))
    model: Any = LinearSVC(C=1.0, random_state=0).fit(_features([name for name, _ in rows]), [key for _, key in rows])
    np.savez_compressed(
        path,
        skills=model.classes_,
        weights=model.coef_.T.astype(np.float16),
        offsets=model.intercept_.astype(np.float32),
    )


if __name__ == "__main__":
    learn(corpus(), HERE / "meaning.npz")
