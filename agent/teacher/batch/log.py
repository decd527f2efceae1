"""Which batches were submitted: what a killed run finds its batches again by.

teacher.batches.jsonl beside the journal, teacher.jsonl. A batch is written down before anything is done (`tag`, what it
holds, the most that it can cost), its input file before the batch is made of it, the provider's id afterwards, and its
end when its results are in the journal. Each row is on disk before the next step. One process writes.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from retrieval.errors import DataError
from retrieval.storage.files import Log, iter_jsonl


@dataclass(frozen=True, slots=True)
class Submitted:
    """A batch. `kinds`: the kind of each request by its key in the journal; `limit` is the max_tokens that they are asked under,
    `most` US dollars that all of them can cost, `time` when it was begun (seconds since 1970). `file` and `id` are the
    provider's, "" until they are known."""

    tag: str
    endpoint: str
    scope: str
    kinds: dict[str, str]
    limit: int
    most: float
    time: float
    file: str = ""
    id: str = ""


class BatchLog:
    """Batches whose results are not in the journal yet, by tag."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log: Log | None = None

    @cached_property
    def open(self) -> dict[str, Submitted]:
        """Those begun and not ended, by this process and those before it. Raises DataError naming the line that is no row."""
        found: dict[str, Submitted] = {}
        for number, row in enumerate(iter_jsonl(self.path), 1):
            try:
                _take(found, row)
            except (KeyError, TypeError) as error:
                raise DataError(f"{self.path}, line {number}: not a row about a batch ({error})") from None
        return found

    def begin(self, batch: Submitted) -> None:
        """Before anything is done. Raises StorageError."""
        self._write({"schema": 1, "tag": batch.tag, "begun": {**asdict(batch), "file": "", "id": ""}})

    def note(self, tag: str, **known: str) -> None:
        """What is known of it by now: `file`, `id`. Raises StorageError."""
        self._write({"schema": 1, "tag": tag, "known": known})

    def end(self, tag: str, status: str, answered: int) -> None:
        """Its results, if there are any, are in the journal. Raises StorageError."""
        self._write({"schema": 1, "tag": tag, "ended": status, "answered": answered})

    def close(self) -> None:
        """Close the file; it is opened again if need be."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def _write(self, row: dict[str, Any]) -> None:
        before = self.open  # read before this row is in the file
        if self._log is None:
            self._log = Log(self.path)
        self._log.append(row)
        self._log.sync()
        _take(before, row)


def _take(found: dict[str, Submitted], row: dict[str, Any]) -> None:
    """Bring what is known of the open batches up to date by a row."""
    if "begun" in row:
        found[row["tag"]] = Submitted(**row["begun"])
    elif "known" in row:
        found[row["tag"]] = replace(found[row["tag"]], **row["known"])
    else:
        found.pop(row["tag"], None)
