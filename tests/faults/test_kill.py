"""A run that is killed anywhere ends as if nothing had happened, and repeats at most what was in flight."""

from pathlib import Path

import pytest

from retrieval.files import read_jsonl
from tests.faults.conftest import World, nodes_started, results

POINTS = [
    ("prepare", 0),
    ("evaluate", 0),
    ("decide", 0),
    ("diagnose", 1),
    ("retrieve", 1),
    ("tune", 1),
    ("evaluate", 1),
    ("control", 1),
    ("finish", 1),
]


def check(world: World, run: Path, node: str, number: int, when: str) -> None:
    world.kill(run, node, number, when)
    resumed = world.run(run)
    assert resumed.returncode == 0, resumed.stderr
    assert results(run) == results(world.unbroken)
    started, once = nodes_started(run), nodes_started(world.unbroken)
    again = {point: count - once[point] for point, count in started.items() if count != once[point]}
    assert set(again) <= {(node, number)}, f"repeated more than the node that was killed: {again}"
    asked = [row["key"] for row in read_jsonl(run / "teacher.jsonl")]
    assert len(asked) == len(set(asked)), "a question was paid twice"
    assert not list(run.rglob(".*.tmp")), "scratch files are left"


def test_killed_while_the_child_tunes(world: World, tmp_path: Path) -> None:
    check(world, tmp_path / "run", "tune", 1, "inside")


@pytest.mark.slow
@pytest.mark.parametrize(("node", "number"), POINTS)
@pytest.mark.parametrize("when", ["before", "inside", "published"])
def test_killed_at(world: World, tmp_path: Path, node: str, number: int, when: str) -> None:
    check(world, tmp_path / "run", node, number, when)
