"""What a sample is tuned on as, and what becomes of a tuning that fails."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import agent.loop.nodes.tune as node
from agent.loop.nodes.decide import note_figures
from agent.run.console import Reporter
from agent.run.context import Context
from agent.strategies import training_set
from agent.strategies.training_set import training_row
from retrieval.errors import StorageError, TuningError
from retrieval.storage.files import read_jsonl, write_jsonl
from tests.agent.small_context import make_context
from training import TuningJob, TuningResult

STEPS = "Step 1: it is 1.\nStep 2: 1 plus 1 is 2.\nAnswer: 2"
SAMPLES = {
    "mixed": [("Which digits?", "1 and 1"), ("Their sum?", STEPS)],
    "fades": [("Their sum?", STEPS), ("And twice that?", "4")],
    "short": [("What is 1 + 1?", "2")],
}
STATE = {"round": 1, "best_round": 0, "stop_reason": None, "accuracies": [0.5]}


def rows(context: Context, name: str, rationale: str | None = None) -> Any:
    assert context.data is not None
    pool = context.data.pool
    return training_row(context, pool, pool.get(name), rationale)["turns"]


def test_each_answer_is_tuned_on_under_the_prompt_that_asks_for_it(tmp_path: Path) -> None:
    context = make_context(tmp_path, SAMPLES)
    assert rows(context, "mixed") == [["Which digits? In a word.", "1 and 1"], ["Their sum? In steps.", STEPS]]
    assert rows(context, "fades") == [["Their sum? In steps.", STEPS], ["And twice that? In a word.", "4"]]
    assert rows(context, "short") == [["What is 1 + 1? In a word.", "2"]]
    assert rows(context, "short", STEPS) == [["What is 1 + 1? In steps.", STEPS]]


def ready_to_tune(tmp_path: Path, reporter: Reporter | None = None) -> Context:
    context = make_context(tmp_path, SAMPLES, reporter=reporter)
    context.teacher = SimpleNamespace(scope="")  # type: ignore[assignment]
    write_jsonl(context.folder.round(1) / "selection.jsonl", ({"sample": name} for name in SAMPLES))
    return context


async def tune(context: Context) -> Any:
    runtime: Any = SimpleNamespace(context=context)
    return await node.tune(STATE, runtime=runtime)  # type: ignore[arg-type]


async def test_a_failure_whose_text_looks_like_markup_is_shown_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    context = ready_to_tune(tmp_path, Reporter(Console(file=said, width=200)))

    async def fail(job: TuningJob, report: object) -> TuningResult:
        raise TuningError("exit code 1: [/usr/lib/x.so] [red]; see tuning.log")

    monkeypatch.setattr(training_set, "run_tuning", fail)
    assert (await tune(context))["stop_reason"].startswith("tuning_failed: exit code 1")
    assert "exit code 1: [/usr/lib/x.so] [red]; see tuning.log" in said.getvalue()


async def test_a_full_disk_stops_the_command_and_not_the_run_whose_figures_are_noted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, tries = ready_to_tune(tmp_path), iter(["full", "killed", "well"])
    result = TuningResult(1, 3, 0, 0.1, 2.0, 1.0, 8)
    now = ""

    async def tune_or_not(job: TuningJob, report: object) -> TuningResult:
        nonlocal now
        now = next(tries)
        if now == "full":
            raise StorageError("cannot write")
        return result

    def note_and_die(context: Context, **figures: Any) -> None:
        note_figures(context, **figures)
        if now == "killed":
            raise KeyboardInterrupt

    monkeypatch.setattr(training_set, "run_tuning", tune_or_not)
    monkeypatch.setattr(node, "note_figures", note_and_die)
    for error in (StorageError, KeyboardInterrupt):
        with pytest.raises(error):
            await tune(context)
    assert await tune(context) == {}
    noted = read_jsonl(context.folder.path / "metrics.jsonl")
    assert [(row["round"], row["arm"], row["samples"]) for row in noted] == [(1, "targeted", 3)]


def test_figures_that_have_changed_are_noted_again(tmp_path: Path) -> None:
    context = make_context(tmp_path, SAMPLES)
    for selected in (5, 5, 6):
        note_figures(context, round=1, selected=selected, parts={"gap": selected})
    assert [row["selected"] for row in read_jsonl(context.folder.path / "metrics.jsonl")] == [5, 6]
