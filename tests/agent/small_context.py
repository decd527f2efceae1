"""What the nodes share, for tests of one of them: a real folder and pool, a student that says what it is told to."""

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config.loading import parse_config
from agent.run.console import Reporter
from agent.run.context import Context, Data
from agent.run.folder import RunFolder
from agent.student import Reply, Request
from eval.scorers import make_scorer
from eval.task import Item
from retrieval.pool.pool import Pool

RATIONALE, DIRECT = "{question} In steps.", "{question} In a word."


class Parrot:
    """A student whose answers are given, by id; it remembers what it was asked."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts
        self.asked: list[Request] = []

    async def answer(
        self, requests: Sequence[Request], adapter: str | None = None, done: Collection[str] = ()
    ) -> AsyncIterator[Reply]:
        assert adapter is None
        for request in requests:
            if request.id not in done:
                self.asked.append(request)
                yield Reply(request.id, self.texts[request.id])

    async def release(self) -> None:
        """Nothing is held."""


def make_context(
    root: Path, samples: Mapping[str, Sequence[tuple[str, str]]], student: Any = None, reporter: Reporter | None = None
) -> Context:
    """The context of a fresh run on a pool of text samples: turns by id."""
    rows = [
        {
            "id": name,
            "conversations": [
                {"from": who, "value": text} for turn in turns for who, text in zip(("human", "gpt"), turn, strict=True)
            ],
        }
        for name, turns in samples.items()
    ]
    (root / "pool.json").write_text(json.dumps(rows))
    raw = {
        "name": "small",
        "data": {"validation": "/items.jsonl"},
        "pool": {"path": str(root / "pool.json")},
        "student": {"model": "student", "rationale_prompt": RATIONALE, "direct_prompt": DIRECT},
        "teacher": {"model": "expert"},
    }
    config, nothing = parse_config(raw, "test"), Item("", "", ("",))
    no_index: Any = None
    pool = Pool.build(root / "pool.json", None, root / "pools")
    data = Data((), (), make_scorer("exact", [nothing], 0.0), pool, no_index, frozenset())
    absent: Any = None
    return Context(
        config=config,
        folder=RunFolder.open(root / "run", config),
        reporter=reporter or Reporter(quiet=True),
        student=student or Parrot({}),
        teacher=absent,
        embedder=absent,
        made=data,
    )
