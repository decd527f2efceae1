"""Work that memory may not hold: done in halves, down to one thing at a time."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

#: What torch says on a CPU, and of a GPU in errors that are of no class of their own.
_SAID = ("can't allocate memory", "out of memory", "not enough memory")


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _SAID)


def in_halves(
    things: Sequence[T], work: Callable[[Sequence[T]], list[R]], alone: Callable[[T, str], R] | None = None
) -> list[R]:
    """What `work` makes of things, one result each, in order; where memory does not hold it, of each half of them, and so on.

    A single thing that is too much gets `alone(thing, what was said)`; without `alone`, its error is raised.
    """
    if not things:
        return []
    try:
        return work(things)
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error) or (len(things) == 1 and alone is None):
            raise
        said = str(error).partition("\n")[0]
    # Here, where the error and the frames that it holds, with all their tensors, are gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if len(things) == 1 and alone is not None:
        return [alone(things[0], said)]
    half = len(things) // 2
    return [*in_halves(things[:half], work, alone), *in_halves(things[half:], work, alone)]
