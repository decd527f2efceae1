"""The lives of a run's server: up with room for what is asked and with the adapter that is asked for, asleep, ended."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.config.schema import StudentConfig
from agent.student.vllm.loading import Adapter, Loader, unload
from agent.student.vllm.probing import Read
from agent.student.vllm.server.client import LostError, RefusedError
from agent.student.vllm.server.named import NamedServer
from agent.student.vllm.server.needs import SERVED, Needs, Server
from agent.student.vllm.server.own import OwnServer
from retrieval.errors import AdapterError, ConfigError, StudentError
from training.lora.merge import merged_folder

#: What vLLM says of a family that it takes no adapter for.
_NO_ADAPTERS = "does not support LoRA"


@dataclass(eq=False)
class Life:
    """What is up: which weights with how much room (None: as the user has started it), and the names there of adapters that it
    has loaded, by ours. A server that has lost its adapters begins another life."""

    model: str
    needs: Needs | None
    loaded: dict[str, str] = field(default_factory=dict)
    asleep: bool = False
    slept: bool = False
    lost: bool = False

    def holds(self, needs: Needs) -> bool:
        """Whether there is room."""
        return self.needs is None or self.needs | needs == self.needs


class Lives:
    """One server, of which one life at most is there. Callers take turns."""

    def __init__(self, config: StudentConfig, work: Path, say: Callable[[str], None], read: Read) -> None:
        """Raises ConfigError if the key of a server is not set, or none."""
        self._config, self._work, self._say = config, work, say
        self.server: Server = NamedServer(config) if config.vllm.url else OwnServer(config, work)
        self._loader = Loader(config, read)
        self._needs = Needs()
        #: Whether merged weights are served: asked for, or since vLLM takes no adapter for the model.
        self.merges = config.vllm.serve == "merged"
        self._sleeps = config.vllm.sharing == "sleep"
        self._closed = False
        self.now: Life | None = None

    @property
    def needs(self) -> Needs:
        """What the next life must have room for."""
        return replace(self._needs, rank=0, layers=frozenset()) if self.merges else self._needs

    def require(self, needs: Needs) -> None:
        """Note what more there must be room for."""
        self._needs |= needs

    async def bring_up(self, name: str | None, adapter: Adapter | None) -> tuple[str, Life]:
        """Have the server up with an adapter (None: the base model) that is ours under `name`; what it is called there, and the
        server's life. Raises LostError, StudentError, ConfigError."""
        if adapter is not None and adapter.refusal is not None:
            raise adapter.refusal
        merged = adapter if self.merges else None
        model = self._config.model if merged is None else await self._merged(merged)
        if self.now is not None and (self.now.model != model or not self.now.holds(self.needs)):
            await self.end()
        if self.now is None:
            try:
                await self._start(model)
            except StudentError as error:
                if _NO_ADAPTERS not in str(error) or self._config.vllm.serve != "auto":
                    raise
                self._say("vLLM takes no adapter for the student's family, so merged weights are served")
                self.merges = True
                return await self.bring_up(name, adapter)
            if merged is not None:
                await self._look_at(merged, SERVED)
        elif self.now.asleep:
            await self._wake(self.now)
            if merged is not None:
                await self._look_at(merged, SERVED)
        life = self.life()
        if name is None or adapter is None or merged is not None:
            return self.server.model, life
        if name not in life.loaded:
            await self._load(life, name, adapter)
        return life.loaded[name], life

    def life(self) -> Life:
        """The one that is there. Raises LostError if there is none."""
        if self.now is None:
            raise LostError("it was ended")
        return self.now

    async def drop(self, name: str) -> None:
        """Have an adapter forgotten."""
        if self.now is not None and (served := self.now.loaded.pop(name, None)):
            await unload(self.server.client, served)

    async def release(self) -> None:
        """Make room on the GPU, as `student.vllm.sharing` says. A server of the user's stays up."""
        vllm = self._config.vllm
        if self.now is None or vllm.url or vllm.sharing == "shared":
            return
        if self._sleeps:
            try:
                await self.server.client.post("/sleep?level=1", {})
                self.now.asleep = True
                return
            except (LostError, RefusedError) as error:
                self._say(f"vLLM did not fall asleep ({error}), so it is ended")
        await self.end()

    def forget(self) -> None:
        """The server is there, but has no adapters any more."""
        if self.now is not None:
            self.now = replace(self.now, loaded={})

    async def end(self) -> None:
        """End it."""
        self.now = None
        await self.server.stop()

    async def close(self) -> None:
        """End it for good."""
        self._closed = True
        await self.end()

    async def _start(self, model: str) -> None:
        if self._closed:
            raise StudentError("the student was closed")
        needs = self.needs  # more may be needed by the time that it is up
        await self.server.start(model, needs)
        self.now = Life(model, None if self._config.vllm.url else needs)
        self._say_if_other()

    async def _wake(self, life: Life) -> None:
        """Adapters are loaded again by a server that has slept."""
        try:
            await self.server.client.post("/wake_up", {})
            await self.server.client.probe(SERVED)
        except RefusedError as error:
            raise LostError(f"it does not wake up: {error}") from None
        self.now = Life(life.model, life.needs, slept=True)
        for served in life.loaded.values():
            await unload(self.server.client, served)

    def _say_if_other(self) -> None:
        """A server of the user's may serve the student from another folder, or another model; only its name tells."""
        root, model = self.server.root, self._config.model
        if root and Path(root).name != Path(model).name:
            self._say(f"the server at {self._config.vllm.url} serves {root}; it should be the student's model, {model}")

    async def _merged(self, adapter: Adapter) -> str:
        if adapter.merged is None or not adapter.merged.is_dir():
            trust = self._config.trust_remote_code
            adapter.merged = await merged_folder(self._config.model, adapter.path, self._work / "vllm", trust)
        return str(adapter.merged)

    async def _load(self, life: Life, name: str, adapter: Adapter) -> None:
        base, client = self.server.model, self.server.client
        served = await self._loader.load(client, adapter, base, self.needs)
        try:
            await self._look_at(adapter, served, base)
        except LostError:
            raise
        except BaseException:
            await unload(client, served)
            raise
        life.loaded[name] = served

    async def _look_at(self, adapter: Adapter, served: str, base: str | None = None) -> None:
        """The canary; raises AdapterError if what is served does not answer as the adapter does under peft, ConfigError if that
        is on a server of the user's, who can put it right."""
        refusal, measured = await self._loader.look(adapter, served, base)
        if refusal is None:
            self._say(f"the canary passes: {measured}")
            return
        if self.now is not None and self.now.slept:
            self._sleeps = False
            raise LostError(f"after its sleep the canary refuses the adapter, so it sleeps no more: {refusal}")
        if base is None:
            await self.end()
        said = f"the canary refuses the adapter in {adapter.path}: {refusal}"
        url = self._config.vllm.url
        adapter.refusal = ConfigError(f"{said}; look at what the server at {url} serves") if url else AdapterError(said)
        raise adapter.refusal
