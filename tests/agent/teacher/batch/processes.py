"""Processes of one run that ask ahead in batches, one after the other."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.teacher.asked import Asked
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from retrieval.storage.files import read_jsonl
from tests.batch_endpoint import Batched
from tests.endpoint import Seen, config_for

YES = {"correct": True}
#: A reply takes 5 tokens of at most 16, at a dollar each.
DOLLAR_A_TOKEN = {"price_in": 0.0, "price_out": 1e6, "max_tokens": 16}
MANY = 30


def data(number: int) -> dict[str, Any]:
    return {"question": "q", "gold": ["a"], "answer": str(number)}


def questions(count: int) -> Iterable[Question]:
    return (Question("judge", data(number), Judged) for number in range(count))


def verdict(seen: Seen) -> Any:
    return {"correct": int(seen.data["answer"]) % 2 == 0}


class Run:
    """Processes of one run, one after the other, at one endpoint; no time passes for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.progress: list[tuple[int, int]] = []
        self.minutes = 0.0
        #: Is called after each rest, with its seconds.
        self.after_rest: Callable[[float], None] = lambda seconds: None
        self.teachers: list[Teacher] = []

    def start(self, endpoint: Batched, **fields: Any) -> Teacher:
        async def sleep(seconds: float) -> None:
            self.minutes += seconds / 60
            self.after_rest(seconds)
            for _ in range(10):
                await asyncio.sleep(0)

        config = config_for(endpoint, batch=True, retries=1).model_copy(update=fields)
        teacher = Teacher(config, self.folder / "teacher.jsonl", "round-01", sleep, say=self.said.append)
        self.teachers.append(teacher)
        return teacher

    async def ask(self, teacher: Teacher, count: int = MANY) -> list[Asked[Judged]]:
        """Ask ahead, and then one by one."""
        await teacher.ask_ahead(lambda: questions(count), lambda *at: self.progress.append(at))
        return [await teacher.ask("judge", data(number), Judged) for number in range(count)]

    @property
    def paid(self) -> list[str]:
        """The keys of what was paid."""
        return [row["key"] for row in self.rows]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / "teacher.jsonl")

    @property
    def log(self) -> list[dict[str, Any]]:
        return read_jsonl(self.folder / "teacher.batches.jsonl")

    def check_paid_once(self, endpoint: Batched, count: int = MANY) -> None:
        assert len(self.paid) == len(set(self.paid)) == count
        assert sum(seen.kind is not None for seen in endpoint.requests) == count, (
            "asked or answered more often than paid"
        )
