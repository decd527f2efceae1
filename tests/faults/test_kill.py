"""A run that is killed anywhere ends as if nothing had happened, and repeats at most what was in flight."""

from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import World

#: Each node, its round, and the row or file at which it is killed inside.
POINTS = [
    ("prepare", 0, 1),
    ("evaluate", 0, 3),
    ("decide", 0, 1),
    ("diagnose", 1, 3),
    ("retrieve", 1, 1),
    ("tune", 1, 1),
    ("evaluate", 1, 3),
    ("control", 1, 1),
    ("finish", 1, 1),
]


def check(world: World, run: Path, node: str, number: int, when: str) -> None:
    assert world.kill(run, (node, number), when)
    world.check_resumed(run, Counter([(node, number)] if when != "published" else []))


@pytest.mark.slow
def test_killed_while_the_child_tunes(world: World, tmp_path: Path) -> None:
    check(world, tmp_path / "run", "tune", 1, "tuning")


@pytest.mark.slow
@pytest.mark.parametrize(("node", "number", "nth"), POINTS)
@pytest.mark.parametrize("when", ["before", "inside", "published"])
def test_killed_at(world: World, tmp_path: Path, node: str, number: int, nth: int, when: str) -> None:
    check(world, tmp_path / "run", node, number, f"inside:{nth}" if when == "inside" else when)


@pytest.mark.slow
def test_killed_between_the_mark_that_it_is_finished_and_its_report(world: World, tmp_path: Path) -> None:
    check(world, tmp_path / "run", "finish", 1, "inside:report.html")
