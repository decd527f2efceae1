"""The run's purse: no request is sent that could take the run over `teacher.budget_usd`.

A request sets aside the most that it can cost before it is sent, and pays what it did cost when its reply is in the
journal. One that does not fit beside those under way waits for them, since most cost far less than they could. Only one
that does not fit when nothing is under way ends the run: so no reply that is paid for is lost. What was spent is in files
of the run's folder, that for the pool's skills too: it counts wherever the folder is moved to, and whatever becomes of the
pool. Not seen are requests that a provider charges without answering them (a time-out).
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
        self._under_way = 0
        self._closed = False
        self._returned = asyncio.Event()

    def pay(self, cost: float) -> None:
        """Count what was spent, by this process or one before it."""
        self.spent += cost

    async def room(self, most: float) -> None:
        """Wait until a request that can cost `most` may be sent; send it within `under_way` before anything else is
        awaited. Raises BudgetError."""
        if self.limit is None:
            return
        while not self._closed and self.spent + self._held + most > self.limit:
            if self._under_way:
                await self._returned.wait()
            else:
                self._closed = True  # what came later and is smaller must not be under way when the run ends
        if self._closed:
            raise BudgetError(
                f"teacher.budget_usd: ${self.spent:.4f} of ${self.limit:g} are spent, and the next request could cost "
                f"${most:.4f}; raise it and run again to go on"
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
