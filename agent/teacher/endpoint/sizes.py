"""How many pictures an endpoint takes in one request, as far as it has shown.

Nobody says it beforehand: vLLM takes one unless it is told otherwise, others 5, 10, 12 or 50, and each words its refusal
differently. What a refusal says is therefore not read; it is held against what was taken. If every request that was refused in
these words had more pictures than any that was answered, their number is to blame; if not, something else was.
"""

import re
from collections.abc import Mapping
from typing import Any


class Sizes:
    """Numbers of pictures: the most that were taken, and the fewest that were refused in the same words."""

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        self.taken = 0
        self._refused: dict[str, int] = {}
        if kept:
            self.taken, self._refused[""] = int(kept["taken"]), int(kept["refused"])

    @property
    def refused(self) -> int | None:
        """So many pictures, or more, are too many; None as long as that has not shown."""
        return min((count for count in self._refused.values() if count > self.taken), default=None)

    def fits(self, pictures: int) -> bool:
        """Whether a request with so many may be taken."""
        return self.refused is None or pictures < self.refused

    def took(self, pictures: int) -> None:
        """A request with so many was answered."""
        self.taken = max(self.taken, pictures)

    def refuse(self, pictures: int, reason: str) -> None:
        """A request with so many was refused for what is in it."""
        words = same_words(reason)
        self._refused[words] = min(pictures, self._refused.get(words, pictures))

    def as_row(self) -> dict[str, int] | None:
        """What is kept; None where no bound has shown."""
        return None if self.refused is None else {"taken": self.taken, "refused": self.refused}


def same_words(message: str) -> str:
    """A message without what differs in one and the same failure: request ids, times, numbers."""
    return re.sub(r"[0-9a-fA-F-]{8,}|\d+", "#", message)
