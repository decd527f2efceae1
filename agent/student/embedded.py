"""The embedded engine: the student in this process, through transformers, answering in batches.

All work on the model is done by one thread, so calls queue up and the event loop stays free. Batches are a fixed
function of the list of requests; pictures are decoded for one batch at a time and replies leave when their batch is
done, so memory does not grow with the list. Importing this module imports torch and transformers: import it where the
engine is chosen.
"""

import asyncio
import ctypes
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from agent.chat.stop import Stop
from agent.config.schema import StudentConfig
from agent.student.adapters import add_adapter, check_adapter, remove_adapter, using
from agent.student.asking import Asker
from agent.student.engine import Reply, Request
from retrieval.errors import GaptutorError, StudentError, first_line
from training.child.memory import in_halves, is_lack_of_memory
from training.child.threads import usable_cores
from training.data.chat import answer_lead, tokenise
from training.families.families import check_model, family_of, load_model, load_processor, resolve_dtype, stop_tokens

T = TypeVar("T")


class EmbeddedStudent:
    """The `Student` that runs here. The model is loaded when it is first needed, and again after `release`."""

    def __init__(self, config: StudentConfig, stop: Stop | None = None) -> None:
        """`stop` is looked at between batches. Raises ConfigError if `config.model` names no model folder."""
        check_model(config.model)
        self.config = config
        self._stop = stop or Stop()
        self._engine: _Engine | None = None
        self._adapters: dict[str, Path] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="student")

    async def answer(
        self, requests: Sequence[Request], adapter: str | None = None, done: Collection[str] = ()
    ) -> AsyncIterator[Reply]:
        """See `Student.answer`. An unreadable image, or a text that is longer than the model, or than memory, holds gives an
        `error`. A batch that memory does not hold is asked in halves."""
        finished = frozenset(done)
        for batch in await self._run(self._batches, requests, self.config.batch_size):
            if all(request.id in finished for request in batch):
                continue
            self._stop.check()
            for reply in await self._run(self._answer, batch, adapter):
                if reply.id not in finished:
                    yield reply

    async def score(
        self, requests: Sequence[Request], continuations: Sequence[Sequence[str]], adapter: str | None = None
    ) -> list[list[float]]:
        """See `Student.score`. NaN where a request cannot be read; an empty continuation scores 0."""
        most = max((len(some) for some in continuations), default=1)
        numbered = [Request(str(n), r.prompt, r.images, r.prefix) for n, r in enumerate(requests)]
        scores: dict[str, list[float]] = {}
        for batch in await self._run(self._batches, numbered, max(1, self.config.batch_size // max(1, most))):
            self._stop.check()
            wanted = [list(continuations[int(request.id)]) for request in batch]
            rows = await self._run(self._score, batch, wanted, adapter)
            scores.update(zip((request.id for request in batch), rows, strict=True))
        return [scores[request.id] for request in numbered]

    async def load_adapter(self, name: str, path: Path) -> None:
        """See `Student.load_adapter`. Raises ConfigError if the folder is no adapter, StudentError if it does not
        fit this model."""
        await self._run(self._load, name, path)

    async def drop_adapter(self, name: str) -> None:
        """See `Student.drop_adapter`."""
        await self._run(self._drop, name)

    async def release(self) -> None:
        """See `Student.release`: the model leaves memory."""
        await self._run(self._down)

    def standing(self) -> str:
        """See `Student.standing`."""
        return ""

    async def close(self) -> None:
        """See `Student.close`."""
        await self.release()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do work in the engine's thread; what goes wrong there is a StudentError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *arguments))
        except GaptutorError:
            raise
        except (MemoryError, RuntimeError, ValueError) as error:
            first = first_line(error)
            if is_lack_of_memory(error):
                raise StudentError(
                    f"the machine has no memory for the student ({first}); free some, or take a smaller student"
                ) from error
            raise StudentError(f"the student at {self.config.model} stopped working: {first}") from error

    def _up(self) -> "_Engine":
        """The engine, its model and adapters loaded if they are not in memory."""
        if self._engine is None:
            engine = _Engine(self.config)
            for name, path in self._adapters.items():
                engine.add(name, path)
            self._engine = engine
        return self._engine

    def _down(self) -> None:
        self._engine = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif sys.platform == "linux":
            # glibc keeps freed memory for itself otherwise, and tuning needs it.
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)

    def _load(self, name: str, path: Path) -> None:
        check_adapter(path)  # before the model is loaded
        self._drop(name)
        try:
            self._up().add(name, path)
        except StudentError:
            # peft may have placed half of it; the model comes back clean with the next call.
            self._down()
            raise
        self._adapters[name] = path

    def _drop(self, name: str) -> None:
        if self._adapters.pop(name, None) is not None and self._engine is not None:
            self._engine.remove(name)

    def _batches(self, requests: Sequence[Request], size: int) -> list[list[Request]]:
        """Requests of about one length together: by images, then by tokens, then by their place in the list."""
        processor = self._up().asker.processor
        lengths = [len(tokenise(processor, request.prompt + request.prefix)) for request in requests]
        order = sorted(range(len(requests)), key=lambda place: (len(requests[place].images), lengths[place], place))
        return [[requests[place] for place in order[i : i + size]] for i in range(0, len(order), size)]

    def _answer(self, batch: list[Request], adapter: str | None) -> list[Reply]:
        engine = self._up()
        with using(engine.model, engine.known(adapter)) as model:
            return in_halves(
                batch,
                lambda part: engine.asker.answer(model, part, self.config.max_new_tokens),
                lambda request, said: Reply(request.id, "", error=f"the student has no memory for it ({said})"),
            )

    def _score(self, batch: list[Request], wanted: list[list[str]], adapter: str | None) -> list[list[float]]:
        engine = self._up()
        with using(engine.model, engine.known(adapter)) as model:
            return in_halves(
                list(zip(batch, wanted, strict=True)),
                lambda part: engine.asker.score(model, [request for request, _ in part], [some for _, some in part]),
                lambda asked, said: [float("nan")] * len(asked[1]),
            )


class _Engine:
    """The model in memory, how to ask it, and its adapters by name."""

    def __init__(self, config: StudentConfig) -> None:
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
        processor = load_processor(config.model, config.trust_remote_code)
        processor.tokenizer.padding_side = "left"
        gpu = torch.cuda.is_available()
        # Measured on two cores: a token's step takes a fifth less time with eager attention than with SDPA.
        attention = "sdpa" if gpu else "eager"
        self.model = load_model(config.model, resolve_dtype(config.dtype), attention, config.trust_remote_code)
        self.model.to("cuda" if gpu else "cpu")
        family = family_of(self.model.config)
        text = self.model.config.get_text_config()
        holds = int(getattr(text, "max_position_embeddings", 0) or 2**20)
        stops, lead = stop_tokens(self.model, processor), answer_lead(processor)
        self.asker = Asker(processor, family, stops, lead, holds, config.image_pixels)
        self._names: dict[str, str] = {}
        self._added = 0

    def add(self, name: str, path: Path) -> None:
        """Load an adapter. peft makes a module's name of an adapter's, which may hold no dot, so it gets a plain
        one."""
        inner = f"adapter{self._added}"
        self._added += 1
        self.model = add_adapter(self.model, inner, path)
        self._names[name] = inner

    def remove(self, name: str) -> None:
        """Unload an adapter."""
        self.model = remove_adapter(self.model, self._names.pop(name))

    def known(self, name: str | None) -> str | None:
        """What peft calls the adapter. Raises StudentError if it was not loaded."""
        if name is not None and name not in self._names:
            raise StudentError(f"no adapter is loaded under the name {name}; load it first")
        return None if name is None else self._names[name]
