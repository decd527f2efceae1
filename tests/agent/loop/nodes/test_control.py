"""The control's time is its own, whichever round it was made in."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import agent.loop.nodes.control as node
from agent.loop.manifest import node_seconds
from agent.loop.nodes.decide import write_round
from agent.run.context import Context
from retrieval.errors import TuningError
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl
from tests.agent.small_context import make_context
from training import TuningResult


@pytest.mark.parametrize("fails", [False, True])
async def test_the_time_of_a_control_is_noted_with_it_and_not_with_the_round_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    context = make_context(tmp_path, {"only": [("What is 1 + 1?", "2")]})
    write_jsonl(context.folder.round(1) / "selection.jsonl", [{"sample": "only"}])

    async def tune_on(context: Context, ids: list[str], *_: Any) -> TuningResult:
        if fails:
            raise TuningError("no memory")
        return TuningResult(1, len(ids), 0, 1.0, 2.0, 1.0, 8)

    async def answer_sets(context: Context, folder: Path, *_: Any) -> None:
        write_json(folder / "evaluation.json", {})

    monkeypatch.setattr(node, "tune_on", tune_on)
    monkeypatch.setattr(node, "answer_sets", answer_sets)
    context.teacher = SimpleNamespace(scope="", usage=lambda scope: SimpleNamespace(_asdict=dict))  # type: ignore[assignment]
    state: Any = {"round": 2, "best_round": 1, "stop_reason": "plateau", "accuracies": [0.5, 0.6, 0.6]}
    runtime: Any = SimpleNamespace(context=context)
    await node.control(state, runtime=runtime)
    assert read_json(context.folder.control(1) / "round.json")["seconds"].keys() == {"control"}
    assert "control" in node_seconds(context.folder.round(2))
    write_round(context, 2, 0.5, False)
    assert read_json(context.folder.round(2) / "round.json")["seconds"] == {}


async def test_the_control_is_tuned_on_as_many_samples_as_its_round_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that cannot be tuned on are replaced, so that no arm has fewer."""
    context = make_context(tmp_path, {f"s{n:02d}": [("What is 1 + 1?", "2")] for n in range(40)})
    write_jsonl(context.folder.round(1) / "selection.jsonl", ({"sample": f"s{n:02d}"} for n in range(20)))
    result = {"steps": 1, "samples": 18, "set_aside": 2}  # of the round's own twenty
    write_json(context.folder.round(1) / "adapter" / "manifest.json", {"result": result})
    given: list[tuple[list[str], int]] = []

    async def tune_on(context: Context, ids: list[str], folder: Path, own: Any, take: int) -> TuningResult:
        given.append((ids, take))
        return TuningResult(1, take, 3, 1.0, 2.0, 1.0, 8)

    async def answer_sets(context: Context, folder: Path, *_: Any) -> None:
        write_json(folder / "evaluation.json", {})

    monkeypatch.setattr(node, "tune_on", tune_on)
    monkeypatch.setattr(node, "answer_sets", answer_sets)
    context.teacher = SimpleNamespace(scope="")  # type: ignore[assignment]
    state: Any = {"round": 1, "best_round": 1, "stop_reason": "plateau", "accuracies": [0.5, 0.6]}
    runtime: Any = SimpleNamespace(context=context)
    await node.control(state, runtime=runtime)
    ((ids, take),) = given
    assert (take, len(ids)) == (18, 24)
    chosen = [row["sample"] for row in read_jsonl(context.folder.control(1) / "selection.jsonl")]
    assert chosen == ids[:21], "eighteen, and three that could not be tuned on"
