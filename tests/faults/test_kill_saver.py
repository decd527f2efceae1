"""A kill between the calls that store a run's position.

Part of the row `kill -9 before, inside, after publishing, after the checkpoint of every node` of the faults to be survived."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.agent.loop.cheap import ending, steps
from tests.faults.conftest import ENVIRONMENT


@pytest.mark.slow
def test_killed_before_or_after_any_call_of_the_saver_it_ends_as_unbroken(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.killing_saver", str(tmp_path), "1"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    # Twelve nodes, each of which stores its result and then its checkpoint, and the beginning.
    assert len(ends) >= 2 * (2 * 12 + 1)
    assert set(ends.values()) == {"finished"}
    unbroken = tmp_path / "unbroken"
    for name in ends:
        assert Counter(steps(tmp_path / name)) == Counter(steps(unbroken)), f"{name}: a node was worked on twice"
        assert ending(tmp_path / name) == ending(unbroken)
