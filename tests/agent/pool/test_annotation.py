"""What naming a pool's skills took is noted in each run: in all, and of it what the run paid itself."""

from pathlib import Path
from typing import Any

import pytest

from agent.pool.annotate import annotate_pool
from agent.pool.store import skills_folder
from agent.run.context import Context
from agent.run.summary import summary
from agent.teacher.client import Teacher
from retrieval.errors import TeacherError
from tests.agent.small_context import make_context
from tests.endpoint import Scripted, Seen, config_for, fail

SAMPLES = {f"s{number}": [(f"What is {number} + 1?", str(number + 1))] for number in range(24)}


def named(seen: Seen) -> dict[str, Any]:
    return {"samples": [{"index": each["index"], "skills": ["adding"]} for each in seen.data["samples"]]}


def make_run(folder: Path, endpoint: Scripted) -> Context:
    folder.mkdir()
    context = make_context(folder, SAMPLES)
    teacher = config_for(endpoint, concurrency=1, price_in=1.0, price_out=2.0)
    context.config = context.config.model_copy(update={"teacher": teacher})
    context.teacher = Teacher(teacher, context.folder.path / "teacher.jsonl")
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
