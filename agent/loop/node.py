"""The contract of a node: safe to run twice, and a second run repeats only what was in flight.

A node's key is the hash of run, round, name and input files. Its manifest is written first with `done` false (so that what a
killed attempt left is known to be of this key, and is kept), and again, last of all, with `done` true and the node's result. A
node whose manifest is done returns that result at once; one whose inputs have changed since clears its outputs and starts over.
"""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from langgraph.errors import GraphBubbleUp
from langgraph.runtime import Runtime

from agent.loop.data import ensure_data, ensure_sets
from agent.loop.manifest import Manifest, manifest_of, seconds_spent
from agent.loop.state import State
from agent.run.context import Context
from retrieval.storage.files import digest, file_digest

Update = dict[str, Any]
#: What of the context a node reads that has to be made before.
Reads = Literal["nothing", "sets", "data"]
Work = Callable[[Context, State], Awaitable[Update]]


class NodeFunction(Protocol):
    """What the state machine calls."""

    __name__: str

    def __call__(self, state: State, *, runtime: Runtime[Context]) -> Awaitable[Update]: ...


class Node(NamedTuple):
    """What a node works on: files in the round's folder, by name (inputs may lead out of it with `..`, and to the round before by
    `../{before}`)."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    reads: Reads = "data"


def node(
    inputs: Sequence[str] = (), outputs: Sequence[str] = (), *, reads: Reads = "data"
) -> Callable[[Work], NodeFunction]:
    """Make a node of the state machine from a function that does its work and returns the state's changes; `reads` says whether
    it reads `context.sets` or `context.data`, which is then made before."""

    def wrap(work: Work) -> NodeFunction:
        spec = Node(work.__name__, inputs, outputs, reads)

        async def run(state: State, *, runtime: Runtime[Context]) -> Update:
            context = runtime.context or await Context.shared(Path(state["run"]))
            return await run_once(context, state, spec, work)

        run.__name__, run.__doc__ = work.__name__, work.__doc__
        return run

    return wrap


async def run_once(context: Context, state: State, spec: Node, work: Work) -> Update:
    """Run a node under the contract; its time and what it waited for go to events.jsonl and the manifest."""
    number = state["round"]
    folder = context.folder.round(number)
    folder.mkdir(parents=True, exist_ok=True)  # or a name with `..` in it would lead nowhere, the first time only
    key = _key(context, state, spec, folder)
    found = Manifest.read(manifest_of(folder, spec.name))
    if found.key == key and found.done:
        return dict(found.update)
    if found.key != key:
        _clear(folder, spec.outputs)
        Manifest(found.path, key).write()
    before = seconds_spent(context.folder.path / "events.jsonl", spec.name, number)
    context.folder.event("node_started", node=spec.name, round=number)
    context.teacher.scope = f"round-{number:02d}"
    context.reporter.node(spec.name, number)
    start, before_it = time.monotonic(), dict(context.waited)

    def waited() -> dict[str, float]:
        return {kind: round(total - before_it.get(kind, 0.0), 3) for kind, total in context.waited.items()}

    try:
        if spec.reads == "sets":
            await ensure_sets(context)
        elif spec.reads == "data":
            await ensure_data(context)
        update = await work(context, state)
    except GraphBubbleUp:  # waits for a person
        raise
    except (Exception, asyncio.CancelledError) as error:
        context.folder.event("node_failed", node=spec.name, round=number, error=type(error).__name__, waited=waited())
        raise
    seconds = time.monotonic() - start
    Manifest(found.path, key, True, before + seconds, update).write()
    context.folder.event("node_ended", node=spec.name, round=number, seconds=round(seconds, 3), waited=waited())
    return update


def _key(context: Context, state: State, spec: Node, folder: Path) -> str:
    names = [name.format(before=f"{state['round'] - 1:02d}") for name in spec.inputs]
    files = [(name, file_digest(folder / name) if (folder / name).exists() else None) for name in names]
    return digest(
        [context.folder.id, spec.name, state["round"], state.get("best_round"), state.get("stop_reason"), files]
    )


def _clear(folder: Path, outputs: Sequence[str]) -> None:
    for name in outputs:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
