"""A run's vLLM server: up with room for what is asked, with the adapter that is asked for, and again when it was lost."""

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from agent.config.schema import StudentConfig
from agent.student.adapters import check_adapter
from agent.student.engine import Request
from agent.student.vllm.messages import read_body, read_prompt
from agent.student.vllm.probing import look, request_of
from agent.student.vllm.room import Ruler
from agent.student.vllm.server import SERVED, Client, LostError, NamedServer, Needs, OwnServer, RefusedError, room_for
from retrieval.errors import AdapterError, ConfigError, StudentError
from retrieval.storage.files import file_digest, read_json
from training.lora.merge import merged_folder
from training.lora.probes import read_probes

#: Times that a server is started again because it died or hung.
RESTARTS = 3
#: Seconds to wait, once, twice, three times as long, for a server that its user has to bring back.
AWAY = 30.0
#: Requests that may be found to end the engine without counting as its own failures.
CULPRITS = 8
#: Times that one request is asked before it is given up: where the engine lives and answers others, and where it was lost.
TRIES, LOSSES = 3, 2
#: What vLLM says of a family that it takes no adapter for.
_NO_ADAPTERS = "does not support LoRA"


@dataclass
class Adapter:
    """An adapter that the loop has loaded: its folder, its name on the server that is up ("" if it is not there), the folder
    of the weights that it was merged into, and what the canary says where it refuses it."""

    path: Path
    served: str = ""
    merged: Path | None = None
    refusal: AdapterError | ConfigError | None = None


@dataclass
class _Up:
    """What is up: which weights with how much room (None: as the user has started it), and in which of the server's lives."""

    model: str
    needs: Needs | None
    life: int
    asleep: bool = False
    slept: bool = False

    def holds(self, needs: Needs) -> bool:
        """Whether there is room."""
        return self.needs is None or self.needs | needs == self.needs


class Serving:
    """A server that is started when it is first asked, and what is loaded there."""

    def __init__(self, config: StudentConfig, work: Path, say: Callable[[str], None]) -> None:
        """As `VllmStudent`'s. Raises ConfigError if the key of a server is not set, or none."""
        self.config, self._work, self._say = config, work, say
        self._server: OwnServer | NamedServer = NamedServer(config) if config.vllm.url else OwnServer(config, work)
        self._ruler: Ruler | None = None
        self._needs = Needs()
        #: Whether merged weights are served: asked for, or since vLLM takes no adapter for the model.
        self._merges = config.vllm.serve == "merged"
        self._up: _Up | None = None
        self._lives = itertools.count(1)
        # A server of the user's may still have what an earlier process of the run loaded.
        self._names = (f"{secrets.token_hex(3)}-{number}" for number in itertools.count(1))
        self._restarts = self._culprits = 0
        self._lost_lives: set[int] = set()
        self._sleeps = config.vllm.sharing == "sleep"
        self._adapters: dict[str, Adapter] = {}
        self._turn, self._gate = asyncio.Lock(), asyncio.Condition()
        self._asking = self._suspects = 0
        self._closed = False

    async def add(self, name: str, path: Path) -> None:
        """See `Student.load_adapter`. The server loads it, and the canary looks at it (StudentError), when it is first asked.
        Raises ConfigError if the folder is no adapter or one that vLLM does not take."""
        merges = self._merges
        needs = _needs_of(path, merges)
        await self.drop(name)
        self._adapters[name] = Adapter(path.resolve())
        if not merges:
            self._needs |= needs

    async def drop(self, name: str) -> None:
        """See `Student.drop_adapter`."""
        adapter = self._adapters.pop(name, None)
        if adapter is not None and adapter.served and self._up is not None and not self._merges:
            await self._unload(adapter.served)

    async def release(self) -> None:
        """See `Student.release`: as `student.vllm.sharing` says. A server of the user's stays up."""
        async with self._turn:
            if self._up is None or self.config.vllm.url or self.config.vllm.sharing == "shared":
                return
            if self._sleeps:
                try:
                    await self.client.post("/sleep?level=1", {})
                    self._up.asleep = True
                    return
                except (LostError, RefusedError) as error:
                    self._say(f"vLLM did not fall asleep ({error}), so it is ended")
            await self._down()

    async def close(self) -> None:
        """See `Student.close`."""
        self._closed = True
        if self.config.vllm.url:
            for name in list(self._adapters):
                await self.drop(name)
        await self._down()

    @property
    def client(self) -> Client:
        """Speaks to the server that is up."""
        return self._server.client

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
        self._needs |= ruler.needs(asked, lengths)
        return {
            request.id: f"{length} tokens with an answer of {self.config.max_new_tokens}, and the student holds {ruler.holds}"
            for request, length in zip(requests, lengths, strict=False)
            if length > ruler.holds
        }

    async def _there(self, name: str | None) -> tuple[str, int]:
        """Have the server up with this adapter (None: the base model); its name there and the server's life.

        Raises StudentError if an adapter of that name was not loaded.
        """
        if name is not None and name not in self._adapters:
            raise StudentError(f"no adapter is loaded under the name {name}; load it first")
        adapter = self._adapters[name] if name is not None else None
        async with self._turn:
            for _ in range(RESTARTS + 1):
                try:
                    return await self._bring_up(adapter)
                except LostError as lost:
                    await self._lost(str(lost))
        raise StudentError(f"the student's server does not stay up; see {self._work / 'vllm.log'}")

    async def _bring_up(self, adapter: Adapter | None) -> tuple[str, int]:
        if adapter is not None and adapter.refusal is not None:
            raise adapter.refusal
        merged = adapter if self._merges else None
        model = self.config.model if merged is None else await self._merged(merged)
        if self._up is not None and (self._up.model != model or not self._up.holds(self._needs)):
            await self._down()
        if self._up is None:
            if self._closed:
                raise StudentError("the student was closed")
            needs = self._needs  # more may be needed by the time that it is up
            try:
                await self._server.start(model, needs)
            except StudentError as error:
                if _NO_ADAPTERS not in str(error) or self.config.vllm.serve != "auto":
                    raise
                self._say("vLLM takes no adapter for the student's family, so merged weights are served")
                self._merges, self._needs = True, replace(self._needs, rank=0, layers=frozenset())
                return await self._bring_up(adapter)
            self._up = _Up(model, None if self.config.vllm.url else needs, next(self._lives))
            self._say_if_other()
            if merged is not None:
                await self._look_at(merged, SERVED)
        elif self._up.asleep:
            await self._wake()
            self._up = _Up(model, self._up.needs, next(self._lives), slept=True)
            await self._forget()
            if merged is not None:
                await self._look_at(merged, SERVED)
        base = self._server.model if isinstance(self._server, NamedServer) else SERVED
        if adapter is None or merged is not None:
            return base, self._up.life
        if not adapter.served:
            await self._load(adapter, base)
        return adapter.served, self._up.life

    async def _wake(self) -> None:
        try:
            await self.client.post("/wake_up", {})
            await self.client.probe(SERVED)
        except RefusedError as error:
            raise LostError(f"it does not wake up: {error}") from None

    def _say_if_other(self) -> None:
        """A server of the user's may serve the student from another folder, or another model; only its name tells."""
        if isinstance(self._server, NamedServer) and self._server.root:
            root, model = self._server.root, self.config.model
            if Path(root).name != Path(model).name:
                self._say(
                    f"the server at {self.config.vllm.url} serves {root}; it should be the student's model, {model}"
                )

    async def _merged(self, adapter: Adapter) -> str:
        if adapter.merged is None or not adapter.merged.is_dir():
            trust = self.config.trust_remote_code
            adapter.merged = await merged_folder(self.config.model, adapter.path, self._work / "vllm", trust)
        return str(adapter.merged)

    async def _load(self, adapter: Adapter, base: str) -> None:
        digest = file_digest(adapter.path / "adapter_model.safetensors")
        served = f"{adapter.path.parent.name}-{digest[:12]}-{next(self._names)}"
        try:
            await self.client.post("/v1/load_lora_adapter", {"lora_name": served, "lora_path": str(adapter.path)})
        except (LostError, RefusedError) as error:
            if isinstance(error, LostError):
                # An engine that lives answers with HTTP 500 too where it cannot take an adapter.
                await self.client.probe(base)
                if not error.status:
                    raise
            if self.config.vllm.url:
                raise ConfigError(
                    f"the server at {self.config.vllm.url} does not take the adapter ({error}); start it with --enable-lora "
                    f"--max-lora-rank {room_for(self._needs.rank)} and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and let it read "
                    f"{adapter.path}"
                ) from None
            raise AdapterError(f"vLLM does not take the adapter in {adapter.path}: {error}") from None
        try:
            await self._look_at(adapter, served, base)
        except LostError:
            raise
        except BaseException:
            await self._unload(served)
            raise
        adapter.served = served

    async def _unload(self, served: str) -> None:
        with contextlib.suppress(LostError, RefusedError):  # it is gone then
            await self.client.post("/v1/unload_lora_adapter", {"lora_name": served})

    async def _look_at(self, adapter: Adapter, served: str, base: str | None = None) -> None:
        """The canary; raises AdapterError if what is served does not answer as the adapter does under peft, ConfigError if that
        is on a server of the user's, who can put it right."""
        probes = await asyncio.to_thread(read_probes, adapter.path)
        try:
            refusal, measured = await look(probes, self._read, served, base)
        except RefusedError as error:
            raise StudentError(f"the student's server refuses the canary's prompt: {error}") from None
        if refusal is None:
            self._say(f"the canary passes: {measured}")
            return
        if self._up is not None and self._up.slept:
            self._sleeps = False
            raise LostError(f"after its sleep the canary refuses the adapter, so it sleeps no more: {refusal}")
        if base is None:
            await self._down()
        said = f"the canary refuses the adapter in {adapter.path}: {refusal}"
        url = self.config.vllm.url
        adapter.refusal = ConfigError(f"{said}; look at what the server at {url} serves") if url else AdapterError(said)
        raise adapter.refusal

    async def _read(self, request: Request, model: str) -> tuple[list[int], list[float]]:
        body = await asyncio.to_thread(read_body, request, self.measured.picture)
        return read_prompt(await self._send(body, model))

    async def _forget(self) -> None:
        """Have adapters loaded again by a server that has slept."""
        for adapter in self._adapters.values():
            if adapter.served:
                await self._unload(adapter.served)
        self._gone()

    async def _down(self) -> None:
        self._up = None
        self._gone()
        await self._server.stop()

    async def _lost(self, why: str) -> None:
        """Make ready for another start of a server that was lost. Raises StudentError where there may be none."""
        if self._up is not None:
            self._lost_lives.add(self._up.life)
        await self._down()
        if self._restarts == RESTARTS:
            raise StudentError(
                f"the student's server was lost {RESTARTS + 1} times, the last time because: {why}; see {self._work / 'vllm.log'}"
            )
        self._restarts += 1
        self._say(f"the student's server was lost ({why}); starting it again")
        if self.config.vllm.url:
            await asyncio.sleep(AWAY * self._restarts)  # it is the user's to bring back

    async def ask(self, body: dict[str, Any], adapter: str | None) -> Any:
        """One request to the model or adapter, through restarts. Raises RefusedError, StudentError."""
        tries, losses, reason = 0, 0, ""
        while tries < TRIES and losses < LOSSES:
            async with self._passage(alone=losses > 0):
                model, life = await self._there(adapter)
                try:
                    return await self._send(body, model)
                except LostError as lost:
                    reason = str(lost)
                    alive = await self._is_alive(life, model, reason)
                    tries, losses = tries + alive, losses + (life in self._lost_lives)
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

    @contextlib.asynccontextmanager
    async def _passage(self, alone: bool) -> AsyncIterator[None]:
        """Ask at the same time as others, or alone: what was in flight when the engine was lost is asked so, one by one, before
        all else, so that a request that ends the engine takes no other with it."""
        async with self._gate:
            self._suspects += alone
            try:
                await self._gate.wait_for(lambda: not (self._asking if alone else self._suspects))
            except BaseException:
                self._suspects -= alone
                self._gate.notify_all()
                raise
            self._asking += 1
        try:
            yield
        finally:
            async with self._gate:
                self._asking -= 1
                self._suspects -= alone
                self._gate.notify_all()

    async def _send(self, body: dict[str, Any], model: str) -> Any:
        special = {"add_special_tokens": self.measured.adds_special}
        return await self.client.post("/v1/chat/completions", {**body, **special, "model": model})

    async def _mark_gone(self, life: int) -> None:
        """Have adapters loaded again, unless that was seen to since."""
        async with self._turn:
            if self._up is not None and self._up.life == life:
                self._gone()

    def _gone(self) -> None:
        for adapter in self._adapters.values():
            adapter.served = ""
        if self._up is not None:
            self._up.life = next(self._lives)

    async def _is_alive(self, life: int, model: str, reason: str) -> bool:
        """Whether the engine that was asked still answers; if not, and nobody else has seen to it, make ready for another
        start."""
        async with self._turn:
            if self._up is None or self._up.life != life:
                return False
            try:
                await self.client.probe(model)
            except LostError:
                await self._lost(reason)
                return False
            except RefusedError:
                self._gone()  # it is another life already, without its adapters
            return True


def _needs_of(path: Path, merged: bool) -> Needs:
    """What the adapter in a folder needs. Raises ConfigError if it is none, or one that vLLM does not take."""
    check_adapter(path)
    settings = read_json(path / "adapter_config.json")
    for key, what in (("use_dora", "DoRA"), ("modules_to_save", "whole modules (modules_to_save)")):
        if settings.get(key) and not merged:
            raise ConfigError(f"{path} uses {what}, which vLLM does not take; set student.vllm.serve to merged")
    rank = int(settings.get("r") or 1)
    if not merged:
        room_for(rank)
    with safe_open(str(path / "adapter_model.safetensors"), "pt") as file:
        layers = frozenset(name.split(".lora_")[0].rpartition(".")[2] for name in file.keys())  # noqa: SIM118
    return Needs(rank=rank, layers=layers)
