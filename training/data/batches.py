"""Which samples are seen when, and how they become tensors.

The whole order is a function of the samples' lengths and the seed, so a tuning that goes on from a checkpoint sees
what an unbroken one sees, and a smaller micro-batch changes nothing but memory.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler

from training.data.chat import IGNORED

#: Samples of so many batches are sorted by length together: enough to save most padding, few enough to keep batches
#: mixed.
WINDOW = 8


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample ready for tuning: its rendered text, image files, token ids and labels (both of one length, images
    expanded), and where the features of its images lie in the feature table (first row, rows), if there is one."""

    id: str
    text: str
    images: tuple[Path, ...]
    ids: torch.Tensor
    labels: torch.Tensor
    features: tuple[int, int] = (0, 0)


def plan_steps(lengths: Sequence[int], epochs: float, batch_size: int, seed: int) -> list[list[int]]:
    """The samples (indices) of every optimiser step. Every batch is full; `epochs` is rounded up to whole batches.

    Samples come in a new random order each epoch; within a window of batches they are grouped by length.
    """
    batch_size = min(batch_size, len(lengths))
    steps = max(1, math.ceil(epochs * len(lengths) / batch_size - 1e-9))
    rng = random.Random(seed)
    stream: list[int] = []
    while len(stream) < steps * batch_size:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        stream += order
    plan: list[list[int]] = []
    for start in range(0, steps * batch_size, WINDOW * batch_size):
        window = stream[start : min(start + WINDOW * batch_size, steps * batch_size)]
        window.sort(key=lambda index: lengths[index])
        batches = [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        rng.shuffle(batches)
        plan += batches
    return plan


def split_step(step: Sequence[int], parts: int) -> list[list[int]]:
    """Cut a step's samples into `parts` micro-batches of sizes that differ by one at most (needs as many samples as
    parts)."""
    size, rest = divmod(len(step), parts)
    cuts = [0]
    for part in range(parts):
        cuts.append(cuts[-1] + size + (part < rest))
    return [list(step[a:b]) for a, b in pairwise(cuts)]


class MicroBatches(Sampler[list[int]]):
    """The micro-batches of one process, `accumulation` of them to a step; of `world` processes this is number
    `rank`."""

    def __init__(self, plan: Sequence[Sequence[int]], accumulation: int, world: int = 1, rank: int = 0) -> None:
        self._chunks = [
            chunk
            for step in plan
            for chunk in split_step(step, accumulation * world)[rank * accumulation :][:accumulation]
        ]

    def __len__(self) -> int:
        return len(self._chunks)

    def __iter__(self) -> Any:
        return iter(self._chunks)


def pad(rows: Sequence[torch.Tensor], value: int) -> torch.Tensor:
    """Rows of token ids as one tensor (rows, longest), filled up on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def pad_labels(samples: Sequence[Encoded]) -> torch.Tensor:
    """Labels of a micro-batch (samples, longest)."""
    return pad([sample.labels for sample in samples], IGNORED)
