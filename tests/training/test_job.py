"""Real tunings of a tiny student in real child processes."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

import training.child.job
import training.lora.main
from retrieval.errors import DataError, RunError, StorageError, TuningError
from retrieval.storage.files import read_json, read_jsonl, write_json
from tests.full_disk import room_for
from tests.tiny_student import write_rows
from training import Progress, TuningJob, TuningResult, tune


def weights(out: Path) -> bytes:
    return (out / "adapter_model.safetensors").read_bytes()


def child_of(job: TuningJob) -> int:
    """Process id of the child at work on a job."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and str(job.work / "job.json") in _command_line(entry):
            return int(entry.name)
    raise LookupError(job.work)


def _command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text()
    except OSError:
        return ""


def gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, student: Path, samples: Path) -> tuple[TuningJob, TuningResult]:
    out = tmp_path_factory.mktemp("unbroken") / "adapter"
    job = TuningJob(
        model=str(student), samples=samples, out=out, rank=4, alpha=8, dropout=0.1, epochs=4, learning_rate=5e-3,
        batch_size=8, micro_batch_size=4, dtype="float32",
    )  # fmt: skip
    told: list[Progress] = []
    result = asyncio.run(tune(job, told.append))
    assert [progress.step for progress in told] == list(range(1, 13))
    return job, result


async def test_an_adapter_is_published_whole_and_has_learned(unbroken: tuple[TuningJob, TuningResult]) -> None:
    job, result = unbroken
    assert {file.name for file in job.out.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "canary.json", "manifest.json"
    }  # fmt: skip
    assert not job.work.exists()
    assert (result.steps, result.samples, result.set_aside, result.micro_batch_size) == (12, 24, 0, 4)
    assert result.loss_last < 0.8 * result.loss_first
    rows = read_jsonl(job.log_path)
    assert rows[-1]["step"] == 12
    assert rows[-1]["samples"] == 96


async def test_a_published_job_is_not_run_again(
    unbroken: tuple[TuningJob, TuningResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    job, result = unbroken
    monkeypatch.setattr(training.child.job, "CHILD", ("-c", "raise SystemExit('ran again')"))
    assert await tune(replace(job, checkpoint_minutes=1.0)) == result
    with pytest.raises(TuningError, match="ran again"):
        await tune(replace(job, out=tmp_path / "adapter", seed=1))


async def test_the_child_sees_the_gpus_that_are_named_and_one_process_takes_the_first(
    job: TuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    monkeypatch.setattr(
        training.child.job, "CHILD", ("-c", "import os; raise SystemExit(os.environ['CUDA_VISIBLE_DEVICES'])")
    )
    for gpus, seen in (("1,2", "1,2"), (None, "5,6")):
        with pytest.raises(TuningError, match=f"exit code 1: {seen};"):
            await tune(replace(job, gpus=gpus))
    assert replace(job, gpus="1").key() == job.key(), "which GPU it was changes no adapter"
    training.lora.main._see_one_gpu()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5"


async def test_a_killed_child_goes_on_and_ends_with_the_weights_of_an_unbroken_one(
    unbroken: tuple[TuningJob, TuningResult], job: TuningJob
) -> None:
    job = replace(job, checkpoint_minutes=1e-6)
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.step >= 5 and not killed:
            killed.append(child_of(job))
            os.kill(killed[0], signal.SIGKILL)

    result = await tune(job, kill)
    assert killed
    assert weights(job.out) == weights(unbroken[0].out)
    assert (result.loss_first, result.loss_last) == (unbroken[1].loss_first, unbroken[1].loss_last)
    kept = [(row["step"], row["loss"]) for row in read_jsonl(job.log_path)]
    assert kept == [(row["step"], row["loss"]) for row in read_jsonl(unbroken[0].log_path)]


async def test_a_child_does_not_outlive_its_killed_parent_and_the_next_start_goes_on(
    unbroken: tuple[TuningJob, TuningResult], job: TuningJob, tmp_path: Path
) -> None:
    job = replace(job, checkpoint_minutes=1e-6)
    job.write(tmp_path / "job.json")
    program = (
        "import asyncio, sys; from pathlib import Path; from training import *\n"
        "asyncio.run(tune(TuningJob.read(Path(sys.argv[1])), lambda p: print(p.step, flush=True)))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "job.json")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    parent.stdout.readline()
    child = child_of(job)
    parent.kill()
    parent.wait()
    while not gone(child):
        await asyncio.sleep(0.01)
    steps: list[int] = []
    await tune(job, lambda progress: steps.append(progress.step))
    assert weights(job.out) == weights(unbroken[0].out)


async def test_cancelling_ends_the_child_at_a_checkpoint(
    unbroken: tuple[TuningJob, TuningResult], job: TuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.child.job, "GRACE", 600.0)
    children: list[int] = []

    def cancel(progress: Progress) -> None:
        if not children:
            children.append(child_of(job))
            task.cancel()

    task = asyncio.create_task(tune(job, cancel))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(children[0])
    if not (job.work / "result.json").exists():
        assert list(job.work.glob("checkpoint-*/whole.json"))
    await tune(job)
    assert weights(job.out) == weights(unbroken[0].out)


async def test_a_child_that_does_not_leave_when_told_is_killed(job: TuningJob, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    )
    monkeypatch.setattr(training.child.job, "CHILD", ("-c", program))
    monkeypatch.setattr(training.child.job, "GRACE", 0.1)
    task = asyncio.create_task(tune(job))
    said = job.log_path.with_suffix(".log")
    while not said.exists() or "up" not in said.read_text():
        await asyncio.sleep(0.01)
    child = child_of(job)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone(child)


async def test_when_memory_runs_out_the_micro_batch_is_halved_and_the_batch_stays(
    unbroken: tuple[TuningJob, TuningResult], job: TuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import sys, torch, training.lora.main, training.lora.tuning as tune\n"
        "whole = tune.AnswerTrainer.training_step\n"
        "def step(self, model, inputs, *rest):\n"
        "    if len(inputs['labels']) > 2: raise torch.OutOfMemoryError('no room')\n"
        "    return whole(self, model, inputs, *rest)\n"
        "tune.AnswerTrainer.training_step = step\n"
        "sys.exit(training.lora.main.main(sys.argv[1:]))"
    )
    monkeypatch.setattr(training.child.job, "CHILD", ("-c", program))
    result = await tune(replace(job, micro_batch_size=None, dropout=0.0))
    assert (result.steps, result.micro_batch_size) == (12, 2)
    assert result.loss_first == pytest.approx(unbroken[1].loss_first, rel=1e-4)


async def test_memory_that_never_suffices_fails_at_one_sample(job: TuningJob, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    async def starve(job: TuningJob, on_progress: object) -> dict[str, str]:
        tries.append(job.micro)
        return {"kind": "memory", "message": "out of memory"}

    monkeypatch.setattr(training.child.job, "_run_child", starve)
    job.log_path.with_suffix(".log").write_text("")
    with pytest.raises(TuningError, match="out of memory"):
        await tune(replace(job, batch_size=64, micro_batch_size=None))
    assert tries == [64, 32, 16, 8, 4, 2, 1]


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"learning_rate": 1e30}, "loss is|not finite"), ({"learning_rate": 1e-60}, "all zeros")],
    ids=["not finite", "all zeros"],
)
async def test_an_adapter_that_must_not_be_served_is_not_published(
    job: TuningJob, changed: dict[str, float], words: str
) -> None:
    with pytest.raises(TuningError, match=words):
        await tune(replace(job, **changed))
    assert not job.out.exists()


async def test_samples_of_which_none_can_be_used_are_an_error_that_says_why(job: TuningJob, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"id": "x", "turns": [["q", "a"]], "images": [str(tmp_path / "none.png")]}]
    with pytest.raises(TuningError, match=r"none of the samples .* sample x: .*none.png"):
        await tune(replace(job, samples=write_rows(tmp_path / "bad.jsonl", rows)))


async def test_a_fault_in_the_child_is_quoted(job: TuningJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.child.job, "CHILD", ("-c", "raise LookupError('the very reason')"))
    with pytest.raises(TuningError, match=r"exit code 1: LookupError: the very reason; see .*tuning\.log"):
        await tune(job)


async def test_a_folder_in_which_another_process_tunes_is_left_alone(
    job: TuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training.child.job, "LOCK_WAIT", 0.0)
    job.work.mkdir(parents=True)
    write_json(job.work / "key.json", "theirs")
    with FileLock(job.work / "lock"), pytest.raises(RunError, match="another process is tuning"):
        await tune(job)
    assert read_json(job.work / "key.json") == "theirs"


async def test_a_child_that_finds_another_at_work_leaves_the_job_for_later(
    job: TuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import subprocess, sys, training.lora.main\n"
        "from pathlib import Path\n"
        "training.lora.main.LOCK_WAIT = 0.0\n"
        "hold = 'import sys; from filelock import FileLock\\n'\n"
        "hold += 'with FileLock(sys.argv[1]): print(flush=True); sys.stdin.read()'\n"
        "lock = str(Path(sys.argv[1]).parent / 'lock')\n"
        "pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}\n"
        "with subprocess.Popen([sys.executable, '-c', hold, lock], **pipes) as holder:\n"
        "    holder.stdout.readline()\n"
        "    code = training.lora.main.main(sys.argv[1:])\n"
        "    holder.stdin.close()\n"
        "sys.exit(code)"
    )
    monkeypatch.setattr(training.child.job, "CHILD", ("-c", program))
    with pytest.raises(RunError, match="another process is tuning"):
        await tune(job)


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (4, StorageError, "make room"),
        (120, StorageError, "make room"),
        (3, RunError, "run again to go on"),
    ],
)
async def test_a_child_that_had_to_leave_without_a_word_leaves_the_job_for_later(
    job: TuningJob, monkeypatch: pytest.MonkeyPatch, code: int, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(training.child.job, "CHILD", ("-c", f"raise SystemExit({code})"))
    with pytest.raises(error, match=words):
        await tune(job)


def test_a_child_without_room_for_its_last_words_says_so_by_its_exit_code(job: TuningJob, tmp_path: Path) -> None:
    job.work.write_text("in the way")
    assert training.lora.main._fail(job, "storage", "cannot write") == training.child.job.NO_ROOM


def test_what_the_system_says_in_the_child_is_no_fault_of_the_tuning(
    job: TuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(job: TuningJob, stopping: object, strict: bool) -> bool:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    job.work.mkdir()
    monkeypatch.setitem(sys.modules, "training.lora.tuning", SimpleNamespace(run=fill))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert training.lora.main._guarded(job) == training.child.job.NO_ROOM
    assert read_json(job.work / "failure.json")["kind"] == "storage"


@pytest.mark.slow
async def test_a_disk_that_fills_while_tuning_stops_it_and_it_goes_on_when_there_is_room(
    unbroken: tuple[TuningJob, TuningResult], job: TuningJob
) -> None:
    job = replace(job, checkpoint_minutes=1e-6)
    # Where it ends: in the images' features; in an adapter, which safetensors writes; in an optimiser, which torch does.
    for size in (4_000, 22_000, 40_000):
        with pytest.raises(StorageError, match=r"cannot write .*adapter\.part: .*make room"), room_for(size):
            await tune(job)
    await tune(job)
    assert weights(job.out) == weights(unbroken[0].out)


async def test_missing_samples_are_named(job: TuningJob, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl does not exist"):
        await tune(replace(job, samples=tmp_path / "none.jsonl"))


@pytest.mark.slow
async def test_two_processes_tune_what_one_does(unbroken: tuple[TuningJob, TuningResult], job: TuningJob) -> None:
    result = await tune(replace(job, processes=2, dropout=0.0, micro_batch_size=2))
    assert result.steps == 12
    assert result.loss_first == pytest.approx(unbroken[1].loss_first, rel=1e-4)
    assert result.loss_last < 0.8 * result.loss_first
