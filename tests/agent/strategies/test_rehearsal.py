"""The student's own rationales: asked for where they can help, kept where they are right, given to the control too."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import agent.loop.nodes.control as node
from agent.run.context import Context
from agent.strategies.rehearsal import own_rationales, steps_are_lost, without_steps, write_own_rationales
from eval import Evaluation, evaluate_answers, make_scorer, read_answer
from eval.task import Item
from retrieval.storage.files import read_jsonl, write_json, write_jsonl
from tests.agent.small_context import Parrot, make_context
from training import TuningResult

STEPS = "Step 1: it is 1.\nStep 2: 1 plus 1 is 2.\nAnswer: 2"
SAMPLES = {
    "short": [("What is 1 + 1?", "2")],
    "again": [("And 2 + 0?", "2")],
    "steps": [("What is 1 + 1?", STEPS)],
    "turns": [("Which digits?", "1 and 1"), ("Their sum?", "2")],
}


def test_only_samples_of_one_turn_without_steps_can_be_helped(tmp_path: Path) -> None:
    pool = make_context(tmp_path, SAMPLES).data.pool  # type: ignore[union-attr]
    assert without_steps(pool, ["turns", "again", "steps", "short"]) == ["again", "short"]


async def test_rationales_are_asked_for_once_and_the_right_ones_kept(tmp_path: Path) -> None:
    student = Parrot({"short": STEPS, "again": STEPS.replace("Answer: 2", "Answer: 3")})
    context, path = make_context(tmp_path, SAMPLES, student), tmp_path / "rationales.jsonl"
    for ids in (["short"], list(SAMPLES), list(SAMPLES)):
        await write_own_rationales(context, ids, path)
    assert [(request.id, request.prompt) for request in student.asked] == [
        ("short", "What is 1 + 1? In steps."),
        ("again", "And 2 + 0? In steps."),
    ]
    assert own_rationales(path) == {"short": STEPS}


@pytest.mark.parametrize("said", ["2", "Answer: 2", "Step 1: it is 2.\nAnswer: 2", "Step 1: a.\nStep 2: b."])
async def test_a_right_answer_without_steps_is_no_rationale(tmp_path: Path, said: str) -> None:
    context, path = make_context(tmp_path, SAMPLES, Parrot({"short": said})), tmp_path / "rationales.jsonl"
    await write_own_rationales(context, ["short"], path)
    assert own_rationales(path) == {}


@pytest.mark.parametrize(("with_steps", "lost"), [(10, False), (9, False), (8, True)])
def test_steps_are_lost_when_fewer_than_nine_in_ten_answers_have_them(
    tmp_path: Path, with_steps: int, lost: bool
) -> None:
    context = make_context(tmp_path, SAMPLES)
    item = Item("item", "What is 1 + 1?", ("2",))
    scorer = make_scorer("exact", [item], 0.0)
    answers = [read_answer(item, STEPS if number < with_steps else "Answer: 2", scorer) for number in range(10)]
    evaluation = Evaluation(1, evaluate_answers(answers), None, None, 0.0)
    write_json(context.folder.round(1) / "evaluation.json", evaluation.to_json())
    assert steps_are_lost(context, 1) is lost


async def test_the_control_is_helped_with_as_many_samples_as_the_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {f"short-{number}": [("What is 1 + 1?", "2")] for number in range(10)}
    long = {f"long-{number}": [("What is 1 + 1?", STEPS)] for number in range(30)}
    student = Parrot(dict.fromkeys(short, STEPS))
    context = make_context(tmp_path, {**short, **long}, student)
    selection = ({"sample": name} for name in [*short, *long])
    write_jsonl(context.folder.round(1) / "selection.jsonl", selection)
    asked = [{"sample": f"short-{number}", "text": STEPS, "right": number < 3} for number in range(6)]
    write_jsonl(context.folder.round(1) / "rationales.jsonl", asked)
    tuned: list[dict[str, str]] = []

    async def tune_on(
        context: Context, ids: list[str], folder: Path, rationales: dict[str, str], take: int
    ) -> TuningResult:
        tuned.append(rationales)
        return TuningResult(1, take, 0, 1.0, 2.0, 1.0, 8)

    async def answer_sets(context: Context, folder: Path, *_: Any) -> None:
        if len(tuned) == 1:
            raise KeyboardInterrupt  # killed after the tuning: the node runs again
        write_json(folder / "evaluation.json", {})

    monkeypatch.setattr(node, "tune_on", tune_on)
    monkeypatch.setattr(node, "answer_sets", answer_sets)
    context.teacher = SimpleNamespace(scope="")  # type: ignore[assignment]
    state = {"round": 1, "best_round": 1, "stop_reason": "plateau", "accuracies": [0.5, 0.6]}
    runtime: Any = SimpleNamespace(context=context)
    with pytest.raises(KeyboardInterrupt):
        await node.control(state, runtime=runtime)  # type: ignore[arg-type]
    await node.control(state, runtime=runtime)  # type: ignore[arg-type]
    assert [len(each) for each in tuned] == [6, 6]
    rows = read_jsonl(context.folder.path / "metrics.jsonl")
    assert [(row["round"], row["arm"], row["samples"]) for row in rows] == [(1, "control", 40)]
