"""What was answered and what it took: the journal, what of it this run has paid for, and the budget."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.config.prices import Price
from agent.config.schema import TeacherConfig
from agent.teacher.ledger.budget import Budget
from agent.teacher.ledger.journal import Completion, Journal, Usage
from agent.teacher.request import ChatRequest


class Ledger:
    """Where other runs write to the journal too, `costs` is a file of this run's own, in which what it pays for is noted down,
    without the replies; `own` is the scope of what this run asks then. A batch is charged to the run that made it, whichever
    fetches it: if another did, that is noted down when this one goes on. Nothing is read before it is needed."""

    def __init__(
        self, config: TeacherConfig, journal: Path, budget: Budget, costs: Path | None, own: str | None = None
    ) -> None:
        self._config, self._price, self._own = config, config.price, own
        self._journal = Journal(journal, self._price, own)
        self._costs = Journal(costs, self._price) if costs else None
        self._loaded = False
        self.budget = budget

    def load(self) -> bool:
        """Read the journal and count what was spent before; only the first call does, and returns True. Raises DataError."""
        if self._loaded:
            return False
        self._loaded = True
        if self._costs is not None:
            self._journal.load()
            for row in self._journal.own_batches:
                if self._costs.find(row["key"], 0) is None:
                    paid = Completion("", row["finish"], "", row["tokens_in"], row["tokens_out"], row["limit"])
                    self._costs.add(row["key"], row["kind"], row["scope"], paid, row["cost_usd"], in_batch=True)
        self.budget.pay((self._costs or self._journal).usage().cost_usd or 0.0)
        return True

    def find(self, key: str, limit: int) -> Completion | None:
        """See `Journal.find`."""
        return self._journal.find(key, limit)

    def forget(self, keys: Iterable[str]) -> None:
        """See `Journal.forget`."""
        self._journal.forget(keys)

    def ask_anew(self, keys: Iterable[str]) -> None:
        """See `Journal.ask_anew`."""
        self._journal.ask_anew(keys)

    def charge(self, request: ChatRequest, more: Sequence[Mapping[str, Any]], scope: str) -> bool:
        """A request got no answer in time: it is charged at its most, where the price is known. Whether what is left allows
        another try. Raises StorageError."""
        if self._price is not None and (most := self._at_most(request, more, self._price)):
            charged = self._costs or self._journal
            charged.charge(request.key(more), request.kind, scope, self._config.max_tokens, most)
            self.budget.pay(most)
        return self.budget.fits(0.0)

    def _at_most(self, request: ChatRequest, more: Sequence[Mapping[str, Any]], price: Price) -> float:
        return price.at_most(request.text_bytes(more), request.image_sizes(), self._config.max_tokens)

    def most(self, request: ChatRequest, more: Sequence[Mapping[str, Any]] = (), in_batch: bool = False) -> float:
        """US dollars that a request can cost, 0 where there is no budget to keep. Raises DataError if an image is none."""
        if self._price is None or self.budget.limit is None:
            return 0.0
        most = self._at_most(request, more, self._price)
        return most * self._price.batch if in_batch else most

    def enter(self, key: str, kind: str, scope: str, reply: Completion, most: float, in_batch: bool = False) -> None:
        """Write a reply down and pay for it; `most` is what it can have cost, for an endpoint that reports no tokens.
        Raises StorageError."""
        cost = self._cost(reply, most, in_batch)
        # First: what a kill keeps from the journal was paid for, and will be again; but not if a batch holds it.
        is_own = self._own in (None, scope)
        if self._costs is not None and is_own and not (in_batch and self._costs.find(key, reply.limit)):
            self._costs.add(key, kind, scope, replace(reply, content="", refusal="", top=()), cost, in_batch)
        self._journal.add(key, kind, scope, reply, cost, in_batch)
        if is_own:
            self.budget.pay(cost or 0.0)

    def usage(self, scope: str | None = None) -> Usage:
        """Calls, tokens and cost of the answered requests of a scope; of all scopes if None."""
        self.load()
        return self._journal.usage(scope)

    def paid(self) -> Usage:
        """What this run has paid for, over all its processes, of what is in the journal; without what runs
        that were deleted have."""
        return (self._costs or self._journal).own()

    def sync(self) -> None:
        """Force to disk what was written so far."""
        for journal in filter(None, (self._costs, self._journal)):
            journal.sync()

    def close(self) -> None:
        """Force to disk and close."""
        for journal in filter(None, (self._costs, self._journal)):
            journal.close()

    def _cost(self, reply: Completion, most: float, in_batch: bool) -> float | None:
        if self._price is None:
            return None
        if self.budget.limit is not None and not (reply.tokens_in and reply.tokens_out):
            return most  # the endpoint does not say what it took
        return self._price.of(reply.tokens_in, reply.tokens_out, in_batch)
