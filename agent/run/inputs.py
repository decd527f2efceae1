"""What a run is held against when it goes on: the items that it began with, their pictures, and its pool.

items.jsonl holds the items and the paths of their pictures, pictures.jsonl what the files held when the run began, and run.json
the pool's key. A run of an older version gains what it lacks.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.config.schema import RunConfig
from agent.run.folder import RunFolder
from agent.run.resume import has_answers
from eval.task import Item
from retrieval.errors import RunError
from retrieval.pool.pool import Pool
from retrieval.storage.files import file_digest, read_jsonl, read_object, write_jsonl

_CURE = "put the old {} back, or start over with --if-exists delete"


def keep_items(run: Path, items: Sequence[Item], holdout: Sequence[Item]) -> None:
    """Write down the run's items and what their pictures hold, or see that both are what the run began with. Raises RunError."""
    rows = [{**item.to_row(), "holdout": held} for held, part in enumerate((items, holdout)) for item in part]
    path = run / "items.jsonl"
    if path.exists() and read_jsonl(path) != json.loads(json.dumps(rows)):
        raise RunError(
            f"the items have changed since {run} began, so its rounds could not be compared; {_CURE.format('files')}"
        )
    _keep_pictures(run / "pictures.jsonl", [*items, *holdout])
    write_jsonl(path, rows)


def _keep_pictures(path: Path, items: Sequence[Item]) -> None:
    shown = {image: item.id for item in reversed(items) for image in item.images}
    now = {str(image): file_digest(image) for image in shown}
    began = {row.get("image"): row.get("sha256") for row in read_jsonl(path)}
    for image, item in shown.items():
        if began.get(str(image), now[str(image)]) != now[str(image)]:
            raise RunError(
                f"the picture {image} of item {item} has changed since {path.parent} began, so its rounds could not be compared; "
                f"{_CURE.format('picture')}"
            )
    if began != now:
        write_jsonl(path, ({"schema": 1, "image": image, "sha256": held} for image, held in sorted(now.items())))


def check_pool(folder: RunFolder, config: RunConfig) -> None:
    """See that the pool is the one that the run selects from. Raises RunError, PoolError."""
    key = Pool.key_of(config.pool.path, config.pool.images, config.pool.limit, config.seed)
    status = read_object(folder.path / "run.json")
    began: Any = status.get("pool_key")
    # A run from before keys were noted down has the pool's folder, whose name ends with twelve digits of it.
    same = key == began if began else str(status.get("pool") or key[:12]).endswith(key[:12])
    if not same and has_answers(folder.path):
        raise RunError(
            f"the pool {config.pool.path} has changed since {folder.path} began, and its samples were selected from the old one; "
            f"{_CURE.format('file')}"
        )
    folder.status(pool_key=key)
