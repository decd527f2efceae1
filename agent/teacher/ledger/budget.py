"""The run's purse: no request is sent that could take the run over `teacher.budget_usd`.

A request sets aside the most that it can cost before it is sent, and pays what it did cost when its reply is in the
journal. One that does not fit beside those under way waits for them, since most cost far less than they could. Only one
that does not fit when nothing is under way ends the run: so no reply that is paid for is lost. For a batch that was
submitted, the most that it can cost stays set aside until its results are in the journal. What was spent is in files
of the run's folder, that for the pool's skills too: it counts wherever the folder is moved to, and whatever becomes of the
pool. A request that gets no answer in time is paid at its most: the provider may have made one, and charge for it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from retrieval.errors import BudgetError


class Budget:
    """Shared by all teachers of a run, that is by all its journals. Amounts are in US dollars; `limit` None: no end."""

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self.spent = 0.0
        self._held = 0.0
        self._batches: dict[str, float] = {}
        self._under_way = 0
        self._closed = False
        self._returned = asyncio.Event()

    def pay(self, cost: float) -> None:
        """Count what was spent, by this process or one before it."""
        self.spent += cost

    def set_aside(self, batch: str, most: float) -> None:
        """Count what a batch can cost as spent until it is settled."""
        self._batches[batch] = most

    def settle(self, batch: str) -> None:
        """The results of a batch are in the journal."""
        self._batches.pop(batch, None)

    def fits(self, most: float) -> bool:
        """Whether what can cost `most` may be sent beside all that is under way."""
        return self.limit is None or self.spent + self._held + sum(self._batches.values()) + most <= self.limit

    async def room(self, most: float) -> None:
        """Wait until a request that can cost `most` may be sent; send it within `under_way` before anything else is
        awaited. Raises BudgetError."""
        while not self._closed and not self.fits(most):
            if self._under_way:
                await self._returned.wait()
            else:
                self._closed = True  # what came later and is smaller must not be under way when the run ends
        if self._closed:
            waits = f", ${sum(self._batches.values()):.4f} are set aside for batches under way" if self._batches else ""
            raise BudgetError(
                f"teacher.budget_usd: ${self.spent:.4f} of ${self.limit:g} are spent{waits}, and the next request could "
                f"cost ${most:.4f}; raise it and run again to go on"
            )

    @contextmanager
    def under_way(self, most: float) -> Iterator[None]:
        """Set aside `most` while a request is under way."""
        self._held += most
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._held = self._held - most if self._under_way else 0.0  # no rest of rounding stays
            self._returned.set()
            self._returned = asyncio.Event()
