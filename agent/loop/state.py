"""What the state machine carries from node to node: positions and small figures. Results are in the run folder's files."""

from typing import Literal, TypedDict, get_args

#: What a round can fail of; what was best before it is kept. A stop reason begins with it.
Failure = Literal["tuning_failed", "adapter_refused"]


class State(TypedDict, total=False):
    """Plain data, so that a checkpoint can be read without our code."""

    run: str
    """Path of the run folder."""
    round: int
    """Round that is being made; 0 is the student as it came."""
    best_round: int
    """Best round so far: the last that was significantly better than the best before it."""
    accuracies: list[float]
    """Validation accuracy by round."""
    stop_reason: str | None
    """Why the loop ends; None while it goes on."""


def has_failed(stop_reason: str | None) -> bool:
    """Whether the loop ends because a round failed."""
    return str(stop_reason).startswith(get_args(Failure))
