"""A vLLM server: the one that is started for a run and ends with it, or one that the user names.

It is spoken to over HTTP on the loopback device. The key guards the paths under /v1 only; it is no isolation from other users of
the machine.
"""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx2
import psutil

from agent.chat.key import forms_of, read_key
from agent.config.schema import StudentConfig
from retrieval.errors import ConfigError, StudentError, TeacherSetupError
from retrieval.storage.files import read_json, storage_errors, write_json

#: Name under which the base model, or merged weights, are served.
SERVED = "student"
#: Ranks that vLLM makes room for (vllm.config.lora).
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
#: Seconds for the one-token answer that shows that an engine is alive, and to end one.
PROBE_SECONDS, GRACE = 30.0, 20.0
#: Run as a file, so that nothing of ours is imported.
_LAUNCH = Path(__file__).with_name("launch.py")


class LostError(Exception):
    """The engine is dead or hangs; `status` is HTTP's, 0 if there was no answer."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class RefusedError(Exception):
    """The server refuses a request; `status` is HTTP's."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Needs:
    """What a server must have room for: tokens of prompt and answer together, images of one prompt, and of adapters the rank
    (0: none) and the last names of the layers that they change."""

    length: int = 0
    images: int = 1
    rank: int = 0
    layers: frozenset[str] = frozenset()

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            max(self.length, other.length),
            max(self.images, other.images),
            max(self.rank, other.rank),
            self.layers | other.layers,
        )


class Server(Protocol):
    """A server that may be up or not."""

    client: "Client"

    async def start(self, model: str, needs: Needs) -> None:
        """Have it up with this model and that much room; an address that answers is enough for a server of the user's.
        Raises ConfigError, StudentError."""
        ...

    async def stop(self) -> None:
        """End it, if it is ours."""
        ...


class Client:
    """Requests to a server's OpenAI-compatible API. Raises LostError or RefusedError."""

    def __init__(self, url: str, key: str, timeout: float, connections: int) -> None:
        self.url, self.key = url, key
        self._shown_keys = forms_of(key)
        limits = httpx2.Limits(max_connections=connections + 4, max_keepalive_connections=connections + 4)
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout, connect=PROBE_SECONDS),
            limits=limits,
            trust_env=False,
        )

    async def post(self, path: str, body: dict[str, Any], timeout: float | None = None) -> Any:
        """The answer to a request, read as JSON where it is."""
        wait = httpx2.USE_CLIENT_DEFAULT if timeout is None else httpx2.Timeout(timeout)
        try:
            reply = await self._http.post(path, json=body, timeout=wait)
        except httpx2.TimeoutException:
            raise LostError("no answer in time") from None
        except httpx2.HTTPError as error:
            raise LostError(f"no connection ({error or type(error).__name__})") from None
        self._check(reply)
        with contextlib.suppress(ValueError):
            return reply.json()
        return reply.text

    async def models(self) -> list[dict[str, Any]]:
        """What the server serves."""
        try:
            reply = await self._http.get("/v1/models", timeout=PROBE_SECONDS)
        except httpx2.HTTPError as error:
            raise LostError(f"no connection ({error or type(error).__name__})") from None
        self._check(reply)
        try:
            found: list[dict[str, Any]] = reply.json()["data"]
        except (ValueError, KeyError, TypeError):
            raise RefusedError("no list of models came back", reply.status_code) from None
        return found

    def _check(self, reply: httpx2.Response) -> None:
        if reply.status_code == 200:
            return
        reason = _reason(reply.text)
        for form in self._shown_keys:
            reason = reason.replace(form, "[key]")
        if reply.status_code >= 500:
            raise LostError(f"HTTP {reply.status_code}: {reason}", reply.status_code)
        raise RefusedError(reason, reply.status_code)

    async def probe(self, model: str) -> None:
        """Raise LostError if the engine does not say a single token; /health can answer while it is dead."""
        body = {"model": model, "messages": [{"role": "user", "content": "Say: ready"}], "max_tokens": 1}
        await self.post("/v1/chat/completions", {**body, "temperature": 0}, PROBE_SECONDS)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _reason(text: str) -> str:
    """What an error body says."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        body = json.loads(text)
        found = body.get("error", body)
        text = str(found["message"] if isinstance(found, dict) else found)
    return " ".join(text.split())[:300]


class OwnServer:
    """A server in a process group of its own, listening on 127.0.0.1 under a key of its own. It ends with this process, however
    that ends; what a killed run has left is ended before a new one starts."""

    def __init__(self, config: StudentConfig, work: Path) -> None:
        self.config = config
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
            command = [sys.executable, str(_LAUNCH), str(os.getpid()), *self._command(model, needs, port)]
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=self._environment(),
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

    def _command(self, model: str, needs: Needs, port: int) -> list[str]:
        vllm, config = self.config.vllm, self.config
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

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "VLLM_API_KEY": self._key,  # a command line can be read by every user of the machine
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
            "VLLM_SERVER_DEV_MODE": "1" if self.config.vllm.sharing == "sleep" else "0",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            **({"CUDA_VISIBLE_DEVICES": self.config.vllm.gpus} if self.config.vllm.gpus else {}),
        }

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
        return StudentError(f"vLLM could not start: {_cause(said)}; see {self.log}")

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
            await asyncio.to_thread(_end_group, left["pid"], left["began"], process is not None)
            self._record.unlink(missing_ok=True)
        if process is not None:
            await process.wait()
        await self.client.close()


def _end_group(pid: int, began: float, ours: bool) -> None:
    """Kill the processes of a group, unless its number has gone to others since, and wait until they have let go of port and
    GPU."""
    if not ours and not _is_left(pid, began):
        return
    members = [process for process in psutil.process_iter() if process.pid != pid and _group_of(process) == pid]
    if not ours:
        with contextlib.suppress(psutil.NoSuchProcess):
            members.append(psutil.Process(pid))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    psutil.wait_procs(members, GRACE)


def _group_of(process: psutil.Process) -> int | None:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return None


def _is_left(pid: int, began: float) -> bool:
    """Whether the group is that of the server that was started then; its first process may have died before its engine."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return abs(psutil.Process(pid).create_time() - began) <= 1
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _group_of(process) == pid and "vllm" in " ".join(process.cmdline()).lower():
                return True
    return False


class NamedServer:
    """A server of the user's at `student.vllm.url`: never started or ended, its base model served under its own name."""

    def __init__(self, config: StudentConfig) -> None:
        vllm = config.vllm
        assert vllm.url is not None
        try:
            key = read_key(vllm.api_key_env or "")
        except TeacherSetupError as error:
            raise ConfigError(str(error)) from None
        if vllm.api_key_env and not key:
            raise ConfigError(f"{vllm.api_key_env} is not set; export it with the key of {vllm.url}")
        self._config = vllm
        self.model, self.root = "", ""
        self.client = Client(vllm.url.rstrip("/").removesuffix("/v1"), key, vllm.timeout, vllm.concurrency)

    async def start(self, model: str, needs: Needs) -> None:
        """Learn what it serves. Raises ConfigError; StudentError if it does not answer, LostError if it did before."""
        url = self.client.url
        self.client = Client(url, self.client.key, self._config.timeout, self._config.concurrency)
        try:
            models = await self.client.models()
            base = next((one for one in models if not one.get("parent")), None)
            if base is None:
                raise ConfigError(f"the server at {url} serves no model; start it with the student's")
            await self.client.probe(base["id"])
            self.model, self.root = base["id"], base.get("root") or ""
        except LostError as error:
            if self.model:
                raise  # it was there before: it is waited for
            raise StudentError(
                f"the vLLM server at {url} does not answer ({error}); start it, or check student.vllm.url"
            ) from None
        except RefusedError as error:
            cure = "check student.vllm.api_key_env" if error.status in (401, 403) else "check student.vllm.url"
            raise ConfigError(f"the server at {url} refuses (HTTP {error.status}: {error}); {cure}") from None

    async def stop(self) -> None:
        """Let go of its connections."""
        await self.client.close()


def room_for(rank: int) -> int:
    """The smallest rank that vLLM makes room for and that holds `rank`. Raises ConfigError if none does."""
    for offered in RANKS:
        if rank <= offered:
            return offered
    raise ConfigError(f"vLLM serves adapters up to rank {RANKS[-1]}, not {rank}; lower tuning.rank")


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


def _cause(said: str) -> str:
    """The line that tells why: of the errors the first, since those after it come of it."""
    found = [match[1] for line in said.splitlines() if (match := _ERROR.search(line))]
    lines = [line for line in said.splitlines() if line.strip()]
    return (found[0] if found else lines[-1] if lines else "it said nothing").strip()[:400]
