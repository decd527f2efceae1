"""The items of a run: the validation set, and the holdout that decides nothing.

A run is held against what it began with: items.jsonl holds the items and the paths of their pictures, pictures.jsonl the hashes
of what these files held. A run of an older version gains what it lacks.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from agent.config.schema import RunConfig
from eval.task import Item, Items, load_items, split_holdout
from retrieval.errors import DataError, RunError
from retrieval.reading.understood import set_aside_words
from retrieval.storage.files import file_digest, read_jsonl, whole_rows, write_jsonl


class Read(NamedTuple):
    """Items as they are used, and what was read of the files of the validation set and of the holdout (empty if there is none
    of its own)."""

    items: tuple[Item, ...]
    holdout: tuple[Item, ...]
    validation: Items
    extra: Items


def read_file(config: RunConfig, path: Path, limit: int | None = None, store: Path | None = None) -> Items:
    """Read a file of items as the configuration says; `store` is for pictures that it holds itself. Raises DataError."""
    data = config.data
    return load_items(path, data.images, limit, data.images_anywhere, data.answers, store)


def words_of(read: Items) -> list[str]:
    """What was understood of a file of items, a line each: what there is, what was set aside and why, what may be a mistake."""
    return [read.understood, *set_aside_words(read.set_aside), *filter(None, [read.warning])]


def read_items(config: RunConfig, store: Path | None = None) -> Read:
    """Read validation set and holdout; `store` is for pictures that their files hold themselves. Raises DataError, also where an
    item of the holdout is in the validation set too."""
    data = config.data
    read, extra = read_file(config, data.validation, data.limit, store), Items((), ())
    if data.holdout is None:
        return Read(*split_holdout(read.items, data.holdout_share, config.seed), read, extra)
    extra = read_file(config, data.holdout, data.limit, store)
    holdout = extra.items
    if {item.id for item in read.items} & {item.id for item in holdout}:  # rows without ids are numbered in both
        holdout = tuple(replace(item, id=f"holdout/{item.id}") for item in holdout)
    _check_apart(read.items, holdout, data.holdout)
    return Read(read.items, holdout, read, extra)


def _check_apart(items: Sequence[Item], holdout: Sequence[Item], path: Path) -> None:
    """Raise DataError if an item of the holdout would be diagnosed too."""
    asked = {(item.prompt_text, item.images): item.id for item in items}
    for item in holdout:
        if (item.prompt_text, item.images) in asked:
            raise DataError(
                f"{path}: item {item.id} of the holdout is in the validation set too "
                f"({asked[item.prompt_text, item.images]}); a holdout must hold other items, so remove it from one of them"
            )


def keep_items(run: Path, items: Sequence[Item], holdout: Sequence[Item]) -> list[str]:
    """Write down the run's items and what their pictures hold, or see that both are what the run began with; says which of the
    two files was damaged and is written again. Raises RunError."""
    path = run / "items.jsonl"
    said: list[str] = []
    rows = [{**item.to_row(), "holdout": bool(held)} for held, part in enumerate((items, holdout)) for item in part]
    if path.exists():
        began, said = _read(path)
        now = [json.dumps(row) for row in rows]
        # Of a damaged file, what can be read must be the same.
        if not set(began) <= set(now) if said else began != now:
            raise RunError(
                f"the items have changed since {run} began, so its rounds could not be compared; put the old files back, or "
                "start over with --if-exists delete"
            )
    said += _keep_pictures(run / "pictures.jsonl", [*items, *holdout])
    write_jsonl(path, rows)
    return said


def _keep_pictures(path: Path, items: Sequence[Item]) -> list[str]:
    shown = {image: item.id for item in reversed(items) for image in item.images}
    now = {str(image): file_digest(image) for image in shown}
    lines, said = _read(path)
    began: dict[str, Any] = {row.get("image"): row.get("sha256") for row in map(json.loads, lines)}
    for image, item in shown.items():
        if began.get(str(image), now[str(image)]) != now[str(image)]:
            raise RunError(
                f"the picture {image} of item {item} has changed since {path.parent} began, so its rounds could not be compared; "
                "put the old picture back, or start over with --if-exists delete"
            )
    if began != now or said or not path.exists():
        write_jsonl(path, ({"schema": 1, "image": image, "sha256": held} for image, held in sorted(now.items())))
    return said


def _read(path: Path) -> tuple[list[str], list[str]]:
    """The rows of a log as JSON, and what is wrong with the others."""
    try:
        return [json.dumps(row) for row in read_jsonl(path)], []
    except DataError as error:
        return [json.dumps(row) for row in whole_rows(path)], [f"{error}: the file is written again"]
