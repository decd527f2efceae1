"""An adapter on a server: what it needs there, loaded under a name of its own, and looked at by the canary."""

import asyncio
import contextlib
import itertools
import secrets
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from agent.config.schema import StudentConfig
from agent.student.adapters import check_adapter
from agent.student.vllm.probing import Read, look
from agent.student.vllm.server.client import Client, LostError, RefusedError
from agent.student.vllm.server.needs import Needs, room_for
from retrieval.errors import AdapterError, ConfigError, StudentError
from retrieval.storage.files import file_digest, read_json
from training.lora.probes import read_probes


@dataclass
class Adapter:
    """An adapter that the loop has loaded: its folder, that of the weights that it was merged into, and what the canary says
    where it refuses it."""

    path: Path
    merged: Path | None = None
    refusal: AdapterError | ConfigError | None = None


class Loader:
    """Loads adapters and has the canary look at them; `read` asks the server."""

    def __init__(self, config: StudentConfig, read: Read) -> None:
        self._config, self._read = config, read
        # A server of the user's may still have what an earlier process of the run loaded.
        self._names = (f"{secrets.token_hex(3)}-{number}" for number in itertools.count(1))

    async def load(self, client: Client, adapter: Adapter, base: str, needs: Needs) -> str:
        """Load it beside the model `base`; its name there. Raises AdapterError, or ConfigError on a server of the user's."""
        digest = file_digest(adapter.path / "adapter_model.safetensors")
        served = f"{adapter.path.parent.name}-{digest[:12]}-{next(self._names)}"
        try:
            await client.post("/v1/load_lora_adapter", {"lora_name": served, "lora_path": str(adapter.path)})
        except (LostError, RefusedError) as error:
            if isinstance(error, LostError):
                # An engine that lives answers with HTTP 500 too where it cannot take an adapter.
                await client.probe(base)
                if not error.status:
                    raise
            if url := self._config.vllm.url:
                raise ConfigError(
                    f"the server at {url} does not take the adapter ({error}); start it with --enable-lora "
                    f"--max-lora-rank {room_for(needs.rank)} and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and let it read "
                    f"{adapter.path}"
                ) from None
            raise AdapterError(f"vLLM does not take the adapter in {adapter.path}: {error}") from None
        return served

    async def look(self, adapter: Adapter, served: str, base: str | None = None) -> tuple[str | None, str]:
        """See `probing.look`. Raises StudentError if the server refuses the canary's prompt."""
        probes = await asyncio.to_thread(read_probes, adapter.path)
        try:
            return await look(probes, self._read, served, base)
        except RefusedError as error:
            raise StudentError(f"the student's server refuses the canary's prompt: {error}") from None


async def unload(client: Client, served: str) -> None:
    """Have a server forget an adapter."""
    with contextlib.suppress(LostError, RefusedError):  # it is gone then
        await client.post("/v1/unload_lora_adapter", {"lora_name": served})


def needs_of(path: Path, merged: bool) -> Needs:
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
