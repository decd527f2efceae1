"""Manifests: what says of a node that it is done, with the key that it was done for and the result that it gave.

They and run.json say where a run stands; the checkpoints only spare the walk from its beginning, and can be made again from them.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from retrieval.errors import DataError
from retrieval.storage.files import read_json, read_jsonl, write_json


class Manifest(NamedTuple):
    """What a node has left of itself: `update` are the state's changes, `seconds` what all its attempts took."""

    path: Path
    key: str = ""
    done: bool = False
    seconds: float = 0.0
    update: dict[str, Any] = {}

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest in a file; one that is missing or damaged is of no key, so that its node is run."""
        try:
            row = read_json(path)
            return cls(path, str(row["key"]), bool(row["done"]), float(row["seconds"]), dict(row.get("update", {})))
        except (DataError, OSError, KeyError, TypeError, ValueError):
            return cls(path)

    def write(self) -> None:
        """Put it in its place."""
        write_json(
            self.path,
            {
                "schema": 1,
                "key": self.key,
                "done": self.done,
                "seconds": round(self.seconds, 3),
                "update": self.update,
            },
        )

    @property
    def node(self) -> str:
        """The node's name."""
        return self.path.stem

    @property
    def round(self) -> int:
        """The round it worked on."""
        return int(self.path.parent.parent.name)


def manifest_of(folder: Path, node: str) -> Path:
    """Where a node's manifest lies in a round's folder."""
    return folder / ".manifests" / f"{node}.json"


def manifests(run: Path, node: str = "*") -> Iterator[Manifest]:
    """The manifests of a run's rounds, earlier rounds first."""
    folders = (path for path in (run / "rounds").glob("*") if re.fullmatch(r"\d+", path.name))
    for folder in sorted(folders, key=lambda path: int(path.name)):
        for path in sorted(manifest_of(folder, node).parent.glob(f"{node}.json")):
            yield Manifest.read(path)


def node_seconds(folder: Path) -> dict[str, float]:
    """Seconds by node, of those that are done in a round's folder."""
    found = [Manifest.read(path) for path in sorted((folder / ".manifests").glob("*.json"))]
    return {manifest.node: manifest.seconds for manifest in found if manifest.done}


def seconds_spent(events: Path, node: str, number: int) -> float:
    """Seconds of a node's attempts so far by events.jsonl; a killed one lasted to the last event of its process."""
    total, begun, last = 0.0, None, None
    for row in read_jsonl(events):
        now, kind = datetime.fromisoformat(row["time"]), row["event"]
        mine = (row.get("node"), row.get("round")) == (node, number)
        if begun is not None and last is not None and (kind == "process_started" or (mine and kind == "node_started")):
            total, begun = total + max(0.0, (last - begun).total_seconds()), None
        if mine and kind == "node_started":
            begun = now
        elif mine and kind in ("node_ended", "node_failed") and begun is not None:
            total, begun = total + max(0.0, (now - begun).total_seconds()), None
        last = now
    if begun is not None and last is not None:
        total += max(0.0, (last - begun).total_seconds())
    return total
