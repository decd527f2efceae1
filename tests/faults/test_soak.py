"""Runs of three rounds, killed one to five times each at points drawn by their seeds, converge: a small part of the 200 that
`python -m benchmarks.kills` makes."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from retrieval.storage.files import read_json
from tests.faults.conftest import Point, World, nodes_started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

RUNS = 3
#: Rows or files at which a node may be killed inside: the first ones more often, since some nodes write no more.
WRITES = (1, 2, 3, 4, 6, 9, 14, 21, 30)


def drawn(seed: int, points: Sequence[Point]) -> list[tuple[Point, str]]:
    """One to five kills, in the order in which the run comes to their points; a point may be drawn twice."""
    by = random.Random(f"seed/{seed}")
    places = sorted(by.randrange(len(points)) for _ in range(by.randint(1, 5)))
    return [(points[place], when(by, points[place])) for place in places]


def when(by: random.Random, point: Point) -> str:
    ways = ["before", f"inside:{by.choice(WRITES)}", "published"]
    return by.choice([*ways, "tuning"] if point[0] == "tune" else ways)


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_run_killed_at_random_converges(three_rounds: World, tmp_path: Path, seed: int) -> None:
    run, killed = tmp_path / "run", Counter[Point]()
    for point, how in drawn(seed, list(nodes_started(three_rounds.unbroken))):
        killed[point] += three_rounds.kill(run, point, how) and how != "published"
    three_rounds.check_resumed(run, killed)


def test_what_the_three_rounds_are(three_rounds: World) -> None:
    """Three rounds, one kept, with its control: else there would be less to kill than the soak says."""
    run = three_rounds.unbroken
    best = read_json(run / "run.json")["best_round"]
    assert ("evaluate", 3) in nodes_started(run)
    assert (run / "rounds" / f"{best:02d}" / "control" / "evaluation.json").exists()


def test_nodes_hand_on_no_results(three_rounds: World) -> None:
    """What a node hands on is in the state, and so in every checkpoint from then on."""
    for manifest in three_rounds.unbroken.rglob(".manifests/*.json"):
        assert len(json.dumps(read_json(manifest)["update"])) < 200, manifest
