"""The items of a run: the validation set, and the holdout that decides nothing."""

from dataclasses import replace
from typing import NamedTuple

from agent.config.schema import RunConfig
from eval.task import Item, Items, load_items, split_holdout


class Read(NamedTuple):
    """Items as they are used, and what was read of the files of the validation set and of the holdout (empty if there is none
    of its own)."""

    items: tuple[Item, ...]
    holdout: tuple[Item, ...]
    validation: Items
    extra: Items


def read_items(config: RunConfig) -> Read:
    """Read validation set and holdout. Raises DataError."""
    data = config.data
    read, extra = load_items(data.validation, data.images, data.limit), Items((), ())
    if data.holdout is None:
        return Read(*split_holdout(read.items, data.holdout_share, config.seed), read, extra)
    extra = load_items(data.holdout, data.images, data.limit)
    holdout = extra.items
    if {item.id for item in read.items} & {item.id for item in holdout}:  # rows without ids are numbered in both
        holdout = tuple(replace(item, id=f"holdout/{item.id}") for item in holdout)
    return Read(read.items, holdout, read, extra)
