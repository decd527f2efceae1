"""What naming a pool's skills took is noted in each run: in all, and of it what the run paid itself."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agent.chat.stop import StoppedError
from agent.pool.annotate import annotate_pool
from agent.pool.store import skills_folder
from agent.run.context import Context
from agent.run.summary import summary
from agent.teacher.client import Teacher
from retrieval.errors import TeacherError
from retrieval.pool.pool import Pool
from retrieval.storage.files import read_jsonl
from tests.agent.small_context import make_context
from tests.endpoint import Scripted, Seen, config_for, fail

SAMPLES = {f"s{number}": [(f"What is {number} + 1?", str(number + 1))] for number in range(24)}


def named(seen: Seen) -> dict[str, Any]:
    return {"samples": [{"index": each["index"], "skills": ["adding"]} for each in seen.data["samples"]]}


def make_run(folder: Path, endpoint: Scripted, per_request: int = 16, **fields: Any) -> Context:
    folder.mkdir()
    context = make_context(folder, SAMPLES)
    teacher = config_for(endpoint, **{"concurrency": 1, "price_in": 1.0, "price_out": 2.0, **fields})
    how = context.config.diagnosis.model_copy(update={"per_request": per_request})
    context.config = context.config.model_copy(update={"teacher": teacher, "diagnosis": how})
    context.teacher = Teacher(teacher, context.folder.path / "teacher.jsonl", stop=context.stop)
    return context


def test_another_teacher_or_effort_of_it_names_the_skills_anew(tmp_path: Path) -> None:
    context = make_run(tmp_path / "a", Scripted())

    def folder(**teacher: Any) -> Path:
        assert context.data is not None
        changed = context.config.teacher.model_copy(update=teacher)
        config = context.config.model_copy(update={"teacher": changed})
        return skills_folder(context.data.pool, config, context.teacher.prompts)

    assert len({folder(), folder(model="other"), folder(reasoning_effort="low"), folder(reasoning_effort="high")}) == 4
    assert folder(max_tokens=8192) == folder()


async def test_a_run_says_what_the_pool_cost_and_what_of_it_it_paid(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", Scripted(then=fail(401), steps=[named]))
    assert first.data is not None
    with pytest.raises(TeacherError):
        await annotate_pool(first, first.data.pool, tmp_path / "skills")
    once = {"calls": 1, "tokens": 15, "cost_usd": 2e-05}
    assert summary(first.folder.path)["annotation"] == {**once, "this_run": once}, "it failed, and had paid by then"

    second = make_run(tmp_path / "b", Scripted(then=named))
    await annotate_pool(second, first.data.pool, tmp_path / "skills")
    found = summary(second.folder.path)["annotation"]
    assert found == {"calls": 2, "tokens": 30, "cost_usd": 4e-05, "this_run": once}


async def test_a_teacher_that_takes_no_pictures_is_found_before_any_of_the_pool_is_sent(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "blue.png")
    rows = [{"id": f"s{number}", "image": "blue.png", "question": "Which?", "answer": "blue"} for number in range(3)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool.build(tmp_path / "pool.jsonl", None, tmp_path / "store")

    def blind(seen: Seen) -> Any:
        return fail(400, "image input is not supported") if seen.images else "yes"

    run = make_run(tmp_path / "a", endpoint := Scripted(then=blind))
    with pytest.raises(TeacherError, match=r"takes no pictures.*teacher\.see_images"):
        await annotate_pool(run, pool, tmp_path / "skills")
    assert all(seen.kind is None for seen in endpoint.requests)
    assert not (tmp_path / "skills" / "skills.jsonl").exists()


@pytest.mark.parametrize("waits", [False, True], ids=["answered", "told to come back in ten minutes"])
async def test_asked_to_stop_what_is_in_flight_comes_in_and_is_written_and_the_rest_is_asked_later(
    tmp_path: Path, waits: bool
) -> None:
    """Rows `SIGTERM, SIGINT` of the durability table: a pool's naming takes hours, and is left between two requests."""
    gate = asyncio.Event()
    later = fail(429, "slow down", {"Retry-After": "600"})

    async def when_told(seen: Seen) -> Any:
        if waits and seen.number > 3:
            return later
        await gate.wait()
        return named(seen)

    endpoint = Scripted(then=when_told)
    first = make_run(tmp_path / "a", endpoint, 2, concurrency=4)
    pool = first.data.pool
    naming = asyncio.ensure_future(annotate_pool(first, pool, tmp_path / "skills"))
    while len(endpoint.requests) < 4:
        await asyncio.sleep(0.01)
    first.stop.ask()
    await asyncio.sleep(0.05)  # those that wait end, those in flight do not
    assert not naming.done()
    gate.set()
    with pytest.raises(StoppedError):
        await naming
    assert len(endpoint.requests) == 4
    answered = 3 if waits else 4
    assert len(read_jsonl(tmp_path / "skills" / "skills.jsonl")) == 2 * answered
    second = make_run(tmp_path / "b", again := Scripted(then=named), 2)
    assert len(await annotate_pool(second, pool, tmp_path / "skills")) == len(SAMPLES)
    assert len(again.requests) == 12 - answered
