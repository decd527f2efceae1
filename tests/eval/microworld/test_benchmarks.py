"""The benchmarks' own promises: rows that fit their table, what is missing said aloud, a student with its skills and gaps."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config.schema import TuningConfig
from benchmarks import demo, tasks
from benchmarks.student import SPLIT_TASKS, Student, Task
from eval.microworld import WEIGHTS
from eval.microworld.programs import GAP, KNOWN, RARE
from eval.microworld.tasks import task_names
from retrieval.storage.files import write_json, write_jsonl

Call = Callable[..., tuple[int, str]]


class StubConfig(SimpleNamespace):
    def model_copy(self, update: dict[str, Any]) -> "StubConfig":
        return StubConfig(**{**vars(self), **update})


class Made(list[tuple[str, int]]):
    """The rows that were made, by task and seed; those in `failing` cannot be."""

    failing: set[tuple[str, int]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Rows are made at once, without a run."""
    made = Made()
    made.failing = set()

    async def one(options: Any, task: str, seed: int) -> dict[str, Any]:
        if (task, seed) in made.failing:
            raise RuntimeError("no row")
        made.append((task, seed))
        return row(task, seed, settings=tasks.settings(options.set, options.pool, options.choose))

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", command[2:])
            try:
                return subprocess.CompletedProcess(command, tasks.main())
            except RuntimeError:
                return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(tasks, "one", one)
    monkeypatch.setattr(tasks, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(tasks, "make_data", lambda folder, task, pool: None)
    return made


def row(task: str, seed: int, **fields: Any) -> dict[str, Any]:
    arms = {"before": 0.4, "control": 0.5, "ours": 0.7 + seed / 10, "pool": 0.5}
    outside = {"before": 1.0, "control": 0.9, "ours": 0.9}
    return {"task": task, "seed": seed, **arms, "outside": outside, "samples": 600, "seconds": {"total": 9}, **fields}


@pytest.fixture
def call(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the benchmark with one worker; gives its exit code and the page that it writes."""

    def call(*options: str) -> tuple[int, str]:
        written: list[str] = []
        monkeypatch.setattr(tasks, "write_text", lambda path, text: written.append(text))
        argv = ["tasks", "--out", str(tmp_path), "--workers", "1", "--tasks", "parity", "extremes", *options]
        monkeypatch.setattr(sys, "argv", argv)
        return tasks.main(), "".join(written)

    return call


def test_rows_of_other_settings_are_not_used(call: Call, made: Made) -> None:
    assert call("--seeds", "0")[0] == 0
    wanted = [("parity", 0), ("extremes", 0)]
    assert made == wanted
    for other in (["--set", "selection.budget=300", "tuning.epochs=2"], ["--pool", "2000"], ["--choose"]):
        made.clear()
        assert call("--seeds", "0", *other)[0] == 0
        assert made == wanted
    made.clear()
    call("--seeds", "0")
    call("--seeds", "0", "--set", "tuning.epochs=2", "selection.budget=300")
    assert made == []


def test_rows_that_say_nothing_of_settings_were_made_under_the_default_ones(
    call: Call, made: Made, tmp_path: Path
) -> None:
    write_jsonl(tmp_path / "rows" / "parity-0.jsonl", [row("parity", 0)])
    call("--seeds", "0")
    assert made == [("extremes", 0)]
    made.clear()
    call("--seeds", "0", "--pool", "2000")
    assert made == [("parity", 0), ("extremes", 0)]


def test_only_what_was_asked_for_is_in_the_table(call: Call) -> None:
    call("--seeds", "0", "1")
    _, page = call("--seeds", "1", "--tasks", "parity")
    assert "| parity | 0.400 | 0.500 | 0.800 |" in page
    assert "| extremes |" not in page


def test_what_is_missing_is_said_and_the_call_fails(call: Call, made: Made) -> None:
    made.failing = {("parity", 1), ("extremes", 0)}
    code, page = call("--seeds", "0", "1")
    assert code == 1
    assert page.endswith("Missing: parity seed 1, extremes seed 0.\n")
    made.failing = set()
    code, page = call("--seeds", "0", "1")
    assert code == 0
    assert "Missing" not in page


def test_without_any_row_the_old_table_stays(call: Call, made: Made) -> None:
    made.failing = {("parity", 0), ("extremes", 0)}
    assert call("--seeds", "0") == (1, "")


async def test_the_pools_arm_is_scored_as_the_run_is_and_what_is_outside_by_its_own_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {}

    async def answer_items(student: object, items: object, path: Path, *rest: Any) -> None:
        used[path.name] = rest[2]

    async def done(*_: object, **__: object) -> None:
        pass

    for name, instead in {
        "answer_items": answer_items,
        "tune_on": done,
        "union": lambda context, kept: {},
        "read_answers": lambda path: [],
        "evaluate_answers": lambda answers: SimpleNamespace(accuracy=0.5),
    }.items():
        monkeypatch.setattr(tasks, name, instead)
    data = SimpleNamespace(holdout=(), scorer="the run's", excluded=frozenset(), pool=SimpleNamespace(ids=["1"]))
    student = SimpleNamespace(load_adapter=done, drop_adapter=done)
    tuning = TuningConfig(epochs=2)
    context: Any = SimpleNamespace(
        data=data,
        folder=SimpleNamespace(path=tmp_path),
        config=StubConfig(tuning=tuning, student=SimpleNamespace(rationale_prompt="")),
        student=student,
        teacher=None,
    )
    await tasks._whole_pool(context, 1)
    await tasks._outside(context, tmp_path / "items", "parity", "holdout", 1, 0)
    assert used["holdout.jsonl"] == "the run's"
    assert used["outside-before.jsonl"].name == "exact"
    assert context.config.tuning == tuning


def test_the_peak_is_that_of_the_whole_process_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, child, held = tmp_path / "seen", tmp_path / "child.py", demo._held
    wait = f"while not os.path.exists({str(seen)!r}): time.sleep(0.01)"
    child.write_text(f"import os, time\nheld = bytearray(b'x') * {200 * 2**20}\n{wait}\n")

    def looked(root: int) -> int:
        if (found := held(root)) > 200 * 2**20:
            seen.touch()
        return found

    monkeypatch.setattr(demo, "_held", looked)
    monkeypatch.setattr(demo, "PAUSE", 0.02)
    parent = f"import subprocess, sys; subprocess.run([sys.executable, {str(child)!r}], check=True)"
    peak, seconds = demo.peak_of([sys.executable, "-c", parent])
    assert 200 <= peak < 300
    assert seconds > 0
    with pytest.raises(SystemExit) as failed:
        demo.peak_of([sys.executable, "-c", "raise SystemExit(3)"])
    assert failed.value.code == 3


def test_a_demos_figures_are_those_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"total": 9.04, "student": 2.0, "tuning": 6.0, "own": 1.04}

    def finished(command: list[str]) -> tuple[int, float]:
        run = Path(command[-1])
        write_json(run / "run.json", {"state": "finished", "best_round": 1, "seconds": seconds})
        for place, accuracy in (("00", 0.4), ("01", 0.9), ("01/control", 0.5)):
            figures = {"accuracy": accuracy, "holdout": {"accuracy": accuracy - 0.1}}
            write_json(run / "rounds" / place / "evaluation.json", figures)
        return 2400, 12.345

    monkeypatch.setattr(demo, "peak_of", finished)
    found = json.loads(json.dumps(demo.measure(tmp_path, "extremes")))
    assert found == {
        "schema": 1,
        "task": "extremes",
        "seconds": 12.3,
        "peak_mib": 2400,
        "rounds": [{"validation": 0.4, "holdout": pytest.approx(0.3)}, {"validation": 0.9, "holdout": 0.8}],
        "best": 1,
        "control": {"validation": 0.5, "holdout": 0.4},
        "waited": {"student": 2.0, "tuning": 6.0},
        "own": 1.0,
    }


def test_errors_are_split_if_two_step_skills_have_their_share() -> None:
    assert Task(20, Counter(add=6, read_digit=2, find_digits=2)).is_split
    assert not Task(20, Counter(add=9, read_digit=1)).is_split
    assert not Task(20, Counter()).is_split


@pytest.mark.slow
def test_the_student_that_ships_has_its_skills_and_its_gaps() -> None:
    """The whole measurement: `python -m benchmarks.student`."""
    student = Student(WEIGHTS)
    found = student.programs([*KNOWN, *GAP, *RARE], 24, 1)
    known = {name: found[name] for name in KNOWN}
    assert mean(known.values()) >= 0.95
    assert min(known.values()) >= 0.75, known
    assert max(found[name] for name in (*GAP, *RARE)) <= 0.6, found
    split = [asyncio.run(student.task(name, 60)).is_split for name in task_names()]
    assert sum(split) >= SPLIT_TASKS
