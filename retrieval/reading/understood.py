"""What was understood of a user's file, in words: what is lost without a word is found after a night, or never."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from retrieval.reading.names import looks_like_picture
from retrieval.reading.records import SetAside

#: Columns, and reasons, that are named; the others are counted.
_NAMED, _REASONS = 8, 3
#: What tells one row's reason from another's: quoted words, paths, numbers.
_OWN = re.compile(r"'[^']*'|“[^”]*”|\"[^\"]*\"|\S*/\S*|\d[\d,.]*")


class Columns:
    """The columns of a file that held something, in their order, and which of them were made use of."""

    def __init__(self) -> None:
        self._seen: dict[str, Any] = {}
        self._used: set[str] = set()

    def add(self, columns: Iterable[str], used: Iterable[str], row: dict[str, Any] | None = None) -> None:
        """Take note of a row, and of its cells where they are at hand."""
        for name in columns:
            self._seen.setdefault(name, (row or {}).get(name))
        self._used.update(used)

    @property
    def unused(self) -> list[str]:
        """Those that nothing was made of."""
        return [name for name in self._seen if name not in self._used]

    @property
    def pictures(self) -> list[str]:
        """Of the unused, those that look as if they name pictures."""
        return [name for name in self.unused if looks_like_picture(name, self._seen[name])]


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
    return f"warning: no {what} has a picture, though `{'`, `'.join(columns[:3])}` may name one: name the files in `image`"
