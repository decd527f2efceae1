"""What a student's server is, and what it must have room for."""

from dataclasses import dataclass
from typing import Protocol

from agent.student.vllm.server.client import Client
from retrieval.errors import ConfigError

#: Name under which the base model, or merged weights, are served by a server of our own.
SERVED = "student"
#: Ranks that vLLM makes room for (vllm.config.lora).
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a server must have room for: tokens of prompt and answer together, images of one prompt, and of adapters the rank
    (0: none) and the last names of the layers that they change."""

    length: int = 0
    images: int = 1
    rank: int = 0
    layers: frozenset[str] = frozenset()

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            max(self.length, other.length),
            max(self.images, other.images),
            max(self.rank, other.rank),
            self.layers | other.layers,
        )


class Server(Protocol):
    """A server that may be up or not."""

    client: Client
    #: What the base model, or merged weights, are served as.
    model: str
    #: Where a server of the user's says that its model comes from, "" where it does not say.
    root: str

    async def start(self, model: str, needs: Needs) -> None:
        """Have it up with this model and that much room; an address that answers is enough for a server of the user's.
        Raises ConfigError, StudentError."""
        ...

    async def stop(self) -> None:
        """End it, if it is ours."""
        ...


def room_for(rank: int) -> int:
    """The smallest rank that vLLM makes room for and that holds `rank`. Raises ConfigError if none does."""
    for offered in RANKS:
        if rank <= offered:
            return offered
    raise ConfigError(f"vLLM serves adapters up to rank {RANKS[-1]}, not {rank}; lower tuning.rank")
