"""A vLLM server that is started for a run and ends with it, on the loopback device."""

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import sys
import time
from pathlib import Path

import psutil

from agent.config.schema import StudentConfig
from agent.student.vllm.server.client import Client, LostError, RefusedError
from agent.student.vllm.server.needs import SERVED, Needs, room_for
from agent.student.vllm.server.process_group import end_group
from retrieval.errors import ConfigError, StudentError
from retrieval.storage.files import read_json, storage_errors, write_json

#: Seconds to end a server.
GRACE = 20.0
#: Run as a file, so that nothing of ours is imported.
_LAUNCH = Path(__file__).with_name("launch.py")


class OwnServer:
    """A server in a process group of its own, listening on 127.0.0.1 under a key of its own. It ends with this process, however
    that ends; what a killed run has left is ended before a new one starts."""

    def __init__(self, config: StudentConfig, work: Path) -> None:
        self.config, self.model, self.root = config, SERVED, ""
        self.log = work / "vllm.log"
        self._record = work / "vllm.json"
        self._process: asyncio.subprocess.Process | None = None
        self._key = secrets.token_urlsafe(24)
        self.client = Client("http://127.0.0.1:1", self._key, 1, 1)

    async def start(self, model: str, needs: Needs) -> None:
        """Start it on `model`. Raises ConfigError for a port in use or vLLM missing, StudentError if it does not come up."""
        await self.stop()
        port = free_port(self.config.vllm.port)
        with storage_errors(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            output = open(self.log, "ab")  # noqa: SIM115 - closed below
        with output:
            start = output.tell()
            command = [sys.executable, str(_LAUNCH), str(os.getpid()), *command_of(self.config, model, needs, port)]
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=_environment(self.config, self._key),
            )  # fmt: skip
        with contextlib.suppress(psutil.NoSuchProcess):  # it has died already, which `_wait_ready` tells
            began = psutil.Process(self._process.pid).create_time()
            write_json(self._record, {"schema": 1, "pid": self._process.pid, "began": began})
        await self.client.close()
        vllm = self.config.vllm
        self.client = Client(f"http://127.0.0.1:{port}", self._key, vllm.timeout, vllm.concurrency)
        try:
            await self._wait_ready(start)
        except BaseException:
            await self.stop()
            raise

    async def _wait_ready(self, start: int) -> None:
        """Wait until a token was said. Raises ConfigError, StudentError with what the log says."""
        assert self._process is not None
        end = time.monotonic() + self.config.vllm.start_timeout
        while time.monotonic() < end:
            if self._process.returncode is not None:
                raise self._failure(start)
            try:
                return await self.client.probe(SERVED)
            except LostError:
                pass
            except RefusedError as error:
                raise StudentError(f"vLLM refuses the plainest request: {error}; see {self.log}") from None
            await asyncio.sleep(0.5)
        raise StudentError(
            f"vLLM did not come up within {self.config.vllm.start_timeout:g} s; see {self.log}, "
            "or raise student.vllm.start_timeout"
        )

    def _failure(self, start: int) -> ConfigError | StudentError:
        with open(self.log, "rb") as file:
            file.seek(start)
            said = file.read().decode(errors="replace")
        if "No module named 'vllm'" in said or 'No module named "vllm"' in said:
            python = self.config.vllm.python
            where = f"the environment of {python}" if python else "this environment"
            return ConfigError(
                f"vLLM is not installed in {where}; pip install 'gaptutor[vllm]', name another at student.vllm.python, "
                "or set student.engine to embedded"
            )
        return StudentError(f"vLLM could not start: {cause_in(said)}; see {self.log}")

    async def stop(self) -> None:
        """End it with all its processes, and what an earlier, killed process of this run left."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(process.wait()), GRACE)
        if self._record.is_file():
            left = read_json(self._record)
            await asyncio.to_thread(end_group, left["pid"], left["began"], process is not None, GRACE)
            self._record.unlink(missing_ok=True)
        if process is not None:
            await process.wait()
        await self.client.close()


def command_of(config: StudentConfig, model: str, needs: Needs, port: int) -> list[str]:
    """What starts vLLM's server on a model, with so much room."""
    vllm = config.vllm
    options: dict[str, str | int | float] = {
        "--model": model,
        "--served-model-name": SERVED,
        "--host": "127.0.0.1",
        "--port": port,
        "--max-model-len": needs.length,
        "--limit-mm-per-prompt": json.dumps({"image": needs.images, "video": 0}),
        "--dtype": config.dtype,
        # Of a checkpoint that holds Mistral's own format as well, vLLM would take that one, with other names of weights.
        "--config-format": "hf",
        "--tokenizer-mode": "hf",
        "--load-format": "hf",
        "--gpu-memory-utilization": vllm.gpu_memory,
        "--seed": 0,
    }
    flags = []
    if needs.rank:
        flags += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(room_for(needs.rank))]
        # Named, since vLLM would make room at the output layer too, and its CPU build then fails at reading a prompt's
        # log-probabilities through an adapter.
        flags += ["--lora-target-modules", *sorted(needs.layers)]
    if config.trust_remote_code:
        flags.append("--trust-remote-code")
    if vllm.sharing == "sleep":
        flags.append("--enable-sleep-mode")
    python = str(vllm.python or sys.executable)
    # The module, not the console script: that one asks for a package named vllm, which CPU builds are not.
    command = [python, "-m", "vllm.entrypoints.openai.api_server", *flags]
    return [*command, *(str(part) for pair in options.items() for part in pair), *vllm.args]


def _environment(config: StudentConfig, key: str) -> dict[str, str]:
    return {
        **os.environ,
        "VLLM_API_KEY": key,  # a command line can be read by every user of the machine
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "VLLM_SERVER_DEV_MODE": "1" if config.vllm.sharing == "sleep" else "0",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        **({"CUDA_VISIBLE_DEVICES": config.vllm.gpus} if config.vllm.gpus else {}),
    }


def free_port(wanted: int | None) -> int:
    """`wanted`, or a port that is free. Raises ConfigError if `wanted` is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise ConfigError(
                f"port {wanted} cannot be used ({error.strerror}); name another at student.vllm.port, or none"
            ) from None
        return int(probe.getsockname()[1])


#: What vLLM's log says above the cause, and what is the cause.
_ERROR = re.compile(
    r"(?:^|\s)(?:Value error, (?=.)|(?:\w+\.)*\w*(?:Error|Exception): (?!.*validation errors? for)|.*error: )(.+)$"
)


def cause_in(said: str) -> str:
    """The line that tells why: of the errors the first, since those after it come of it."""
    found = [match[1] for line in said.splitlines() if (match := _ERROR.search(line))]
    lines = [line for line in said.splitlines() if line.strip()]
    return (found[0] if found else lines[-1] if lines else "it said nothing").strip()[:400]
