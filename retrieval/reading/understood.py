"""What was understood of a user's file, in words: what is lost without a word is found after a night, or never."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from retrieval.reading.records import SetAside

#: Columns, and reasons, that are named; the others are counted.
_NAMED, _REASONS = 8, 3
#: What tells one row's reason from another's: quoted words, paths, numbers.
_OWN = re.compile(r"'[^']*'|“[^”]*”|\"[^\"]*\"|\S*/\S*|\d[\d,.]*")


class Columns:
    """The columns of a file that held something, in their order, and which of them were made use of, or look like pictures."""

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}
        self._used: set[str] = set()
        self._picture_like: dict[str, None] = {}

    def add(self, columns: Iterable[str], used: Iterable[str], picture_like: Iterable[str]) -> None:
        """Take note of a row, or of many."""
        self._seen |= dict.fromkeys(columns)
        self._used.update(used)
        self._picture_like |= dict.fromkeys(picture_like)

    @property
    def unused(self) -> list[str]:
        """Those that nothing was made of."""
        return [name for name in self._seen if name not in self._used]

    @property
    def pictures(self) -> list[str]:
        """Of the unused, those that look as if they name pictures."""
        return [name for name in self._picture_like if name not in self._used]


def or_none(count: int) -> str:
    """A count in words."""
    return f"{count:,}" if count else "none"


def some_of(names: Sequence[str]) -> str:
    """Names one behind the other; of many, how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def commonest(rows: Iterable[SetAside]) -> list[tuple[int, SetAside]]:
    """How often rows were set aside for the commonest reasons, each with its first row; what reasons quote is not compared."""
    counts: Counter[str] = Counter()
    first: dict[str, SetAside] = {}
    for row in rows:
        kind = _OWN.sub("…", row.reason)
        counts[kind] += 1
        first.setdefault(kind, row)
    return [(count, first[kind]) for kind, count in counts.most_common(_REASONS)]


def set_aside_words(rows: Sequence[SetAside]) -> list[str]:
    """What was set aside and why, a line for each of the commonest reasons."""
    if not rows:
        return []
    lines = [f"{count:,} set aside, the first {row.where}: {row.reason}" for count, row in commonest(rows)]
    rest = len(rows) - sum(count for count, _ in commonest(rows))
    return [*lines, *([f"{rest:,} set aside for other reasons"] if rest else [])]


def no_picture_words(columns: Sequence[str], what: str) -> str:
    """A warning for a file of which no row has a picture, though columns look like one."""
    return (
        f"warning: no {what} has a picture, though `{'`, `'.join(columns[:3])}` may name one: name the files in `image`"
    )
