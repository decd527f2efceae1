"""A run's vLLM server: requests to it, through its being lost and started again."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.chat.stop import Stop
from agent.config.schema import StudentConfig
from agent.student.engine import Request
from agent.student.vllm.gate import Gate
from agent.student.vllm.lives import Life, Lives
from agent.student.vllm.loading import Adapter, needs_of
from agent.student.vllm.messages import read_body, read_prompt
from agent.student.vllm.probing import request_of
from agent.student.vllm.room import Ruler
from agent.student.vllm.server.client import Client, LostError, RefusedError
from retrieval.errors import StudentError
from training.lora.probes import read_probes

#: Times that a server is started again because it died or hung.
RESTARTS = 3
#: Seconds to wait, once, twice, three times as long, for a server that its user has to bring back.
AWAY = 30.0
#: Requests that may be found to end the engine without counting as its own failures.
CULPRITS = 8
#: Times that one request is asked before it is given up: where the engine lives and answers others, and where it was lost.
TRIES, LOSSES = 3, 2


class Serving:
    """A server that is started when it is first asked, and what is loaded there."""

    def __init__(self, config: StudentConfig, work: Path, say: Callable[[str], None], stop: Stop) -> None:
        """As `VllmStudent`'s. Raises ConfigError if the key of a server is not set, or none."""
        self.config, self._work, self._say, self.stop = config, work, say, stop
        self._lives = Lives(config, work, say, self._read)
        self._ruler: Ruler | None = None
        self._adapters: dict[str, Adapter] = {}
        self._restarts = self._culprits = 0
        self._turn, self._gate = asyncio.Lock(), Gate()

    async def add(self, name: str, path: Path) -> None:
        """See `Student.load_adapter`. The server loads it, and the canary looks at it (StudentError), when it is first asked.
        Raises ConfigError if the folder is no adapter or one that vLLM does not take."""
        needs = needs_of(path, self._lives.merges)
        await self.drop(name)
        self._adapters[name] = Adapter(path.resolve())
        self._lives.require(needs)

    async def drop(self, name: str) -> None:
        """See `Student.drop_adapter`."""
        if self._adapters.pop(name, None) is not None:
            await self._lives.drop(name)

    async def release(self) -> None:
        """See `Student.release`: as `student.vllm.sharing` says. A server of the user's stays up."""
        async with self._turn:
            await self._lives.release()

    async def close(self) -> None:
        """See `Student.close`."""
        if self.config.vllm.url:
            for name in list(self._adapters):
                await self.drop(name)
        await self._lives.close()

    def standing(self) -> str:
        """That the server is starting, with how often it was started again; "" if it is up, or not asked for."""
        if not self._turn.locked() or self._lives.now is not None:
            return ""
        again = f", for the {self._restarts + 1}. time" if self._restarts else ""
        return f"the student's server is starting{again}; see {self._work / 'vllm.log'}"

    @property
    def client(self) -> Client:
        """Speaks to the server that is up."""
        return self._lives.server.client

    @property
    def measured(self) -> Ruler:
        """What `make_room` has measured the requests with."""
        assert self._ruler is not None
        return self._ruler

    async def make_room(self, requests: Sequence[Request]) -> dict[str, str]:
        """Note what the requests need; why those that are too long cannot be asked, by id."""
        if self._ruler is None:
            self._ruler = await asyncio.to_thread(Ruler, self.config)
        ruler = self._ruler
        probes = [request_of(probe) for adapter in self._adapters.values() for probe in read_probes(adapter.path)]
        asked = [*requests, *probes]
        lengths = await asyncio.to_thread(ruler.lengths, asked)
        self._lives.require(ruler.needs(asked, lengths))
        return {
            request.id: f"{length} tokens with an answer of {self.config.max_new_tokens}, and the student holds {ruler.holds}"
            for request, length in zip(requests, lengths, strict=False)
            if length > ruler.holds
        }

    async def _there(self, name: str | None) -> tuple[str, Life]:
        """Have the server up with this adapter (None: the base model); its name there and the server's life.

        Raises StudentError if an adapter of that name was not loaded.
        """
        if name is not None and name not in self._adapters:
            raise StudentError(f"no adapter is loaded under the name {name}; load it first")
        adapter = self._adapters[name] if name is not None else None
        async with self._turn:
            for _ in range(RESTARTS + 1):
                try:
                    return await self.stop.cut_short(self._lives.bring_up(name, adapter))
                except LostError as lost:
                    await self._lost(str(lost))
        raise StudentError(f"the student's server does not stay up; see {self._work / 'vllm.log'}")

    async def ask(self, body: dict[str, Any], adapter: str | None) -> Any:
        """One request to the model or adapter, through restarts. Raises RefusedError, StudentError, StoppedError."""
        tries, losses, reason = 0, 0, ""
        while tries < TRIES and losses < LOSSES:
            self.stop.check()
            async with self._gate.passage(alone=losses > 0):
                model, life = await self._there(adapter)
                try:
                    return await self._send(body, model)
                except LostError as lost:
                    reason = str(lost)
                    alive = await self._is_alive(life, model, reason)
                    tries, losses = tries + alive, losses + life.lost
                except RefusedError as error:
                    if error.status in (401, 403):
                        raise StudentError(
                            f"the student's server refuses the key (HTTP {error.status}: {error}); "
                            "check student.vllm.api_key_env"
                        ) from None
                    if error.status != 404 or adapter is None:
                        raise
                    reason = str(error)  # a server that was started again by its owner has no adapters
                    await self._mark_gone(life)
                    tries += 1
        if losses == LOSSES:
            if self._culprits < CULPRITS:
                self._culprits, self._restarts = self._culprits + 1, max(0, self._restarts - LOSSES)
            raise RefusedError(f"the server was lost {LOSSES} times while this was asked ({reason})", 0)
        raise RefusedError(f"{reason}, though the server answers others", 0)

    async def _send(self, body: dict[str, Any], model: str) -> Any:
        special = {"add_special_tokens": self.measured.adds_special}
        return await self.client.post("/v1/chat/completions", {**body, **special, "model": model})

    async def _read(self, request: Request, model: str) -> tuple[list[int], list[float]]:
        body = await asyncio.to_thread(read_body, request, self.measured.picture)
        return read_prompt(await self._send(body, model))

    async def _lost(self, why: str) -> None:
        """Make ready for another start of a server that was lost. Raises StudentError where there may be none."""
        if self._lives.now is not None:
            self._lives.now.lost = True
        await self._lives.end()
        if self._restarts == RESTARTS:
            raise StudentError(
                f"the student's server was lost {RESTARTS + 1} times, the last time because: {why}; see {self._work / 'vllm.log'}"
            )
        self._restarts += 1
        self._say(f"the student's server was lost ({why}); starting it again")
        if self.config.vllm.url:
            await self.stop.sleeper(asyncio.sleep)(AWAY * self._restarts)  # it is the user's to bring back

    async def _mark_gone(self, life: Life) -> None:
        """Have adapters loaded again, unless that was seen to since."""
        async with self._turn:
            if self._lives.now is life:
                self._lives.forget()

    async def _is_alive(self, life: Life, model: str, reason: str) -> bool:
        """Whether the engine that was asked still answers; if not, and nobody else has seen to it, make ready for another
        start."""
        async with self._turn:
            if self._lives.now is not life:
                return False
            try:
                await self.client.probe(model)
            except LostError:
                await self._lost(reason)
                return False
            except RefusedError:
                self._lives.forget()  # it is another life already, without its adapters
            return True
