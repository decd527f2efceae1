"""A run that is killed (SIGKILL) at any point of a batch finds it again, and pays for each request once."""

import asyncio
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from agent.config.schema import TeacherConfig
from agent.teacher.batch import means
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from tests.batch_endpoint import Batched, Fate, ends_well, expires
from tests.endpoint import Seen, served
from tests.faults.killing_pool import Point, kill_at

pytestmark = pytest.mark.slow

MANY = 30
#: By what the run is doing when it dies.
POINTS: dict[str, Point] = {
    "before it is written down": ("call", "agent.teacher.batch.log:BatchLog.begin", 1),
    "in the middle of writing it down": ("torn", "*/teacher.batches.jsonl", 1),
    "before the upload": ("call", "agent.teacher.batch.api:BatchApi.upload", 1),
    "behind the upload": ("call", "agent.teacher.batch.log:BatchLog.note", 1),
    "before it is made": ("call", "agent.teacher.batch.api:BatchApi.create", 1),
    "when it is made": ("call", "agent.teacher.batch.log:BatchLog.note", 2),
    "in the middle of writing its id down": ("torn", "*/teacher.batches.jsonl", 3),
    "before the first look": ("call", "agent.teacher.batch.api:BatchApi.look", 1),
    "between two looks": ("call", "agent.teacher.batch.api:BatchApi.look", 3),
    "before the results": ("call", "agent.teacher.batch.api:BatchApi.results", 1),
    "in the middle of the results": ("row", "*/teacher.jsonl", 12),
    "between what a result cost and the result": ("row", "*/costs.jsonl", 12),
    "in the middle of a result": ("torn", "*/teacher.jsonl", 12),
    "behind the last result": ("call", "agent.teacher.batch.log:BatchLog.end", 1),
    "behind its end": ("call", "agent.teacher.batch.api:BatchApi.tidy", 1),
    "at a later batch": ("call", "agent.teacher.batch.log:BatchLog.note", 4),
}

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.agent.teacher.batch.test_ahead_killed"])


def verdict(seen: Seen) -> Any:
    return {"correct": int(seen.data["answer"]) % 2 == 0}


def make_teacher(folder: Path, url: str) -> Teacher:
    config = TeacherConfig(
        model="teacher-1", base_url=url, batch=True, batch_poll_minutes=1e-3, price_in=0, price_out=1e6
    )
    return Teacher(config, folder / "teacher.jsonl", "round-01", costs=folder / "costs.jsonl")


async def ask(folder: Path, url: str) -> list[bool]:
    """Ask ahead, and then one by one."""
    means.LISTED = 0.0
    teacher = make_teacher(folder, url)
    data = [{"question": "q", "gold": ["a"], "answer": str(number)} for number in range(MANY)]
    try:
        await teacher.ask_ahead(lambda: (Question("judge", each, Judged) for each in data))
        asked = [await teacher.ask("judge", each, Judged) for each in data]
    finally:
        await teacher.close()
    return [each.value is not None and each.value.correct for each in asked]


def ask_and_die(folder: Path, url: str, point: Point) -> None:
    """In a process group of its own."""
    os.setsid()
    kill_at(*point)
    asyncio.run(ask(folder, url))


async def slowly(service: Any, batch: Any) -> None:
    await asyncio.sleep(0.3)
    await ends_well(service, batch)


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
async def test_a_killed_run_finds_its_batch_again(tmp_path: Path, point: Point) -> None:
    fates: list[Fate] = [expires(18)] if point == POINTS["at a later batch"] else [slowly]
    endpoint = Batched(then=verdict, fates=fates)
    with served(endpoint) as url:
        process = PROCESSES.Process(target=ask_and_die, args=(tmp_path, url, point))
        process.start()
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode == -signal.SIGKILL, "it was to be killed there"
        assert await ask(tmp_path, url) == [number % 2 == 0 for number in range(MANY)]
        teacher = make_teacher(tmp_path, url)
        assert (teacher.usage().calls, teacher.paid().calls) == (MANY, MANY)
        assert teacher.usage().cost_usd == teacher.paid().cost_usd
    assert len(endpoint.requests) == MANY, "each was answered, and is paid, once"
    assert len(endpoint.made) == len(fates) + (point == POINTS["at a later batch"])
