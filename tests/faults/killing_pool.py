"""A run up to its first selection, whose pool is imported and indexed in small pieces, so that there is a middle to be killed
in. At a given point it is killed (SIGKILL) with its whole process group.

A point is (how, what, nth). How: `link` or `copy` (before an image is put into the store, from the same or from another
device), `rename` and `renamed` (before and after a file or folder takes its place), `row` and `torn` (after a row of a log is
written, and half of it), `call` (before a function is called). What: a pattern for the path, or MODULE:FUNCTION. Nth: at the
how-manieth of those, from 1.
"""

import asyncio
import errno
import json
import os
import signal
from fnmatch import fnmatch
from itertools import count
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch

import agent.loop.node as node
from agent.config.loading import load_config
from agent.loop.drive import drive
from agent.run.console import Reporter
from retrieval.index import vector_store
from retrieval.pool import importing
from retrieval.storage import files

#: Samples imported together, and vectors that Chroma is given at once.
PART, PAGE = 16, 8

Point = tuple[str, str, int]


def die() -> None:
    os.killpg(0, signal.SIGKILL)


def kill_at(how: str, what: str, nth: int) -> None:
    """Die at the nth thing that is done this way to what is named."""
    if how == "call":
        kill_at_call(what, nth)
    passed = count(1)
    link, replace, append = os.link, os.replace, files.Log.append

    def is_it(moment: str, path: Any) -> bool:
        return moment == how and fnmatch(str(path), what) and next(passed) == nth

    def link_or_die(source: Any, target: Any) -> None:
        if how == "copy":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        if is_it("link", target):
            die()
        link(source, target)

    def replace_or_die(source: Any, target: Any) -> None:
        if is_it("rename", target) or is_it("copy", target):
            die()
        replace(source, target)
        if is_it("renamed", target):
            die()

    def append_or_die(self: files.Log, row: Any) -> None:
        if is_it("torn", self.path):
            line = json.dumps(row, ensure_ascii=False).encode()
            self._file.write(line[: len(line) // 2])
            die()
        append(self, row)
        if is_it("row", self.path):
            die()

    os.link, os.replace = link_or_die, replace_or_die  # type: ignore[assignment]
    files.Log.append = append_or_die  # type: ignore[method-assign]


def kill_at_call(what: str, nth: int) -> None:
    module, name = what.split(":")
    owner, called = resolve_name(f"{module}:{name.rpartition('.')[0]}"), count(1)
    function = getattr(owner, name.rpartition(".")[2])

    def call_or_die(*given: Any, **named: Any) -> Any:
        if next(called) == nth:
            die()
        return function(*given, **named)

    setattr(owner, name.rpartition(".")[2], call_or_die)


def stop_behind(last: str) -> None:
    """Ask the run to end when the node of that name is done."""
    run_once = node.run_once

    async def run_and_stop(context: Any, state: Any, spec: Any, work: Any) -> Any:
        update = await run_once(context, state, spec, work)
        if spec.name == last:
            os.kill(os.getpid(), signal.SIGTERM)
        return update

    node.run_once = run_and_stop


def main(config: Path, run: Path, said: Path, point: Point | None) -> None:
    """Start or resume the run in a process group of its own; what it says goes to a file."""
    os.setsid()
    with open(said, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    importing.PART, vector_store._PAGE = PART, PAGE
    if point is not None:
        kill_at(*point)
    stop_behind("retrieve")
    asyncio.run(drive(load_config(config), run, "resume", Reporter()))
