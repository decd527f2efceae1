"""A small run on the micro-world, in its own processes, to be broken in many ways."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli_microworld import make_data, world_config
from agent.init import render
from retrieval.files import read_jsonl

#: One thread each: on shared cores, threads that spin for each other make a small model's steps many times slower.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

SMALL = {
    "max_rounds": 1,
    "control": "every",
    "data": {"limit": 24},
    "selection": {"budget": 48},
    "tuning": {"epochs": 2, "checkpoint_minutes": 0.001},
}


class World:
    """Data, a configuration, and an unbroken run of it; further runs share its pool."""

    def __init__(self, folder: Path) -> None:
        make_data(folder / "data", "arithmetic", 400)
        self.folder, self.config = folder, folder / "small.yaml"
        config = world_config("small", folder / "data", "arithmetic", 400, **SMALL)
        shared = config.pool.model_copy(update={"store": folder / "pools"})
        self.config.write_text(render(config.model_copy(update={"pool": shared})))
        self.unbroken = folder / "runs" / "unbroken"
        done = self.run(self.unbroken)
        assert done.returncode == 0, done.stderr

    def command(self, run: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "agent.cli", "run", str(self.config), "--run-dir", str(run), *more]

    def run(self, run: Path, *more: str) -> subprocess.CompletedProcess[str]:
        """Start or resume a run and wait for its end."""
        return subprocess.run(self.command(run, *more), capture_output=True, text=True, timeout=280, env=ENVIRONMENT)

    def kill(self, run: Path, node: str, number: int, when: str) -> None:
        """A run that dies at a named point."""
        driver = [sys.executable, "-m", "tests.faults.killing", str(self.config), str(run), node, str(number), when]
        died = subprocess.run(driver, capture_output=True, text=True, timeout=280, env=ENVIRONMENT)
        assert died.returncode == -9, f"was to be killed at {node}, ended with {died.returncode}: {died.stderr[-2000:]}"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


def results(run: Path) -> dict[str, object]:
    """What must be equal after any number of kills: rows in the order of their ids, without times; weights by their bytes."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.name in ("answers.jsonl", "holdout.jsonl", "diagnoses.jsonl", "right.jsonl"):
            rows = read_jsonl(path)
            assert len({row["item"] for row in rows}) == len(rows), f"{name} has an item twice"
            found[name] = sorted(rows, key=lambda row: str(row["item"]))
        elif path.name in (
            "gaps.json",
            "selection.jsonl",
            "samples.jsonl",
            "adapter_model.safetensors",
            "excluded.jsonl",
        ):
            found[name] = path.read_bytes()
    return found


def nodes_started(run: Path) -> dict[tuple[str, int], int]:
    """How often each node was started."""
    counts: dict[tuple[str, int], int] = {}
    for row in read_jsonl(run / "events.jsonl"):
        if row["event"] == "node_started":
            key = (row["node"], row["round"])
            counts[key] = counts.get(key, 0) + 1
    return counts
