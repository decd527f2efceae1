"""The folder of a run: one process at a time, readable without our code.

config.yaml  run.json  lock  items.jsonl  checkpoints.sqlite  events.jsonl  metrics.jsonl  teacher.jsonl
teacher.batches.jsonl  endpoint.json  pool-costs.jsonl  pictures.jsonl  report.html  [pictures/]
rounds/00/   answers.jsonl  holdout.jsonl  evaluation.json  round.json
rounds/01/   diagnoses.jsonl  right.jsonl  gaps.json  selection.jsonl  adapter/  tuning.jsonl  answers.jsonl  …  [control/]
best/        the adapter to use
"""

import os
import shutil
from collections.abc import Collection
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from filelock import FileLock
from ruamel.yaml import YAML

from agent.config.schema import RunConfig
from agent.run import wording
from agent.run.lock import take
from agent.run.machine import resolved
from agent.run.mend import mend
from agent.run.resume import (
    SCHEMA,
    IfExists,
    check_schema,
    extends,
    goes_on,
    has_answers,
    read_config,
    settled,
    unknown_keys,
)
from agent.teacher.ledger.journal import Journal, Usage, set_before
from agent.teacher.prompts.own import Prompts, load_prompts
from retrieval.errors import RunError
from retrieval.storage.files import (
    Log,
    clear_scratch,
    read_jsonl,
    read_object,
    storage_errors,
    sync_folder,
    write_json,
    write_text,
)

#: What the run has paid the teacher for the pool's skills, whose journal lies with the pool.
POOL_COSTS = "pool-costs.jsonl"
#: What stays where a run begins anew in its folder: it was paid for, and counts.
_JOURNALS = ("teacher.jsonl", POOL_COSTS)
_PAID = (*_JOURNALS, "teacher.batches.jsonl", "endpoint.json")
#: What run.json is renamed to before a folder is emptied: with it the old run is gone, whatever is left of it.
_EMPTYING = {"delete-all": ".run.json.deleted-all", "delete": ".run.json.deleted"}
#: What shows that a folder holds a run, or what is left of one.
_RUN = ("run.json", "config.yaml", "rounds")


class RunFolder:
    """A run folder held by this process. `open` makes or resumes one; `close` lets it go."""

    def __init__(self, path: Path, lock: FileLock, prompts: Prompts, config: RunConfig, notes: list[str]) -> None:
        self.path = path
        #: What the teacher is asked with, as checked against those that the run began with.
        self.prompts = prompts
        #: What the run goes on with: nothing in it is left to `auto`.
        self.config = config
        #: What was done to the folder that its user would want to know, a sentence each.
        self.notes = notes
        #: What tells this run from all others, a deleted one in the same folder included.
        self.id = str(read_object(path / "run.json")["id"])
        self._lock = lock
        self._events = Log(path / "events.jsonl")
        self._metrics = Log(path / "metrics.jsonl")

    @classmethod
    def open(cls, path: Path, config: RunConfig, if_exists: IfExists = "resume") -> Self:
        """Take the folder for this process.

        Raises RunError if another process holds it, if it is there and `if_exists` is "raise", if it is no run folder, or if
        it belongs to a run with another configuration or other prompts, or to a newer gaptutor; ConfigError if the prompts are
        none; DataError if a file of the run is damaged and cannot be mended.
        """
        path, prompts = path.resolve(), load_prompts(config.teacher.prompts)
        with storage_errors(path):
            if path.is_file():
                raise RunError(f"{path} is a file; name a folder with --run-dir")
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()) and not (path / "run.json").exists() and not (path / "lock").exists():
                raise RunError(f"{path} is not empty and is no run folder; name another with --run-dir")
        lock = take(path)
        try:
            config, notes = _prepare(path, config, prompts, if_exists)
            clear_scratch(path)
            return cls(path, lock, prompts, config, notes)
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
        old = read_object(self.path / "run.json")
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


def _prepare(path: Path, config: RunConfig, prompts: Prompts, if_exists: IfExists) -> tuple[RunConfig, list[str]]:
    """Make what a run folder begins with, or check what is there. Returns the configuration that the run has, and what was done
    that its user would want to know."""
    notes = []
    if if_exists not in _EMPTYING:
        _finish_emptying(path)
        if if_exists == "resume":
            check_schema(path)
            notes = mend(path, config.review)
        if goes_on(path, config, prompts, if_exists):
            return _go_on(path, config, prompts, notes)
        if not (path / "run.json").exists() and has_answers(path):
            raise RunError(
                f"{path} holds the rounds of a run, and its run.json is gone; put that back, or start over with "
                "--if-exists delete"
            )
    if any((path / name).exists() for name in _RUN):
        _empty(path, "delete-all" if if_exists == "delete-all" else "delete")
    _finish_emptying(path)
    config = resolved(config)
    before = _paid_before(path, config)
    if before.calls:
        notes.append(
            f"kept of the run that was here: {wording.taken(**before._asdict())}, which count towards the budget; what is asked "
            "again is not paid again (--if-exists delete-all forgets that too)"
        )
    _begin(path, config, prompts, before)
    return config, notes


def _go_on(path: Path, config: RunConfig, prompts: Prompts, notes: list[str]) -> tuple[RunConfig, list[str]]:
    """Bring what a folder says about its run up to date."""
    config, status = settled(config, read_config(path)), read_object(path / "run.json")
    # A kill between an extension's first change and its first step leaves the mark of the end, but not its manifest.
    ended = status.get("state") == "finished" and any(path.glob("rounds/*/.manifests/finish.json"))
    if not ended or extends(path, config):
        config = resolved(config)
        if unknown := unknown_keys(path):
            notes = [
                *notes,
                f"config.yaml of the run: this version does not know {', '.join(unknown)}, and goes on without",
            ]
        _write_config(path, config)
    status.pop("config_digest", None)  # of schema 1
    now = {"schema": SCHEMA, "pid": os.getpid(), "prompts": prompts.as_rows()}
    write_json(path / "run.json", {**status, **now})
    return config, notes


def _empty(path: Path, how: str) -> None:
    """Mark the run of a folder as gone; `_finish_emptying` removes what is left of it, after a kill too. Raises DataError, and
    leaves the run as it is, if its journal is damaged and was to be kept."""
    if how == "delete":
        for name in _JOURNALS:
            read_jsonl(path / name)
    with storage_errors(path):
        if (path / "run.json").exists():
            os.replace(path / "run.json", path / _EMPTYING[how])
        else:
            (path / _EMPTYING[how]).touch()
        sync_folder(path)


def _finish_emptying(path: Path) -> None:
    """Empty a folder whose run was deleted; all but its mark comes first."""
    for how, mark in _EMPTYING.items():
        if (path / mark).exists():
            with storage_errors(path):
                _remove(path, ("lock", *_EMPTYING.values(), *(_PAID if how == "delete" else ())))
                for name in _JOURNALS:
                    set_before(path / name)
                sync_folder(path)
                (path / mark).unlink()
                sync_folder(path)


def _remove(path: Path, but: Collection[str]) -> None:
    for entry in path.iterdir():
        if entry.name not in but:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def _paid_before(path: Path, config: RunConfig) -> Usage:
    """What was paid in this folder by runs that were deleted from it, and is kept."""
    found = [Journal(path / name, config.teacher.price).before() for name in _JOURNALS]
    costs = [each.cost_usd for each in found]
    total = None if None in costs else sum(cost or 0.0 for cost in costs)
    return Usage(sum(each.calls for each in found), sum(each.tokens for each in found), total)


def _begin(path: Path, config: RunConfig, prompts: Prompts, before: Usage) -> None:
    _write_config(path, config)
    status = {
        "schema": SCHEMA,
        "id": uuid4().hex,
        "name": config.name,
        "state": "running",
        "stop_reason": None,
        "best_round": None,
        "pid": os.getpid(),
        "started": _now(),
        "updated": _now(),
        "prompts": prompts.as_rows(),
        "paid_before": before._asdict() if before.calls else None,
    }
    with Log(path / "events.jsonl") as events:  # from which run.json can be made again
        events.append({"schema": 1, "time": _now(), "event": "run_began", "status": status})
    write_json(path / "run.json", status)


def _write_config(path: Path, config: RunConfig) -> None:
    text = StringIO()
    YAML().dump(config.model_dump(mode="json"), text)
    write_text(path / "config.yaml", text.getvalue())
