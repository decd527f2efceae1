"""A round whose adapter the student's engine refuses: the loop ends with the reason, and what was best before is kept."""

from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import agent.loop.node
import agent.loop.nodes.control as control_node
from agent.loop.drive import drive
from agent.loop.node import Node, Update, Work
from agent.loop.nodes.evaluate import evaluate
from agent.loop.state import State
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.summary import summary
from agent.student import Reply, Request
from eval.answers import Evaluation, evaluate_answers, read_answer
from eval.scorers import make_scorer
from eval.task import Item
from retrieval.errors import AdapterError, StudentError
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl
from tests.agent.loop.test_checkpoints import config
from tests.agent.small_context import make_context
from training import TuningResult

REFUSED = "the canary refuses the adapter: the server does not apply it"
ITEMS = [Item(f"item-{number:02d}", f"{number} + 1?", (str(number + 1),)) for number in range(40)]


class Refuser:
    """A student that loads any adapter, and when it is asked through one says what it was told to."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def load_adapter(self, name: str, path: Path) -> None:
        """Takes any."""

    async def drop_adapter(self, name: str) -> None:
        """Forgets any."""

    async def answer(
        self, requests: Sequence[Request], adapter: str | None = None, done: Collection[str] = ()
    ) -> AsyncIterator[Reply]:
        if adapter is not None:
            raise self.error
        for request in requests:
            yield Reply(request.id, "Answer: 2")


def context_with(root: Path, error: Exception) -> Context:
    context = make_context(root, {"only": [("What is 1 + 1?", "2")]}, student=Refuser(error))
    context.teacher = SimpleNamespace(scope="")  # type: ignore[assignment]
    assert context.data is not None
    context.made = type(context.data)(
        tuple(ITEMS), (), make_scorer("exact", ITEMS), context.data.pool, context.data.index, frozenset()
    )
    return context


async def test_a_refused_adapter_ends_the_loop_and_a_lost_engine_stops_the_run(tmp_path: Path) -> None:
    state: Any = {"round": 2, "best_round": 1, "stop_reason": None, "accuracies": [0.1, 0.4]}
    (tmp_path / "lost").mkdir()
    refused, lost = context_with(tmp_path, AdapterError(REFUSED)), context_with(tmp_path / "lost", StudentError("died"))
    runtime: Any = SimpleNamespace(context=refused)
    assert await evaluate(state, runtime=runtime) == {"stop_reason": f"adapter_refused: {REFUSED}"}
    noted = [row for row in read_jsonl(refused.folder.path / "events.jsonl") if row["event"] == "adapter_refused"]
    assert [(row["round"], row["error"]) for row in noted] == [(2, REFUSED)]
    runtime = SimpleNamespace(context=lost)
    with pytest.raises(StudentError, match="died"):
        await evaluate(state, runtime=runtime)


async def test_a_control_whose_adapter_is_refused_is_noted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_with(tmp_path, AdapterError(REFUSED))
    write_jsonl(context.folder.round(1) / "selection.jsonl", [{"sample": "only"}])

    async def tune_on(context: Context, ids: list[str], *_: Any) -> TuningResult:
        return TuningResult(1, len(ids), 0, 1.0, 2.0, 1.0, 8)

    monkeypatch.setattr(control_node, "tune_on", tune_on)
    state: Any = {"round": 1, "best_round": 1, "stop_reason": "max_rounds", "accuracies": [0.5, 0.6]}
    runtime: Any = SimpleNamespace(context=context)
    assert await control_node.control(state, runtime=runtime) == {}
    noted = [row for row in read_jsonl(context.folder.path / "events.jsonl") if row["event"] == "control_failed"]
    assert [(row["round"], row["error"]) for row in noted] == [(1, REFUSED)]


async def test_a_run_whose_second_adapter_is_refused_keeps_the_first_says_why_and_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state machine, `decide`, `control` and `finish` are real; round 1 is better, round 2's adapter is refused."""

    async def prepare(context: Context, state: State) -> Update:
        write_jsonl(context.folder.path / "items.jsonl", (item.to_row() for item in ITEMS))
        return {}

    async def answer_sets(context: Context, folder: Path, number: int, adapter: Path | None) -> Any:
        if number == 2:
            raise AdapterError(REFUSED)
        scorer, right = make_scorer("exact", ITEMS), 30 * number
        rows = [read_answer(item, f"Answer: {n + 1 if n < right else 'no'}", scorer) for n, item in enumerate(ITEMS)]
        write_jsonl(folder / "answers.jsonl", (row.to_row() for row in rows))
        return Evaluation(number, evaluate_answers(rows), None, None, 1.0)

    async def tune(context: Context, state: State) -> Update:
        adapter = context.folder.round(state["round"]) / "adapter"
        write_json(adapter / "adapter_config.json", {"round": state["round"]})
        return {}

    async def nothing(context: Context, state: State) -> Update:
        return {"stop_reason": None}

    cheap: dict[str, Work] = {"prepare": prepare, "diagnose": nothing, "retrieve": nothing, "tune": tune}
    run_once = agent.loop.node.run_once

    async def run_cheap(context: Context, state: State, spec: Node, work: Work) -> Update:
        return await run_once(context, state, spec._replace(reads="nothing"), cheap.get(spec.name, work))

    monkeypatch.setattr(agent.loop.node, "run_once", run_cheap)
    monkeypatch.setattr("agent.loop.nodes.evaluate.answer_sets", answer_sets)
    for _ in range(2):
        assert await drive(config(3), tmp_path / "run", "resume", Reporter(quiet=True)) == "failed"
        found = summary(tmp_path / "run")
        assert (found["state"], found["best_round"]) == ("failed", 1)
        assert found["stop_reason"] == f"adapter_refused: {REFUSED}"
        assert read_json(tmp_path / "run" / "best" / "adapter_config.json") == {"round": 1}
        assert REFUSED in (tmp_path / "run" / "report.html").read_text()


class Mute:
    """A student that never comes to a final answer, but for the first so many items."""

    def __init__(self, readable: int) -> None:
        self.readable = readable

    async def answer(
        self, requests: Sequence[Request], adapter: str | None = None, done: Collection[str] = ()
    ) -> AsyncIterator[Reply]:
        for number, request in enumerate(requests):
            yield Reply(request.id, "Answer: 2" if number < self.readable else "I would think that")


async def test_answers_that_mostly_cannot_be_read_stop_the_run_before_its_teacher_is_paid(tmp_path: Path) -> None:
    def context_of(readable: int, **changes: Any) -> Context:
        root = tmp_path / f"{readable}-{len(changes)}"
        root.mkdir()
        context = context_with(root, AdapterError(""))
        context.student = Mute(readable)  # type: ignore[assignment]
        student = context.config.student.model_copy(update=changes)
        context.config = context.config.model_copy(update={"student": student})
        return context

    state: Any = {"round": 0, "best_round": 0, "accuracies": [], "stop_reason": None}
    stopped = context_of(19)
    with pytest.raises(
        StudentError, match=r"^21 of 40 answers have no final answer .* change student\.rationale_prompt"
    ):
        await evaluate(state, runtime=SimpleNamespace(context=stopped))  # type: ignore[arg-type]
    assert len(read_jsonl(stopped.folder.round(0) / "answers.jsonl")) == 40, "nothing is lost"
    for goes_on in (context_of(20), context_of(19, max_unreadable=0.6)):
        assert (await evaluate(state, runtime=SimpleNamespace(context=goes_on)))["accuracies"]  # type: ignore[arg-type]
