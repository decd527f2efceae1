"""Signals, two processes on one run, and the same run twice."""

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.faults.conftest import ENVIRONMENT, World, nodes_started, results


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    """Until the file is there: a condition, not a clock."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def test_sigterm_leaves_after_the_step_and_the_run_goes_on(world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        world.command(run), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    wait_for(run / "rounds" / "00" / "answers.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=280)
    assert process.returncode == 3, said
    assert "go on with" in said
    again = world.run(run)
    assert again.returncode == 0, again.stderr
    assert results(run) == results(world.unbroken)
    again_begun = nodes_started(run) - nodes_started(world.unbroken)
    assert again_begun <= Counter([("evaluate", 0)]), "only the node that it was stopped in, for what was missing there"


def test_a_second_process_leaves_at_once_and_names_the_first(world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        world.command(run), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    try:
        wait_for(run / "run.json", process)
        second = world.run(run)
        assert second.returncode == 2
        assert f"held by process {process.pid}" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        process.kill()
        process.communicate()


def test_a_finished_run_is_shown_and_not_made_again(world: World) -> None:
    before = results(world.unbroken)
    again = world.run(world.unbroken)
    assert again.returncode == 0
    assert results(world.unbroken) == before
    assert set(nodes_started(world.unbroken).values()) == {1}
