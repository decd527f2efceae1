"""A run whose teacher answers in batches, over HTTP, is killed and ends as one that asked directly and that no one killed."""

import copy
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from agent.cli.init import render
from agent.config.loading import load_config
from eval.microworld.batches import with_batches
from eval.microworld.expert import make_app
from retrieval.storage.files import read_json, read_jsonl
from tests.endpoint import Scripted, served
from tests.faults.conftest import ENVIRONMENT, World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Expert(Scripted):
    """The expert, Batch API and all, in the place of a script."""

    app = with_batches(make_app(delay=0.02))  # type: ignore[assignment]


def in_batches(world: World, folder: Path, url: str, poll_minutes: float) -> World:
    """The same run with its teacher over HTTP, and in batches."""
    config = load_config(world.config)
    changes = {"app": None, "base_url": url, "batch": True, "batch_poll_minutes": poll_minutes}
    teacher = config.teacher.model_copy(update=changes)
    made = copy.copy(world)
    made.config = folder / "batched.yaml"
    made.config.write_text(render(config.model_copy(update={"teacher": teacher})))
    return made


@pytest.mark.parametrize("when", ["inside:teacher.batches.jsonl", "inside:14"])
def test_killed_with_its_diagnoses_in_a_batch(world: World, tmp_path: Path, when: str) -> None:
    with served(Expert()) as url:
        batched = in_batches(world, tmp_path, url, 0.001)
        run = tmp_path / "run"
        assert batched.kill(run, ("diagnose", 1), when)
        fetched = sum(row.get("batch", False) for row in read_jsonl(run / "teacher.jsonl"))
        assert bool(fetched) == (when == "inside:14"), "in the middle of the results"
        batched.check_resumed(run, Counter([("diagnose", 1)]))
        rows = read_jsonl(run / "teacher.jsonl")
        assert sum(row.get("batch", False) for row in rows) > len(rows) / 3


def test_one_signal_ends_a_run_that_waits_for_a_batch_and_the_run_goes_on(world: World, tmp_path: Path) -> None:
    """Else it would end after the step, which may take a day."""
    with served(Expert()) as url:
        batched, run = in_batches(world, tmp_path, url, 60), tmp_path / "run"
        process = subprocess.Popen(batched.command(run), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        while not any("in_progress" in row.get("said", "") for row in read_jsonl(run / "events.jsonl")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=280)
        assert process.returncode == 3
        assert "the same command fetches what it brings" in said
        assert read_json(run / "run.json")["state"] == "stopped"
        batched.check_resumed(run, Counter([("diagnose", 1)]))
