"""`gaptutor evaluate --out` that was ended goes on where it was, and pays nothing twice."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.config.loading import parse_config
from agent.evaluation import answering
from agent.run.console import Reporter
from agent.student import Reply
from agent.teacher.client import Teacher
from retrieval.errors import ConfigError
from retrieval.storage.files import read_jsonl
from tests.agent.small_context import Parrot
from tests.endpoint import Scripted, config_for


class Dies(Parrot):
    """It is killed after so many answers."""

    def __init__(self, after: int) -> None:
        super().__init__({f"i{number}": "Step 1: so.\nAnswer: a number" for number in range(6)})
        self.after = after

    async def answer(self, *args: Any, **kwargs: Any) -> AsyncIterator[Reply]:
        async for reply in super().answer(*args, **kwargs):
            if len(self.asked) > self.after:
                raise KeyboardInterrupt
            yield reply

    def standing(self) -> str:
        """It never waits."""
        return ""

    async def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def items(tmp_path: Path) -> Path:
    rows = [{"id": f"i{number}", "question": "What?", "answer": f"the number {number}"} for number in range(6)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "items.jsonl"


async def evaluate(
    items: Path, endpoint: Scripted, student: Dies, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> dict[str, Any]:
    raw = {
        "name": "small",
        "data": {"validation": "none.jsonl", "scorer": "teacher"},
        "pool": {"path": "none.jsonl"},
        "student": {"model": "student", **changes},
        "teacher": config_for(endpoint).model_dump(mode="json"),
    }
    monkeypatch.setattr(answering, "make_student", lambda *args: student)
    out = items.with_name("answers.jsonl")
    return await answering.evaluate_file(parse_config(raw, "test"), items, None, out, Reporter(quiet=True))


async def test_what_was_answered_and_judged_before_a_kill_is_not_asked_again(
    items: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, first, second = Scripted(then={"correct": True}), Dies(4), Dies(9)
    with pytest.raises(KeyboardInterrupt):
        await evaluate(items, endpoint, first, monkeypatch)
    with pytest.raises(ConfigError, match="begun with another student"):
        await evaluate(items, endpoint, second, monkeypatch, model="another")

    real = Teacher.close

    async def dies(teacher: Teacher) -> None:
        await real(teacher)
        raise KeyboardInterrupt

    monkeypatch.setattr(Teacher, "close", dies)  # the verdicts are there, the figures are not
    with pytest.raises(KeyboardInterrupt):
        await evaluate(items, endpoint, second, monkeypatch)
    monkeypatch.setattr(Teacher, "close", real)
    third = Dies(9)
    found = await evaluate(items, endpoint, third, monkeypatch)
    assert (found["n"], found["right"]) == (6, 6)
    assert [len(student.asked) for student in (first, second, third)] == [5, 2, 0]
    assert len(endpoint.of("judge")) == 6, "each verdict is paid once"
    assert {row["item"] for row in read_jsonl(items.with_name("answers.jsonl"))} == {f"i{n}" for n in range(6)}
    with pytest.raises(ConfigError, match="is there already"):
        await evaluate(items, endpoint, third, monkeypatch)
