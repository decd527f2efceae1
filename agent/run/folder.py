"""The folder of a run: one process at a time, readable without our code.

config.yaml  run.json  lock  items.jsonl  checkpoints.sqlite  events.jsonl  metrics.jsonl  teacher.jsonl
teacher.batches.jsonl  endpoint.json  pool-costs.jsonl  report.html
rounds/00/   answers.jsonl  holdout.jsonl  evaluation.json  round.json
rounds/01/   diagnoses.jsonl  right.jsonl  gaps.json  selection.jsonl  adapter/  tuning.jsonl  answers.jsonl  …  [control/]
best/        the adapter to use
"""

import os
import shutil
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self
from uuid import uuid4

from filelock import FileLock, Timeout
from ruamel.yaml import YAML

from agent.config.loading import parse_config, read_yaml
from agent.config.schema import RunConfig
from agent.teacher.prompts.own import Prompts, load_prompts
from retrieval.errors import ConfigError, RunError
from retrieval.storage.files import Log, clear_scratch, digest, read_json, storage_errors, write_json

IfExists = Literal["resume", "raise", "delete"]

#: What the run has paid the teacher for the pool's skills, whose journal lies with the pool.
POOL_COSTS = "pool-costs.jsonl"
#: What stays where a run begins anew in a folder in which nothing was answered: it was paid for, and counts.
_PAID = ("teacher.jsonl", "teacher.batches.jsonl", POOL_COSTS)

#: What may differ between the configuration of a run and the one it is resumed with: nothing that changes a result.
_FREE = {
    "": {"error_budget"},
    "teacher": {
        "base_url",
        "app",
        "api_key_env",
        "concurrency",
        "timeout",
        "retries",
        "outage_minutes",
        "batch",
        "batch_poll_minutes",
        "batch_hours",
        "max_tokens",
        "price_in",
        "price_out",
        "price_batch",
        "budget_usd",
        "prompts",  # their contents must not
    },
    "tuning": {"checkpoint_minutes", "gpus"},
    "pool": {"chroma_url"},
    # Not `serve` and `max_length`: the one rounds the weights, the other sets items aside.
    "student.vllm": {
        "url",
        "api_key_env",
        "python",
        "args",
        "port",
        "sharing",
        "gpu_memory",
        "gpus",
        "concurrency",
        "timeout",
        "start_timeout",
    },
}


class RunFolder:
    """A run folder held by this process. `open` makes or resumes one; `close` lets it go."""

    def __init__(self, path: Path, lock: FileLock, prompts: Prompts) -> None:
        self.path = path
        #: What the teacher is asked with, as checked against those that the run began with.
        self.prompts = prompts
        #: What tells this run from all others, a deleted one in the same folder included.
        self.id = str(read_json(path / "run.json")["id"])
        self._lock = lock
        self._events = Log(path / "events.jsonl")
        self._metrics = Log(path / "metrics.jsonl")

    @classmethod
    def open(cls, path: Path, config: RunConfig, if_exists: IfExists = "resume") -> Self:
        """Take the folder for this process.

        Raises RunError if another process holds it, if it is there and `if_exists` is "raise", if it is no run folder, or if
        it belongs to a run with another configuration or other prompts; ConfigError if the prompts are none.
        """
        path, prompts = path.resolve(), load_prompts(config.teacher.prompts)
        with storage_errors(path):
            if path.is_file():
                raise RunError(f"{path} is a file; name a folder with --run-dir")
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()) and not (path / "run.json").exists() and not (path / "lock").exists():
                raise RunError(f"{path} is not empty and is no run folder; name another with --run-dir")
        lock = _take(path)
        try:
            _prepare(path, config, prompts, if_exists)
            clear_scratch(path)
            return cls(path, lock, prompts)
        except BaseException:
            lock.release()
            raise

    def round(self, number: int) -> Path:
        """Folder of a round (0 is the student as it came)."""
        return self.path / "rounds" / f"{number:02d}"

    def control(self, number: int) -> Path:
        """Folder of a round's random control."""
        return self.round(number) / "control"

    def status(self, **changes: Any) -> None:
        """Change fields of run.json."""
        old = read_json(self.path / "run.json")
        write_json(self.path / "run.json", {**old, **changes, "updated": _now()})

    def event(self, kind: str, **fields: Any) -> None:
        """Note in events.jsonl what happened."""
        self._events.append({"schema": 1, "time": _now(), "event": kind, **fields})

    def metric(self, **fields: Any) -> None:
        """Note figures in metrics.jsonl."""
        self._metrics.append({"schema": 1, "time": _now(), **fields})

    def close(self) -> None:
        """Flush the logs and let the folder go."""
        try:
            self._events.close()
            self._metrics.close()
        finally:
            self._lock.release()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _take(path: Path) -> FileLock:
    lock = FileLock(path / "lock")
    with storage_errors(path / "lock"):
        try:
            lock.acquire(timeout=0.5)  # `is_held` takes it for an instant
        except Timeout:  # an OSError too, but not one that storage_errors should see
            holder = _holder(path)
            raise RunError(f"{path} is held by process {holder}; wait for it, stop it, or choose another run") from None
    return lock


def _holder(path: Path) -> str:
    try:
        return str(read_json(path / "run.json")["pid"])
    except Exception:
        return "(starting up)"


def is_held(path: Path) -> bool:
    """Whether some process holds the run folder now."""
    if not (path / "lock").exists():
        return False
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _prepare(path: Path, config: RunConfig, prompts: Prompts, if_exists: IfExists) -> None:
    """Make what a run folder begins with, or check what is there."""
    if goes_on(path, config, prompts, if_exists):
        now = {"pid": os.getpid(), "prompts": prompts.as_rows()}
        write_json(path / "run.json", {**read_json(path / "run.json"), **now})
    else:
        if (path / "run.json").exists():
            _empty(path, () if if_exists == "delete" else _PAID)
        _begin(path, config, prompts)


def goes_on(path: Path, config: RunConfig, prompts: Prompts, if_exists: IfExists) -> bool:
    """Whether to open the folder is to go on with the run in it. Changes nothing; raises RunError where that is refused."""
    if not (path / "run.json").exists() or if_exists == "delete":
        return False
    if if_exists == "raise":
        raise RunError(
            f"{path} holds a run already; resume it with --if-exists resume or remove it with --if-exists delete"
        )
    try:
        _check_same(path, config, prompts)
    except RunError:
        if any(path.glob("rounds/*/*.jsonl")):
            raise
        return False  # nothing was answered yet: a mistake that has been put right, most likely
    return True


def _empty(path: Path, but: Collection[str]) -> None:
    for entry in path.iterdir():
        if entry.name not in ("lock", *but):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _begin(path: Path, config: RunConfig, prompts: Prompts) -> None:
    with storage_errors(path), open(path / "config.yaml", "w", encoding="utf-8") as file:
        YAML().dump(config.model_dump(mode="json"), file)
    status = {
        "schema": 1,
        "id": uuid4().hex,
        "name": config.name,
        "state": "running",
        "stop_reason": None,
        "best_round": None,
        "pid": os.getpid(),
        "started": _now(),
        "updated": _now(),
        "config_digest": digest(_bound(config.model_dump(mode="json"))),
        "prompts": prompts.as_rows(),
    }
    write_json(path / "run.json", status)


def _bound(config: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """The part of a configuration that decides the results, as it is nested there."""
    found = {}
    for key, value in config.items():
        if key not in _FREE.get(section, ()):
            found[key] = _bound(value, f"{section}.{key}".strip(".")) if isinstance(value, dict) else value
    return found


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], section: str = "") -> list[str]:
    """The keys whose values differ, dotted."""
    found = []
    for key, value in new.items():
        name, before = f"{section}.{key}".strip("."), old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            found += _changed(before, value, name)
        elif before != value:
            found.append(name)
    return found


def _check_same(path: Path, config: RunConfig, prompts: Prompts) -> None:
    status = read_json(path / "run.json")
    # A run that began before prompts were noted down had ours.
    began, now = status.get("prompts") or load_prompts(None).as_rows(), prompts.as_rows()
    changed = [f"the prompt {kind}" for kind in now if began.get(kind, {}).get("sha256") != now[kind]["sha256"]]
    if status.get("config_digest") == digest(_bound(config.model_dump(mode="json"))) and not changed:
        return
    old, new = _bound(read_config(path).model_dump(mode="json")), _bound(config.model_dump(mode="json"))
    changed += _changed(old, new)
    raise RunError(
        f"{path} belongs to a run with another configuration (differs in {', '.join(changed) or 'an older format'}); "
        "name another folder with --run-dir, or start over with --if-exists delete"
    )


def read_config(path: Path) -> RunConfig:
    """The resolved configuration that a run folder keeps. Raises ConfigError if there is none."""
    try:
        raw = read_yaml(path / "config.yaml")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path} is no run folder: it has no config.yaml") from None
    return parse_config(raw, str(path / "config.yaml"))
