"""What the state machine carries from node to node: positions and small figures. Results are in the run folder's files."""

from typing import TypedDict


class State(TypedDict, total=False):
    """Plain data, so that a checkpoint can be read without our code."""

    run: str
    """Path of the run folder."""
    round: int
    """Round that is being made; 0 is the student as it came."""
    best_round: int
    """Best round so far: the last that was significantly better than the best before it."""
    since_best: int
    """Rounds since then."""
    accuracies: list[float]
    """Validation accuracy by round."""
    stop_reason: str | None
    """Why the loop ends; None while it goes on."""
