"""Small runs on the micro-world, in their own processes, to be broken in many ways."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from retrieval.storage.files import read_json, read_jsonl
from tests.faults import killing
from tests.faults.processes import call

#: One thread each: on shared cores, threads that spin for each other make a small model's steps many times slower.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}

#: What this student does not know as a call for steps, it learns from a few samples; and `alpha` is such that a little luck
#: counts as a gain: so there is something to keep, and to control.
SMALL = {
    "max_rounds": 1,
    "alpha": 0.9,
    "control": "every",
    "data": {"limit": 24},
    "student": {"rationale_prompt": "{question}", "max_unreadable": 1},
    "selection": {"budget": 24},
    "tuning": {"epochs": 3, "batch_size": 8, "checkpoint_minutes": 0.001},
}
THREE_ROUNDS = {
    **SMALL,
    "max_rounds": 3,
    "patience": 3,
    "control": "kept",
    "data": {"limit": 12},
}

#: Results that are equal byte for byte.
WHOLE = {
    "items.jsonl",
    "excluded.jsonl",
    "gaps.json",
    "matches.json",
    "quotas.json",
    "selection.jsonl",
    "rationales.jsonl",
    "samples.jsonl",
    "adapter_model.safetensors",
}

#: A node and its round.
Point = tuple[str, int]


class World:
    """A configuration, and an unbroken run of it. Worlds in one folder share their data and their pool.

    `longest`: seconds in which a run must end; less than what the tests may take, else theirs would leave it running.
    """

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], longest: float = 280) -> None:
        self.longest = longest
        self.config = folder / f"{name}.yaml"
        self.unbroken = folder / "runs" / name
        #: The unbroken run as it was when a node began, by NODE-ROUND.
        self.beginnings = folder / "beginnings" / name
        with FileLock(folder / "lock"):
            if self.beginnings.exists():  # another worker's, or an earlier call's
                return
            make_data(folder / "data", "arithmetic", 400)
            config = world_config(name, folder / "data", "arithmetic", 400, **settings)
            shared = config.pool.model_copy(update={"store": folder / "pools"})
            self.config.write_text(render(config.model_copy(update={"pool": shared})))
            shutil.rmtree(self.unbroken, ignore_errors=True)
            scratch = folder / "scratch" / name
            shutil.rmtree(scratch, ignore_errors=True)
            done = call(killing.main, self.config, self.unbroken, None, "", scratch, longest=longest)
            assert done.returncode == 0, done.stderr
            self.beginnings.parent.mkdir(exist_ok=True)
            scratch.rename(self.beginnings)

    def command(self, run: Path, *more: str) -> list[str]:
        return [sys.executable, "-m", "agent.cli.main", "run", str(self.config), "--run-dir", str(run), *more]

    def run(self, run: Path, *more: str) -> "subprocess.CompletedProcess[str]":
        """Start or resume a run by its command, and wait for its end."""
        return call(command, self.command(run, *more)[3:], longest=self.longest)

    def kill(self, run: Path, point: Point, when: str) -> bool:
        """Start or resume a run that dies at a named point; False if it never came there, and ended as it would. A run that is
        not there begins with the node that it is to die at: all before it is as it was in the unbroken run."""
        if not run.exists():
            shutil.copytree(self.beginnings / f"{point[0]}-{point[1]}", run)
        died = call(killing.main, self.config, run, point, when, longest=self.longest)
        assert died.returncode in (-9, 0), f"was to be killed at {point}: {died.stderr[-2000:]}"
        return died.returncode == -9

    def check_resumed(self, run: Path, killed: Counter[Point], resumed: int | None = None) -> None:
        """A run whose nodes were killed so often at their work must end as if nothing had happened: it is resumed, or was,
        with this exit code."""
        if resumed is None:
            ended = self.run(run)
            resumed = ended.returncode
            assert resumed == 0, ended.stderr
        assert resumed == 0
        assert read_json(run / "run.json")["state"] == "finished"
        assert results(run) == results(self.unbroken)
        again = nodes_started(run) - nodes_started(self.unbroken)
        assert again <= killed, f"repeated more than the nodes that were killed at work: {again}"
        asked = [row["key"] for row in read_jsonl(run / "teacher.jsonl")]
        assert len(asked) == len(set(asked)), "a question was paid twice"
        assert not list(run.rglob(".*.tmp")), "scratch files are left"
        assert (run / "report.html").exists()


def command(args: list[str]) -> None:
    """`gaptutor` with these arguments, in this process."""
    sys.argv[1:] = args
    main()


@pytest.fixture(scope="session")
def folder(shared: Path) -> Path:
    folder = shared / "worlds"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def world(folder: Path) -> World:
    return World(folder, "small", SMALL)


@pytest.fixture(scope="session")
def three_rounds(folder: Path) -> World:
    return World(folder, "three-rounds", THREE_ROUNDS, longest=1200)


def results(run: Path) -> dict[str, object]:
    """What must be equal after any number of kills: rows in the order of their ids, without times; weights by their bytes."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.name in ("answers.jsonl", "holdout.jsonl", "diagnoses.jsonl", "right.jsonl"):
            rows = read_jsonl(path)
            assert len({row["item"] for row in rows}) == len(rows), f"{name} has an item twice"
            found[name] = sorted(rows, key=lambda row: str(row["item"]))
        elif path.name in WHOLE:
            found[name] = path.read_bytes()
    return found


def nodes_started(run: Path) -> Counter[Point]:
    """How often each node was started, in the order of their first starts."""
    rows = read_jsonl(run / "events.jsonl")
    return Counter((row["node"], row["round"]) for row in rows if row["event"] == "node_started")
