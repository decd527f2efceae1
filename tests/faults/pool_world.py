"""Runs that make their pool themselves, in a fresh store, with a teacher over HTTP that counts what it is asked."""

import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import chromadb
import httpx
from chromadb.config import Settings
from starlette.responses import Response

from agent.cli.init import render
from agent.cli.microworld import make_data, world_config
from agent.run.folder import POOL_COSTS
from eval.microworld.expert import make_app
from retrieval.storage.files import read_json, read_jsonl, write_json
from tests.endpoint import Scripted, Seen, fail, served
from tests.faults.killing_pool import Point, main
from tests.faults.processes import PROCESSES

#: Samples drawn; one more shows a validation item.
DRAWN = 95
POOL, PER_REQUEST, CONCURRENCY = DRAWN + 1, 8, 3

SETTINGS: dict[str, Any] = {
    "max_rounds": 1,
    "data": {"limit": 8},
    "student": {"rationale_prompt": "{question}", "max_unreadable": 1},
    "diagnosis": {"per_request": PER_REQUEST},
    "selection": {"budget": 24, "search": "fused"},
}

#: Seconds in which a run must end; less than what the tests may take, else theirs would leave it running.
LONGEST = 400


def make_pool_data(folder: Path) -> None:
    """The micro-world's items, and a pool."""
    make_data(folder, "arithmetic", DRAWN)
    pool, shown = pool_file(folder), read_jsonl(folder / "arithmetic" / "validation.jsonl")[0]
    turns = [{"from": "human", "value": f"<image>\n{shown['question']}"}, {"from": "gpt", "value": shown["answer"]}]
    shutil.copy(folder / "arithmetic" / shown["image"], pool.parent / "shown.png")
    row = {"id": "shown", "image": "shown.png", "conversations": turns}
    write_json(pool, [*read_json(pool), row])


def pool_file(data: Path) -> Path:
    return data / f"pool-{DRAWN}" / "pool.json"


class Expert:
    """The expert teacher as an endpoint. `asked`: the pool's batches that it was asked about, by their numbers."""

    def __init__(self, data: Path) -> None:
        rows = [
            [turn["value"].removeprefix("<image>\n") for turn in row["conversations"]]
            for row in read_json(pool_file(data))
        ]
        self.batches = [rows[start : start + PER_REQUEST] for start in range(0, len(rows), PER_REQUEST)]
        self.asked: list[int] = []
        #: Awaited before a batch is answered, with the number of requests for batches so far.
        self.before: Callable[[int], Awaitable[None]] | None = None
        #: A question that it cannot be asked.
        self.refused: str | None = None
        self.endpoint = Scripted(then=self._answer)
        self._app = httpx.AsyncClient(transport=httpx.ASGITransport(make_app()), base_url="http://expert")

    async def _answer(self, seen: Seen) -> Response:
        samples = [[each["question"], each["answer"]] for each in seen.data["samples"]] if seen.kind == "skills" else []
        if samples in self.batches:
            self.asked.append(self.batches.index(samples))
            if self.before is not None:
                await self.before(len(self.asked))
        if self.refused in [question for question, _ in samples]:
            return fail(400, "this cannot be asked")
        reply = await self._app.post("/v1/chat/completions", json=seen.body)
        return Response(reply.content, reply.status_code, media_type="application/json")


class PoolRun:
    """A run in `folder`, whose pool store is shared with the folder's other runs. `data`: where the micro-world lies."""

    def __init__(self, folder: Path, data: Path, expert: Expert, name: str = "run") -> None:
        self.expert, self._data = expert, data
        self.store, self.run, self._said = folder / "pools", folder / name, folder / f"{name}.txt"
        self._config = folder / f"{name}.yaml"

    @property
    def said(self) -> str:
        """What it told its user since it was last started."""
        return self._said.read_text()

    @contextmanager
    def started(self, point: Point | None = None) -> Iterator[BaseProcess]:
        """Start or resume it; at `point` it dies. Its expert is served for as long, and no longer: what a killed run has sent is
        not counted late."""
        with served(self.expert.endpoint) as url:
            teacher = {"app": None, "base_url": url, "concurrency": CONCURRENCY}
            config = world_config("pool", self._data, "arithmetic", DRAWN, **SETTINGS, teacher=teacher)
            self._config.write_text(render(config))
            self._said.write_text("")
            process = PROCESSES.Process(target=main, args=(self._config, self.run, self._said, point))
            process.start()
            try:
                yield process
            finally:
                kill(process)

    def status(self, process: BaseProcess) -> int | None:
        """How it ended; None if it has not, for far too long."""
        process.join(LONGEST)
        return process.exitcode

    def kill_at(self, point: Point) -> None:
        """Start or resume it; it must come to this point and die there."""
        with self.started(point) as process:
            assert self.status(process) == -signal.SIGKILL, f"was to be killed at {point}: {self.said}"

    def kill_at_request(self, number: int) -> None:
        """Start or resume it; it is killed when it has sent so many requests for the pool, the last of which is not
        answered."""
        last = len(self.expert.asked) + number

        async def kill_at_last(asked: int) -> None:
            if asked == last:
                os.killpg(process.pid or 0, signal.SIGKILL)

        self.expert.before = kill_at_last
        with self.started() as process:
            assert self.status(process) == -signal.SIGKILL, self.said
        self.expert.before = None

    def finish(self) -> None:
        """Start or resume it; it must come to its selection."""
        with self.started() as process:
            assert self.status(process) == 0, self.said

    def wait_until(self, process: BaseProcess, comes: Callable[[], bool]) -> None:
        """A condition, not a clock."""
        while not comes():
            assert process.is_alive(), self.said
            time.sleep(0.02)

    def check_paid(self, kills: int = 1) -> None:
        """What was asked and is not in the journal was in flight at a kill, and what is in the journal counts as paid."""
        asked, counted, kept = len(self.expert.asked), len(read_jsonl(self.run / POOL_COSTS)), len(self.journal)
        assert kept <= counted <= asked <= kept + kills * CONCURRENCY

    def check_resumed(self, unbroken: "PoolRun", kills: int = 1) -> None:
        """Go on with it: it must end as if nothing had happened, make nothing again that was whole, and ask for no more than
        what is not in the journal."""
        self.check_paid(kills)
        missing, asked, whole = self.missing, len(self.expert.asked), self.whole
        self.finish()
        assert len(self.expert.asked) - asked == missing, "the pool was not asked about just what was missing"
        assert whole.items() <= self.whole.items(), "what was whole was made again"
        self.check_paid(kills)
        self.check_equal(unbroken)

    def check_equal(self, unbroken: "PoolRun", but: str = "") -> None:
        """Pool, skills, index and selection are those of an unbroken run, and nothing else is there. `but`: a pattern for what
        may differ in the store."""
        assert self.scratch == [], "scratch files are left"
        made, wanted = self.made(), unbroken.made()
        other = sorted(name for name in {*made, *wanted} if made.get(name) != wanted.get(name))
        assert [name for name in other if not fnmatch(name, but)] == []
        assert self.selection == unbroken.selection
        assert self.excluded == unbroken.excluded

    @property
    def journal(self) -> list[dict[str, Any]]:
        """Replies about the pool that are paid for and kept."""
        return [row for path in self.store.glob("*/skills-*/teacher.jsonl") for row in read_jsonl(path)]

    @property
    def missing(self) -> int:
        """How many of the pool's batches are not in the journal."""
        return len(self.expert.batches) - len(self.journal)

    @property
    def selection(self) -> bytes:
        return (self.run / "rounds" / "01" / "selection.jsonl").read_bytes()

    @property
    def excluded(self) -> list[dict[str, Any]]:
        return read_jsonl(self.run / "excluded.jsonl")

    @property
    def whole(self) -> dict[Path, int]:
        """When each part and index, and the pool itself, was published."""
        marks = [*self.store.glob("*/parts/*.json"), *self.store.rglob("manifest.json")]
        return {path: path.stat().st_mtime_ns for path in marks if ".tmp" not in str(path)}

    @property
    def scratch(self) -> list[Path]:
        """What a killed writer left."""
        return [*self.store.rglob(".*.tmp"), *self.run.rglob(".*.tmp")]

    def made(self) -> dict[str, Any]:
        """Everything in the store but its locks: rows in the order of their ids, an index as its vectors, and not under whose
        scope or name it was made."""
        found: dict[str, Any] = {}
        for path in sorted(path for path in self.store.rglob("*") if path.is_file()):
            name = str(path.relative_to(self.store))
            if path.name == "skills.jsonl":
                found[name] = sorted(read_jsonl(path), key=lambda row: str(row["sample"]))
            elif path.name == "teacher.jsonl":
                found[name] = sorted(
                    ({**row, "scope": ""} for row in read_jsonl(path)), key=lambda row: str(row["key"])
                )
            elif path.name == "manifest.json":
                found[name] = {key: value for key, value in read_json(path).items() if key != "chroma"}
            elif path.name == "chroma.sqlite3":
                found.setdefault(str(path.parent.parent.relative_to(self.store) / "chroma"), []).append(
                    vectors(path.parent)
                )
            elif not path.name.endswith("lock") and "/chroma-" not in name:
                found[name] = path.read_bytes()
        return found


def vectors(folder: Path) -> dict[str, dict[str, bytes]]:
    """Chroma's vectors by collection and id."""
    found = {}
    for collection in chromadb.PersistentClient(str(folder), Settings(anonymized_telemetry=False)).list_collections():
        kept = collection.get(include=["embeddings"])
        found[collection.name] = {
            row: vector.tobytes() for row, vector in zip(kept["ids"], kept["embeddings"], strict=True)
        }
    return found


def kill(process: BaseProcess) -> None:
    """The whole group, with SIGKILL, if it still runs."""
    if process.is_alive():
        with suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join()
