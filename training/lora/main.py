"""The child process of a tuning: `python -m training.lora.main JOB.json [PARENT]`.

It ends with its parent, holds the work folder's lock, and leaves what went wrong in `failure.json`. With several
processes it hands itself to accelerate's launcher, whose workers come back here. Exit codes: 0 done, 1 failed, 3 told
to leave before the end, 4 found no room (for `failure.json` neither, perhaps).
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType

from retrieval.errors import GaptutorError, StorageError, first_line
from retrieval.storage.files import storage_errors, write_json
from training.child.job import LEFT, LOCK_WAIT, NO_ROOM, TuningJob

_PR_SET_PDEATHSIG = 1
#: What torch says of an operation that it has in no deterministic form.
_NOT_DETERMINISTIC = "does not have a deterministic implementation"


def main(arguments: list[str]) -> int:
    """Run the job file named by the first argument; the second is the process id of the parent."""
    worker = "LOCAL_RANK" in os.environ
    _end_with_parent(None if worker else int(arguments[1]) if len(arguments) > 1 else None)
    job = TuningJob.read(Path(arguments[0]))
    if worker:
        return _guarded(job)
    from filelock import FileLock, Timeout

    try:
        with FileLock(job.work / "lock", timeout=LOCK_WAIT):
            if job.processes > 1:
                return _launch(job, arguments[0])
            _see_one_gpu()
            return _guarded(job)
    except Timeout:
        return _fail(job, "busy", f"another process is tuning in {job.work}; wait for it or end it")


def _end_with_parent(parent: int | None) -> None:
    """Have the system kill this process when its parent dies, so that no orphan goes on writing (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def _see_one_gpu() -> None:
    """One process uses one GPU; with more in sight the Trainer would split every batch over them in threads."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    os.environ["CUDA_VISIBLE_DEVICES"] = seen.split(",")[0]


def _launch(job: TuningJob, job_file: str) -> int:
    """Start the workers and end with the first that fails. accelerate's launcher knows several processes on GPUs
    only; on CPUs its own way would be MPI, so torch's launcher, which it uses underneath, is called directly."""
    import torch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        _launch_workers(job, job_file, torch.cuda.is_available())
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return max(1, first.exitcode)
    return 0 if (job.work / "result.json").is_file() else LEFT


def _launch_workers(job: TuningJob, job_file: str, on_gpus: bool) -> None:
    if on_gpus:
        from accelerate.commands.launch import launch_command, launch_command_parser

        options = [
            "--multi_gpu",
            "--num_processes",
            str(job.processes),
            "--num_machines",
            "1",
            "--main_process_port",
            "0",
        ]
        options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module", "training.lora.main", job_file]
        launch_command(launch_command_parser().parse_args(options))
    else:
        from torch.distributed.run import main as torchrun

        torchrun(["--standalone", "--nproc_per_node", str(job.processes), "--module", "training.lora.main", job_file])


class _Stop:
    """Whether this process was told to leave (SIGTERM)."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def _guarded(job: TuningJob, strict: bool = True) -> int:
    """Run the job and sort what goes wrong into memory, storage and faults."""
    stop = _Stop()
    from training.child.memory import is_lack_of_memory
    from training.lora.tuning import run

    try:
        with storage_errors(job.work):
            return 0 if run(job, lambda: stop.asked, strict) else LEFT
    except StorageError as error:
        return _fail(job, "storage", str(error))
    except GaptutorError as error:
        return _fail(job, "fault", str(error))
    except (RuntimeError, MemoryError) as error:
        if is_lack_of_memory(error):
            return _fail(job, "memory", f"out of memory with {job.micro} samples at a time: {first_line(error)}")
        if not (strict and _NOT_DETERMINISTIC in str(error)):
            raise
        print(f"tuned again on this machine, it may differ in its last bits: {first_line(error)}", file=sys.stderr)
    return _guarded(job, strict=False)


def _fail(job: TuningJob, kind: str, message: str) -> int:
    with suppress(StorageError):
        write_json(job.work / "failure.json", {"kind": kind, "message": message})
    with suppress(OSError):
        print(message, file=sys.stderr)
    return NO_ROOM if kind == "storage" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
