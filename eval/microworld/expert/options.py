"""How an expert behaves: its phrasings and, for tests, its faults."""

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import get_args

from eval.microworld.expert.phrasing import Mode, draw
from retrieval.errors import ConfigError

#: Requests whose number of tries is remembered.
REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Options:
    """Shares are of requests, in [0, 1]; which ones are hit depends on the seed and the request alone, not on order."""

    phrasing: Mode = "disjoint"
    wrong: float = 0.0
    """Share of replies (of samples, in `skills`) whose verdict is wrong: another step and skill, flipped choices."""
    rate_limited: float = 0.0
    """Share of first tries answered with HTTP 429; each later try of the same request has the same chance anew."""
    retry_after: float = 0.0
    """Seconds that a 429 tells the caller to wait."""
    delay: float = 0.0
    """Seconds that each reply takes at least."""
    malformed: float = 0.0
    """Share of replies that are cut short or no JSON at all."""
    silent: float = 0.0
    """Share of tries that get no answer until the caller gives up."""
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, float) and not (isinstance(value, int | float) and value >= 0):
                raise ConfigError(f"the expert's option {field.name} must be a number from 0 on, not {value!r}")
            if field.name in ("wrong", "rate_limited", "malformed", "silent") and value > 1:
                raise ConfigError(f"the expert's option {field.name} is a share from 0 to 1, not {value!r}")
        if self.phrasing not in get_args(Mode):
            raise ConfigError(
                f"the expert's phrasing must be one of {', '.join(get_args(Mode))}, not {self.phrasing!r}"
            )


class Fate:
    """Decides which request meets which fault. Counts tries, so that a request which was refused can pass later."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tries: OrderedDict[str, int] = OrderedDict()

    def new_try(self, request: str) -> int:
        """How often a request (its hash) has come, this time included."""
        count = self._tries.pop(request, 0) + 1
        self._tries[request] = count
        if len(self._tries) > REMEMBERED:
            self._tries.popitem(last=False)
        return count

    def meets(self, fault: str, request: str, *more: str) -> bool:
        """Whether a request meets a fault (a field of Options)."""
        share: float = getattr(self._options, fault)
        return share > 0 and draw(f"{self._options.seed} {fault}", request, *more) < share * 2**64
