"""The teacher's journal: every paid answer, so that none is paid twice.

One JSON object a line: key (hash of the request), kind, scope, the reply as it came, tokens and cost. Images are in it
by their hash within the key only. What came in a batch has `batch`: it costs less. A row with `unanswered` holds no reply: it
is what a request can have cost that got none in time; one with `anew` says that the reply before it does not count. The reply's
text is kept, not what was made of it, so that a journal outlives a change of how replies are read. One process writes; a torn
last line is one lost answer.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agent.config.prices import Price
from agent.teacher.logprobs import Top
from retrieval.errors import DataError
from retrieval.storage.files import Log, iter_jsonl, read_jsonl, write_jsonl

#: Begins the scope of what was asked by a run that was deleted, whose journal is kept.
BEFORE = "before: "


class Usage(NamedTuple):
    """What answered calls took: their number, tokens in and out, US dollars (None if the price of one is not known)."""

    calls: int = 0
    tokens: int = 0
    cost_usd: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Completion:
    """A reply as it came. `finish` is the endpoint's finish_reason, `limit` the max_tokens that it was asked under,
    `refusal` what the endpoint gave as its reason not to answer (empty if it did). `top`: the most likely tokens at each
    place of a reply to a choice with their log-probabilities, empty for all other replies."""

    content: str
    finish: str
    refusal: str
    tokens_in: int
    tokens_out: int
    limit: int
    top: tuple[Top, ...] = ()


class Journal:
    """Answered requests by key. Nothing is read before it is needed, nothing created before there is something to
    write. `price` stands in for costs that were not known when they were written down."""

    def __init__(self, path: Path, price: Price | None = None, own: str | None = None) -> None:
        self.path = path
        self._price = price
        self._own = own
        #: Rows of batches under the scope `own` that were there at the start.
        self.own_batches: list[dict[str, Any]] = []
        self._rows: dict[str, Completion] | None = None
        self._usage: dict[str, Usage] = defaultdict(Usage)
        self._log: Log | None = None

    def find(self, key: str, limit: int) -> Completion | None:
        """The reply to a request asked before; one that was cut off counts only if the limit (tokens) has not been
        raised."""
        found = self.load().get(key)
        if found is not None and found.finish == "length" and found.limit < limit:
            return None
        return found

    def add(
        self, key: str, kind: str, scope: str, reply: Completion, cost_usd: float | None, in_batch: bool = False
    ) -> None:
        """Write an answered request down. Raises StorageError."""
        rows = self.load()
        more = {"batch": True} if in_batch else {}
        self._append(key, kind, scope, reply, cost_usd, **more)
        rows[key] = reply
        self._count(scope, reply, cost_usd, in_batch)

    def charge(self, key: str, kind: str, scope: str, limit: int, cost_usd: float) -> None:
        """Write down what a request can have cost that got no answer. Raises StorageError."""
        self.load()
        self._append(key, f"{kind}, unanswered", scope, _nothing(limit), cost_usd, unanswered=True)
        self._add_cost(scope, cost_usd)

    def ask_anew(self, keys: Iterable[str]) -> None:
        """Look at these requests as never answered, in later processes too; what they took stays counted. Raises StorageError."""
        for key in keys:
            if self.load().pop(key, None) is not None:
                self._append(key, "asked anew", "", _nothing(0), 0.0, anew=True)

    def _append(self, key: str, kind: str, scope: str, reply: Completion, cost_usd: float | None, **more: bool) -> None:
        if self._log is None:
            self._log = Log(self.path)
        said = asdict(reply)
        if not reply.top:
            del said["top"]
        row = {"schema": 1, "key": key, "kind": kind, "scope": scope, **said, "cost_usd": cost_usd}
        self._log.append({**row, **more})

    def forget(self, keys: Iterable[str]) -> None:
        """Look at these requests as never answered, in this process; what they took stays counted."""
        for key in keys:
            self.load().pop(key, None)

    def usage(self, scope: str | None = None) -> Usage:
        """What the calls made under a scope took, by this process and those before it; under all scopes if None."""
        self.load()
        return _sum(self._usage.values() if scope is None else [self._usage.get(scope, Usage())])

    def before(self) -> Usage:
        """What was asked by runs that were deleted; it is in `usage` of all scopes too."""
        self.load()
        return _sum(used for scope, used in self._usage.items() if scope.startswith(BEFORE))

    def own(self) -> Usage:
        """What was asked since."""
        self.load()
        return _sum(used for scope, used in self._usage.items() if not scope.startswith(BEFORE))

    def sync(self) -> None:
        """Force to disk what was written so far."""
        if self._log is not None:
            self._log.sync()

    def close(self) -> None:
        """Force to disk and close."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def load(self) -> dict[str, Completion]:
        """Read what earlier processes wrote, once. Raises DataError naming the line that is no row of a journal."""
        if self._rows is None:
            self._rows = {}
            for number, row in enumerate(iter_jsonl(self.path), 1):
                try:
                    self._take(row)
                except (KeyError, TypeError, ValueError) as error:
                    raise DataError(
                        f"{self.path}, line {number}: not a row of the teacher's journal ({error})"
                    ) from None
        return self._rows

    def _take(self, row: dict[str, Any]) -> None:
        """Take a row in. Raises KeyError, TypeError or ValueError if it is none."""
        rows, key, in_batch = self.load(), row["key"], row.get("batch") is True
        if row.get("anew") is True:
            rows.pop(key, None)
        elif row.get("unanswered") is True:
            self._add_cost(row["scope"], row["cost_usd"])
        else:
            rows[key] = _completion(row)
            self._count(row["scope"], rows[key], row["cost_usd"], in_batch)
            if in_batch and row["scope"] == self._own:
                self.own_batches.append(row)

    def _add_cost(self, scope: str, cost_usd: float) -> None:
        calls, tokens, cost = self._usage[scope]
        self._usage[scope] = Usage(calls, tokens, None if cost is None else cost + cost_usd)

    def _count(self, scope: str, reply: Completion, cost_usd: float | None, in_batch: bool) -> None:
        if cost_usd is None and self._price is not None:
            cost_usd = self._price.of(reply.tokens_in, reply.tokens_out, in_batch)
        calls, tokens, cost = self._usage[scope]
        total = None if cost is None or cost_usd is None else cost + cost_usd
        self._usage[scope] = Usage(calls + 1, tokens + reply.tokens_in + reply.tokens_out, total)


def _nothing(limit: int) -> Completion:
    return Completion("", "", "", 0, 0, limit)


def _completion(row: dict[str, Any]) -> Completion:
    top = tuple(tuple((token, value) for token, value in place) for place in row.get("top", ()))
    counts = row["tokens_in"], row["tokens_out"], row["limit"]
    return Completion(row["content"], row["finish"], row["refusal"], *counts, top)


def _sum(used: Iterable[Usage]) -> Usage:
    found = list(used)
    known = [each.cost_usd for each in found if each.cost_usd is not None]
    total = round(sum(known), 9) if len(known) == len(found) else None
    return Usage(sum(each.calls for each in found), sum(each.tokens for each in found), total)


def set_before(path: Path) -> None:
    """Note of all that a journal holds that it was asked by a run that is deleted. Nothing may have it open. Raises DataError,
    StorageError."""
    rows = read_jsonl(path)
    if any(not str(row.get("scope")).startswith(BEFORE) for row in rows):
        write_jsonl(path, ({**row, "scope": BEFORE + str(row.get("scope")).removeprefix(BEFORE)} for row in rows))
