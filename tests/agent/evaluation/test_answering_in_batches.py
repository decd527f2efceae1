"""Verdicts of scorer `teacher` in batches: the student lets go of its memory, and one signal ends the waiting."""

import asyncio
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.chat.stop import StoppedError
from agent.evaluation.answering import _answer_all
from agent.loop.stopping import Signals
from agent.run.context import Context
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.scorers import make_scorer
from eval.task import Item
from retrieval.errors import TeacherError
from tests.agent.small_context import Parrot, make_context
from tests.batch_endpoint import Batched, Fate, goes_on
from tests.endpoint import served

ITEMS = [Item(f"i{number:02d}", f"Describe {number}.", (f"the number {number}",)) for number in range(30)]


class Held(Parrot):
    """It counts how often it gave its memory back, and how many batches there were by then."""

    def __init__(self, endpoint: Batched) -> None:
        super().__init__({item.id: "Step 1: so.\nAnswer: a number" for item in ITEMS})
        self.endpoint = endpoint
        self.released: list[int] = []

    async def release(self) -> None:
        self.released.append(len(self.endpoint.made))


def context_at(root: Path, endpoint: Batched, url: str, batch: bool = True) -> Context:
    context = make_context(root, {"only": [("What is 1 + 1?", "2")]}, Held(endpoint))
    changes = {"base_url": url, "batch": batch, "batch_poll_minutes": 1e-3}
    teacher = context.config.teacher.model_copy(update=changes)
    context.config = context.config.model_copy(update={"teacher": teacher})
    context.teacher = Teacher(teacher, context.folder.path / "teacher.jsonl", "round-00", stop=context.stop)
    assert context.data is not None
    context.made = replace(context.data, items=tuple(ITEMS), scorer=make_scorer("teacher", ITEMS, 0.0))
    return context


async def answered(context: Context, count: int) -> list[Answer]:
    path = context.folder.path / "answers.jsonl"
    try:
        return (await _answer_all(context, {path: ITEMS[:count]}, None))[0]
    finally:
        await context.teacher.close()
        context.folder.close()


@pytest.fixture
def handlers() -> Iterator[None]:
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.mark.parametrize(("count", "batch", "released"), [(30, True, [0]), (30, False, []), (5, True, [])])
async def test_the_student_is_released_before_verdicts_are_waited_for(
    tmp_path: Path, count: int, batch: bool, released: list[int]
) -> None:
    endpoint = Batched(then={"correct": True})
    with served(endpoint) as url:
        context = context_at(tmp_path, endpoint, url, batch)
        answers = await answered(context, count)
    assert [answer.kind for answer in answers] == ["right"] * count
    student: Any = context.student
    assert student.released == released
    assert len(endpoint.made) == len(released)


async def test_verdicts_on_validation_and_holdout_go_into_one_batch(tmp_path: Path) -> None:
    endpoint = Batched(then={"correct": True})
    with served(endpoint) as url:
        context = context_at(tmp_path, endpoint, url)
        sets = {context.folder.path / f"{name}.jsonl": part for name, part in (("a", ITEMS[:18]), ("b", ITEMS[18:]))}
        try:
            found = await _answer_all(context, sets, None)
        finally:
            await context.teacher.close()
            context.folder.close()
    assert [[answer.kind for answer in each] for each in found] == [["right"] * 18, ["right"] * 12]
    assert [len(batch.rows) for batch in endpoint.made] == [29], "one was asked directly"


async def test_an_answer_without_a_verdict_is_judged_again_and_not_answered_again(tmp_path: Path) -> None:
    mended: list[bool] = []
    endpoint = Batched(then=lambda seen: {"correct": True} if mended else "?")
    with served(endpoint) as url:
        for _ in range(2):
            context = context_at(tmp_path, endpoint, url, batch=False)
            if not mended:
                with pytest.raises(TeacherError, match=r"^teacher_error_rate 100% .*no verdict .*answers\.jsonl"):
                    await answered(context, 20)
                mended.append(True)
            else:
                assert [answer.kind for answer in await answered(context, 20)] == ["right"] * 20
                student: Any = context.student
                assert student.asked == []


@pytest.mark.usefixtures("handlers")
async def test_one_signal_ends_a_run_that_waits_for_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    fates: list[Fate] = [goes_on]
    endpoint = Batched(then={"correct": True}, fates=fates)

    async def waits(context: Context) -> None:
        with Signals(context):
            await answered(context, 30)

    with served(endpoint) as url:
        context = context_at(tmp_path, endpoint, url)
        run = asyncio.ensure_future(waits(context))
        while not endpoint.calls["retrieve"]:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError):
            await run
    assert exits == []
