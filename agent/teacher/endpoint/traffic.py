"""How the teacher's requests fare, in one sentence: what was refused and why, and what waits for how long."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable

from agent.teacher.endpoint.received import PassingError


class Traffic:
    """The requests of one process; teachers of one run share it. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused: Counter[str] = Counter()
        #: When each of the rests that something takes will be over.
        self._ends: list[float] = []

    def refused(self, error: PassingError) -> None:
        """Count what is tried again."""
        why = "no connection" if error.unreachable else "no answer in time"
        self._refused[f"HTTP {error.status}" if error.status else why] += 1

    def timed(self, sleep: Callable[[float], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
        """`sleep`, of which is known when it ends."""

        async def rest(seconds: float) -> None:
            end = self._clock() + seconds
            self._ends.append(end)
            try:
                await sleep(seconds)
            finally:
                self._ends.remove(end)

        return rest

    def standing(self) -> str:
        """What holds requests up, "" for nothing."""
        said = []
        if refused := dict(self._refused):  # copies, since another thread asks
            most_first = sorted(refused.items(), key=lambda pair: -pair[1])
            why = ", ".join(f"{reason}: {count:,}" for reason, count in most_first)
            said.append(f"the teacher has put off {sum(refused.values()):,} requests so far ({why})")
        if ends := list(self._ends):
            said.append(f"{len(ends)} waiting, the next try in {max(0.0, min(ends) - self._clock()):.0f} s")
        return "; ".join(said)
