"""A tuning job: what it is, and how its child process is run, watched, tried again and published.

The child works in `<out>.part` beside the adapter's folder: job, checkpoints, features. What it made is published by
renaming, so an adapter folder is whole or not there. A job that was published before is not run again; one that was
killed goes on from its last whole checkpoint.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock, Timeout

from retrieval.errors import DataError, GaptutorError, RunError, StorageError, TuningError
from retrieval.storage.files import (
    clear_scratch,
    digest,
    file_digest,
    publish_folder,
    read_json,
    read_jsonl,
    storage_errors,
    write_json,
)
from training.child.threads import thread_environment

#: Seconds that a child gets to save a checkpoint and leave when it is told to.
GRACE = 30.0
#: Seconds to wait for the work folder's lock: a child killed along with its parent may be about to let go of it.
LOCK_WAIT = 10.0
#: The child's exit codes where it was told to leave, and where it found no room.
LEFT, NO_ROOM = 3, 4
#: What a child failed of that said nothing, by its exit code. 120 is Python's own where it cannot get rid of its last words.
_KINDS = {
    -signal.SIGKILL: "killed",
    -signal.SIGTERM: "left",
    LEFT: "left",
    NO_ROOM: "storage",
    120: "storage",
}
#: What is no fault of the tuning: started again, it goes on from its last checkpoint.
_LATER: dict[str, type[GaptutorError]] = {"storage": StorageError, "busy": RunError, "left": RunError}
#: What Python runs as the child.
CHILD = ("-m", "training.lora.main")
#: Seconds between looks at the child's log.
LOOK = 0.2


@dataclass(frozen=True, slots=True)
class TuningJob:
    """One tuning, complete: the same job gives the same adapter on the same machine.

    `samples` is a JSONL file of {"id", "turns": [[prompt, answer], …], "images": [absolute paths]}, prompts filled
    into their templates by the caller. `out` becomes the adapter's folder; `log` (by default `tuning.jsonl` beside
    it) gets a row {"schema", "step", "steps", "loss", "lr", "samples", "seconds"} now and then, `tuning.log` beside
    it what the child said. `error_budget` is the share of samples, in [0, 1], that may be set aside; with `take`, the first so
    many that need not be are tuned on. The other fields are those of the configuration's `tuning` and `student` sections.
    """

    model: str
    samples: Path
    out: Path
    seed: int = 0
    rank: int = 32
    alpha: int = 64
    dropout: float = 0.0
    epochs: float = 1.0
    learning_rate: float = 2e-4
    warmup: float = 0.03
    batch_size: int = 16
    micro_batch_size: int | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    max_length: int = 2048
    image_pixels: int | None = None
    error_budget: float = 1.0
    take: int | None = None
    checkpoint_minutes: float = 5.0
    processes: int = 1
    gpus: str | None = None
    trust_remote_code: bool = False
    log: Path | None = None

    @property
    def log_path(self) -> Path:
        """Where progress is written."""
        return self.log or self.out.parent / "tuning.jsonl"

    @property
    def work(self) -> Path:
        """Where the child works."""
        return self.out.with_name(self.out.name + ".part")

    @property
    def micro(self) -> int:
        """Samples per process at one time."""
        share = max(1, self.batch_size // self.processes)
        return min(self.micro_batch_size or share, share)

    def write(self, path: Path) -> None:
        """Write the job as JSON."""
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        write_json(path, {"schema": 1, **plain})

    @classmethod
    def read(cls, path: Path) -> "TuningJob":
        """The job in a file made by `write`."""
        plain = read_json(path)
        del plain["schema"]
        places = {name: Path(plain[name]) for name in ("samples", "out", "log") if plain[name] is not None}
        return cls(**{**plain, **places})

    def key(self) -> str:
        """Hash of all that the adapter depends on: the settings and the samples' bytes. Raises DataError if they are
        missing."""
        if not self.samples.is_file():
            raise DataError(f"{self.samples} does not exist; it should hold the samples to tune on")
        settings = asdict(self)
        for name in ("samples", "out", "log", "checkpoint_minutes", "gpus", "error_budget"):
            del settings[name]
        for name in ("image_pixels", "take"):  # which earlier versions did not have
            if settings[name] is None:
                del settings[name]
        return digest({**settings, "samples": file_digest(self.samples)})


class Progress(NamedTuple):
    """How far a tuning is: optimiser steps done of all, the last loss (mean over a step's answer tokens, nats), the
    learning rate, samples seen (repeats count) and seconds so far."""

    step: int
    steps: int
    loss: float
    lr: float
    samples: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What a tuning was: optimiser steps, samples tuned on and set aside, seconds in the child over all its lives,
    first and last loss, and the micro-batch that fitted into memory."""

    steps: int
    samples: int
    set_aside: int
    seconds: float
    loss_first: float
    loss_last: float
    micro_batch_size: int


async def tune(job: TuningJob, on_progress: Callable[[Progress], None] | None = None) -> TuningResult:
    """Tune an adapter in a child process and publish it in `job.out`.

    When memory runs out the micro-batch is halved, down to one sample, and the effective batch stays. A child
    that was killed goes on once as it was; killed again, it counts as out of memory. If the task is cancelled the
    child saves a checkpoint and ends. Raises TuningError with the child's reason; StorageError, or RunError where another
    process is at it or has ended the child, if the same job may go on later. Nothing is published then.
    """
    key = job.key()
    done = published(job.out, key)
    if done is not None:
        return done
    job = _open_work(job, key)
    kills = 0
    while True:
        failure = await _run_child(job, on_progress or (lambda progress: None))
        if failure is None:
            return _publish(job, key)
        if failure["kind"] in _LATER:
            raise _LATER[failure["kind"]](failure["message"])
        kills += failure["kind"] == "killed"
        if failure["kind"] == "killed" and kills == 1:
            continue
        if failure["kind"] == "fault" or job.micro == 1:
            break
        job = replace(job, micro_batch_size=job.micro // 2)
        write_json(job.work / "micro.json", job.micro)
    raise TuningError(f"{failure['message']}; see {_log_of_child(job)}")


def published(out: Path, key: str) -> TuningResult | None:
    """The result of the job with this key if its adapter is in `out`."""
    manifest = out / "manifest.json"
    if not manifest.is_file():
        return None
    found = read_json(manifest)
    return TuningResult(**found["result"]) if found.get("key") == key else None


def _open_work(job: TuningJob, key: str) -> TuningJob:
    """Make the work folder this job's own, empty unless an earlier life of the same job left it, and bring back its
    micro-batch. Raises RunError if another process has it."""
    with storage_errors(job.work):
        job.work.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(job.work / "lock", timeout=LOCK_WAIT):
                _claim(job, key)
        except Timeout:
            raise RunError(f"another process is tuning in {job.work}; wait for it or end it") from None
    smaller = job.work / "micro.json"
    return replace(job, micro_batch_size=read_json(smaller)) if smaller.is_file() else job


def _claim(job: TuningJob, key: str) -> None:
    owner = job.work / "key.json"
    if not owner.is_file() or read_json(owner) != key:
        for left in job.work.iterdir():
            if left.name != "lock":
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        job.log_path.unlink(missing_ok=True)
        _log_of_child(job).unlink(missing_ok=True)
        write_json(owner, key)
    clear_scratch(job.work)


async def _run_child(job: TuningJob, on_progress: Callable[[Progress], None]) -> dict[str, str] | None:
    """One life of the child; what it failed of, None if it came to the end."""
    (job.work / "failure.json").unlink(missing_ok=True)
    job.write(job.work / "job.json")
    with storage_errors(job.work):
        output = open(_log_of_child(job), "ab")  # noqa: SIM115 - closed below
    with output:
        child = await asyncio.create_subprocess_exec(
            sys.executable, *CHILD, str(job.work / "job.json"), str(os.getpid()),
            stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            env=child_environment(job.gpus),
        )  # fmt: skip
    try:
        await _follow(child, job, on_progress)
    finally:
        await _end(child)
    return None if child.returncode == 0 else _failure(job, child.returncode or 0)


def child_environment(gpus: str | None = None) -> dict[str, str]:
    """The child finds our packages where we found them and never asks the network for what it can do without. It sees `gpus`,
    if they are given."""
    roots = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        **thread_environment(),
        "PYTHONPATH": os.pathsep.join(filter(None, roots)),
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        **({"CUDA_VISIBLE_DEVICES": gpus} if gpus else {}),
    }


async def _follow(child: asyncio.subprocess.Process, job: TuningJob, on_progress: Callable[[Progress], None]) -> None:
    """Report each new row of the child's log until the child ends."""
    told = 0
    ended = False
    while not ended:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(child.wait()), LOOK)
        ended = child.returncode is not None
        for row in read_jsonl(job.log_path):
            if row["step"] > told:
                told = row["step"]
                on_progress(Progress(**{name: row[name] for name in Progress._fields}))


async def _end(child: asyncio.subprocess.Process) -> None:
    """Tell a child that is still there to save and leave; kill it and all its own if it does not."""
    if child.returncode is None:
        _signal(child, signal.SIGTERM)
        try:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(child.wait(), GRACE)
        finally:
            _signal(child, signal.SIGKILL)
            await child.wait()


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _failure(job: TuningJob, code: int) -> dict[str, str]:
    """Why the child failed: as it said itself, or as its exit code and its last line say."""
    said = job.work / "failure.json"
    if said.is_file():
        failure: dict[str, str] = read_json(said)
        return failure
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    messages = {
        "left": "the tuning process was told to leave; run again to go on",
        "storage": f"cannot write {job.work}; make room or change its permissions, then run again",
    }
    kind = _KINDS.get(code, "fault")
    return {"kind": kind, "message": messages.get(kind, f"the tuning process {how}: {_last_words(_log_of_child(job))}")}


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _log_of_child(job: TuningJob) -> Path:
    return job.log_path.with_suffix(".log")


def _publish(job: TuningJob, key: str) -> TuningResult:
    made: dict[str, Any] = read_json(job.work / "result.json")
    result = TuningResult(**made["result"])
    with publish_folder(job.out) as scratch:
        for file in (job.work / "adapter").iterdir():
            shutil.copyfile(file, scratch / file.name)
        manifest = {"schema": 1, "key": key, "result": asdict(result), "set_aside": made["set_aside"]}
        (scratch / "manifest.json").write_text(
            json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    shutil.rmtree(job.work, ignore_errors=True)
    return result
