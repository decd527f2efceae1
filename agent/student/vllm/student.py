"""The vLLM engine: the student behind an OpenAI-compatible server, many requests at a time.

The server starts when it is first needed, with room for what is asked. A dead or hung one is started again, at most three
times in a run, and only what was in flight is asked again. An adapter gets a name that was never used before, since vLLM may
serve an earlier one's cache under the same name, and is looked at by the canary each time that a server has loaded it.

Unlike the embedded engine's, replies may depend in the last digits of a probability on what else is asked at the time; so a run
that was killed and goes on can give another answer where two tokens are about equally likely.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing
from pathlib import Path

from agent.chat.stop import Stop
from agent.chat.stream import all_done, as_done
from agent.config.schema import StudentConfig
from agent.student.engine import Reply, Request
from agent.student.vllm.messages import answer_body, mean_tails, read_answer, read_body, read_prompt
from agent.student.vllm.server.client import RefusedError
from agent.student.vllm.serving import Serving
from retrieval.errors import ConfigError, DataError
from training.families.families import family_of, load_config


class VllmStudent:
    """The `Student` on vLLM."""

    def __init__(
        self,
        config: StudentConfig,
        work: Path,
        say: Callable[[str], None] = lambda line: None,
        stop: Stop | None = None,
    ) -> None:
        """`work`: where log and merged weights go. `say` gets a line for what a user would want to know. When a
        `stop` is asked for, requests that are on their way come in.

        Raises ConfigError if the model is none or of a family that vLLM cannot serve, or the key of a server is not set.
        """
        check_served(config)
        self.config = config
        self.serving = Serving(config, work, say, stop or Stop())

    async def answer(
        self, requests: Sequence[Request], adapter: str | None = None, done: Collection[str] = ()
    ) -> AsyncIterator[Reply]:
        """See `Student.answer`. What cannot be read, is too long for the model, or is refused by the server, gives an `error`."""
        finished = frozenset(done)
        waiting = [request for request in requests if request.id not in finished]
        if not waiting:
            return
        too_long = await self.serving.make_room(requests)

        async def ask(request: Request) -> Reply:
            if request.id in too_long:
                return Reply(request.id, "", error=too_long[request.id])
            return await self._answer(request, adapter)

        async with aclosing(as_done(waiting, ask, self.config.vllm.concurrency, self.serving.stop)) as replies:
            async for reply in replies:
                yield reply

    async def score(
        self, requests: Sequence[Request], continuations: Sequence[Sequence[str]], adapter: str | None = None
    ) -> list[list[float]]:
        """See `Student.score`. NaN where a request cannot be read; an empty continuation scores 0."""
        if not requests:
            return []
        extended = [
            Request(r.id, r.prompt, r.images, r.prefix + max(some, key=len, default=""))
            for r, some in zip(requests, continuations, strict=True)
        ]
        await self.serving.make_room(extended)

        async def ask(pair: tuple[Request, Sequence[str]]) -> list[float]:
            return await self._score(pair[0], pair[1], adapter)

        return await all_done(
            zip(requests, continuations, strict=True), ask, self.config.vllm.concurrency, self.serving.stop
        )

    async def load_adapter(self, name: str, path: Path) -> None:
        """See `Student.load_adapter`. The server loads it, and the canary looks at it (AdapterError), when it is first asked.
        Raises ConfigError if the folder is no adapter or one that vLLM does not take."""
        await self.serving.add(name, path)

    async def drop_adapter(self, name: str) -> None:
        """See `Student.drop_adapter`."""
        await self.serving.drop(name)

    async def release(self) -> None:
        """See `Student.release`: as `student.vllm.sharing` says. A server of the user's stays up."""
        await self.serving.release()

    def standing(self) -> str:
        """See `Student.standing`: the server's start."""
        return self.serving.standing()

    async def close(self) -> None:
        """See `Student.close`."""
        await self.serving.close()

    async def _answer(self, request: Request, adapter: str | None) -> Reply:
        try:
            body = await asyncio.to_thread(
                answer_body,
                self.serving.measured.as_text(request),
                self.config.max_new_tokens,
                self.serving.measured.picture,
            )
            text, cut = read_answer(await self.serving.ask(body, adapter))
        except (DataError, RefusedError) as error:
            return Reply(request.id, "", error=str(error))
        lead = "" if request.prefix else self.serving.measured.lead
        return Reply(request.id, text.removeprefix(lead), cut=cut)

    async def _score(self, request: Request, continuations: Sequence[str], adapter: str | None) -> list[float]:
        try:
            request = self.serving.measured.as_text(request)
            picture = self.serving.measured.picture
            bodies = [await asyncio.to_thread(read_body, request, picture, more) for more in ("", *continuations)]
            given, *rows = [read_prompt(await self.serving.ask(body, adapter)) for body in bodies]
        except (DataError, RefusedError):
            return [float("nan")] * len(continuations)
        means = mean_tails(given[0], rows)
        return [mean if more else 0.0 for more, mean in zip(continuations, means, strict=True)]


def check_served(config: StudentConfig) -> None:
    """Raise ConfigError if the model is none or of a family that vLLM cannot serve."""
    family = family_of(load_config(config.model, config.trust_remote_code))
    if family.unserved:
        raise ConfigError(
            f"vLLM cannot serve {family.name} as it was trained: {family.unserved}; set student.engine to embedded"
        )
