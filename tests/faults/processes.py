"""Processes to be killed, each forked from one in which all that takes seconds to import is there already."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "tests.faults.killing",
        "tests.faults.killing_pool",
        "agent.cli.main",
        "agent.student.embedded",
        "chromadb",
        "sentence_transformers",
        "training.families.families",
        "training.lora.checks",
    ]
)


def call(target: Callable[..., Any], *args: Any, longest: float) -> "subprocess.CompletedProcess[str]":
    """Call `target` in a process of its own; what it wrote, and its exit code: negative for a signal, -9 also after `longest`
    seconds."""
    with TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("stdout", "stderr")]
        process = PROCESSES.Process(target=_call, args=(target, args, *said))
        process.start()
        process.join(longest)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(str(target), longest)
        out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in said)
        return subprocess.CompletedProcess(list(args), process.exitcode or 0, out, err)


def _call(target: Callable[..., Any], args: tuple[Any, ...], out: Path, err: Path) -> None:
    for number, path in ((1, out), (2, err)):
        with open(path, "wb") as file:
            os.dup2(file.fileno(), number)
    # One thread each: on shared cores, threads that spin for each other make a small model's steps many times slower.
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    target(*args)
