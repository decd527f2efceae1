"""A round diagnosed in batches is the round diagnosed by direct requests, at half the price."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from agent.loop.nodes.diagnose import _ask_ahead, _name_right, diagnose_all
from agent.pool.annotate import annotate_pool
from agent.run.context import Context
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.task import Item
from retrieval.storage.files import read_jsonl
from tests.agent.loop.nodes.test_diagnose import FAULTS, GOOD
from tests.agent.small_context import make_context
from tests.batch_endpoint import Batched
from tests.endpoint import Seen, chosen, served

SAMPLES = {f"s{number}": [(f"What is {number} + 1?", str(number + 1))] for number in range(40)}
NAMED = {"why": "w", "should_say": "s", "skill": "adding two numbers"}
PRICES = {"price_in": 1.0, "price_out": 2.0}


def reply(seen: Seen) -> Any:
    match seen.kind:
        case "diagnose":
            return FAULTS.get(seen.data["question"], GOOD)
        case "skills":
            return {"samples": [{"index": each["index"], "skills": ["adding"]} for each in seen.data["samples"]]}
        case "name_gap":
            return NAMED
        case "choose":
            return chosen({"A": -0.1, "B": -2.5})
        case _:
            return GOOD


@contextmanager
def at(root: Path, endpoint: Batched, how: dict[str, Any], **fields: Any) -> Iterator[Context]:
    async def sleep(seconds: float) -> None:
        """No time passes."""

    root.mkdir()
    with served(endpoint) as url:
        context = make_context(root, SAMPLES)
        changes = {"base_url": url, "retries": 1, "concurrency": 1, "batch_poll_minutes": 1e-3, **PRICES, **fields}
        teacher = context.config.teacher.model_copy(update=changes)
        diagnosis = context.config.diagnosis.model_copy(update=how)
        context.config = context.config.model_copy(
            update={"teacher": teacher, "diagnosis": diagnosis, "error_budget": 1.0}
        )
        context.teacher = Teacher(teacher, context.folder.path / "teacher.jsonl", sleep=sleep)
        try:
            yield context
        finally:
            context.folder.close()


def answers(questions: list[str], right: int) -> tuple[list[Answer], list[Answer], dict[str, Item]]:
    items = {f"i{number:02d}": Item(f"i{number:02d}", question, ("2",)) for number, question in enumerate(questions)}
    wrong = [
        Answer(name, f"Step 1: {name}.", (name, "so 3.") if number % 3 else (), "3", False, "wrong")
        for number, name in enumerate(items)
    ]
    had = {f"r{number:02d}": Item(f"r{number:02d}", f"right {number}", ("2",)) for number in range(right)}
    good = [Answer(name, "Step 1: 2.", ("2",), "2", False, "right") for name in had]
    return wrong, good, {**items, **had}


async def diagnosed(context: Context, questions: list[str]) -> dict[str, Any]:
    """The rows that a round comes to, without the words of HTTP errors, which differ."""
    wrong, right, items = answers(questions, 20)
    context.teacher.scope = "round-01"
    try:
        await _ask_ahead(context, 1, wrong, right, items)
        rows = await diagnose_all(context, 1, wrong, items)
        named = await _name_right(context, 1, right, items)
    finally:
        await context.teacher.close()
    journal = read_jsonl(context.folder.path / "teacher.jsonl")
    said = [{**row, "cost_usd": None, "batch": None} for row in journal]
    return {
        "diagnoses": [{**asdict(row), "reason": bool(row.reason)} for row in rows],
        "right": named,
        "journal": sorted(said, key=lambda row: row["key"]),
    }


@pytest.mark.parametrize(
    ("how", "kinds"),
    [
        ({"locator": "single_pass"}, {"diagnose", "skills"}),
        ({"locator": "random_step"}, {"diagnose", "name_gap", "skills"}),
        ({"locator": "answer_switch", "judge": "teacher"}, {"diagnose", "choose", "skills"}),
    ],
)
async def test_a_round_in_batches_is_the_round_by_direct_requests(
    tmp_path: Path, how: dict[str, Any], kinds: set[str]
) -> None:
    questions = [*FAULTS, *(f"q{number}" for number in range(30))]
    direct, batched = Batched(then=reply), Batched(then=reply)
    with at(tmp_path / "direct", direct, how) as context:
        wanted = await diagnosed(context, questions)
        price = context.teacher.usage().cost_usd or 0
    with at(tmp_path / "batched", batched, how, batch=True) as context:
        found = await diagnosed(context, questions)
        assert found == wanted
        assert price / 2 < (context.teacher.usage().cost_usd or 0) < 0.75 * price
        bars = [row["key"] for row in read_jsonl(context.folder.path / "teacher.jsonl") if row.get("batch")]
    (batch,) = batched.made
    assert not direct.made
    assert {seen.kind for seen in batched.requests[: len(batch.rows)]} >= kinds
    assert len(bars) > len(found["journal"]) / 2


async def test_a_pool_is_named_in_a_batch(tmp_path: Path) -> None:
    endpoint = Batched(then=reply)
    with at(tmp_path / "run", endpoint, {"per_request": 2}, batch=True) as context:
        assert context.data is not None
        skills = await annotate_pool(context, context.data.pool, tmp_path / "skills")
        again = await annotate_pool(context, context.data.pool, tmp_path / "skills")
    assert skills == again == {sample: ["adding"] for sample in SAMPLES}
    (batch,) = endpoint.made
    assert (len(batch.rows), endpoint.direct) == (19, 1)
    costs = [row["cost_usd"] for row in read_jsonl(context.folder.path / "pool-costs.jsonl")]
    assert sorted(costs) == [1e-05] * 19 + [2e-05]
