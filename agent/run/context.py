"""What the nodes of one run share: the configuration, the folder, the student, the teacher, the items, the pool."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from rich.markup import escape

from agent.chat.stop import Stop
from agent.config.schema import RunConfig
from agent.run.console import Reporter
from agent.run.folder import RunFolder
from agent.run.machine import check_machine
from agent.run.resume import read_config
from agent.student import make_student
from agent.student.engine import Student
from agent.teacher.batch.sending import Questions
from agent.teacher.client import Teacher
from agent.teacher.endpoint.dialect import Learned
from eval.scorers import Scorer
from eval.task import Item
from retrieval.index.embedding import Embedder
from retrieval.index.skill_index import SkillIndex
from retrieval.pool.pool import Pool
from retrieval.storage.files import read_jsonl

Waiting = Literal["student", "teacher", "tuning", "pool"]


@dataclass
class Context:
    """Built once per process. What nodes have made for them is reached through `sets` and `data`."""

    config: RunConfig
    folder: RunFolder
    reporter: Reporter
    student: Student
    teacher: Teacher
    embedder: Embedder
    waited: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    #: What `sets` and `data` give, once it is made.
    made: "Sets | None" = None
    #: Asked for by a signal; that of teacher and student too.
    stop: Stop = field(default_factory=Stop)

    @classmethod
    def build(cls, folder: RunFolder, reporter: Reporter) -> Self:
        """Everything that a run needs; nothing is loaded or asked before it is used. Raises ConfigError if this machine
        has not what the run began with."""
        folder.event("process_started")
        for note in folder.notes:
            folder.event("folder", said=note)
            reporter.say(f"  [yellow]{escape(note)}[/yellow]")
        config = folder.config
        check_machine(config)
        stop = Stop()
        context = cls(
            config=config,
            folder=folder,
            reporter=reporter,
            student=make_student(config.student, folder.path, lambda line: reporter.say(f"  {escape(line)}"), stop),
            teacher=Teacher(
                config.teacher,
                folder.path / "teacher.jsonl",
                prompts=folder.prompts,
                learned=Learned(folder.path / "endpoint.json"),
                say=lambda text: _say_aloud(folder, reporter, text),
                stop=stop,
            ),
            embedder=Embedder(config.pool.embedder),
            stop=stop,
        )
        reporter.notes = (context.teacher.traffic.standing, context.student.standing)
        reporter.keep = lambda text: folder.event("progress", said=text)
        return context

    @classmethod
    async def shared(cls, run: Path) -> "Context":
        """The context of a run that a tool such as LangGraph Studio drives by its folder; one per process and folder."""
        if run not in _SHARED:
            _SHARED[run] = cls.build(RunFolder.open(run, read_config(run)), Reporter(quiet=True))
        return _SHARED[run]

    @property
    def sets(self) -> "Sets":
        """The items, which a node that reads them finds made."""
        if self.made is None:
            raise RuntimeError("the items of this context are not made; see agent.loop.data.ensure_sets")
        return self.made

    @property
    def data(self) -> "Data":
        """Items, pool and index, which a node that reads them finds made."""
        if not isinstance(self.made, Data):
            raise RuntimeError("the data of this context is not made; see agent.loop.data.ensure_data")
        return self.made

    async def ask_ahead(self, questions: Questions, teacher: Teacher | None = None) -> None:
        """`Teacher.ask_ahead` of the run's teacher, or of another, with a bar. Raises TeacherError, BudgetError."""
        teacher = teacher or self.teacher
        if not teacher.has_batches:
            return
        with self.reporter.bar("requests in batches") as advance:
            await teacher.ask_ahead(questions, advance)

    @contextmanager
    def waiting(self, kind: Waiting) -> Iterator[None]:
        """Count the time in here as spent waiting for the student, the teacher, the tuning process or the pool's making."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.waited[kind] += time.monotonic() - start

    def seconds(self) -> dict[str, float]:
        """Seconds of this run, over all its processes (of a killed one, up to its last event), by what they were spent on;
        `own` is what is none of the others."""
        spent: dict[str, float] = defaultdict(float)
        rows = read_jsonl(self.folder.path / "events.jsonl")
        last = None
        for row in [*rows, {"event": "now", "time": datetime.now(UTC).isoformat()}]:
            now = datetime.fromisoformat(row["time"])
            if last is not None and row["event"] != "process_started":
                spent["total"] += (now - last).total_seconds()
            last = now
            for kind, seconds in row.get("waited", {}).items():
                spent[kind] += seconds
        waited = sum(seconds for kind, seconds in spent.items() if kind != "total")
        return {kind: round(seconds, 3) for kind, seconds in {**spent, "own": spent["total"] - waited}.items()}

    async def close(self) -> None:
        """Let go of the student, the teacher and the folder, of each whatever becomes of the others."""
        async with AsyncExitStack() as last:
            last.callback(self.folder.close)
            if isinstance(self.made, Data):
                last.callback(self.made.index.close)
            last.push_async_callback(self.teacher.close)
            last.push_async_callback(self.student.close)


def _say_aloud(folder: RunFolder, reporter: Reporter, text: str) -> None:
    """On the screen, and in events.jsonl for who comes later."""
    folder.event("teacher", said=text)
    reporter.say(f"  [yellow]{escape(text)}[/yellow]")


@dataclass(frozen=True)
class Sets:
    """What is answered, and how it is scored."""

    items: tuple[Item, ...]
    holdout: tuple[Item, ...]
    scorer: Scorer


@dataclass(frozen=True)
class Data(Sets):
    """With it what is selected from."""

    pool: Pool
    index: SkillIndex
    excluded: frozenset[str]


_SHARED: dict[Path, Context] = {}
