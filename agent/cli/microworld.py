"""`gaptutor microworld …` and what `gaptutor demo` runs on: the only place outside `eval` that knows the micro-world."""

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.config.loading import parse_config
from agent.config.schema import RunConfig
from agent.run.console import visible
from retrieval.errors import ConfigError

app = typer.Typer(help="A small world with a student that has true gaps, to try things on.", no_args_is_help=True)

#: Samples in the demo's pool.
DEMO_POOL = 12000
POOL_SEED = 1

#: How the micro-world's student is asked and tuned; chosen on validation sets.
SETTINGS: dict[str, Any] = {
    "max_rounds": 2,
    "student": {
        "max_new_tokens": 96,
        "rationale_prompt": "{question} Think in steps.",
        "direct_prompt": "{question} Answer only.",
    },
    "teacher": {"model": "expert", "app": "eval.microworld.expert:app"},
    "selection": {"budget": 600},
    "tuning": {"epochs": 8, "learning_rate": 2e-3, "max_length": 256},
}


def make_data(folder: Path, task: str, pool: int) -> None:
    """Write a task's validation set and holdout and a pool into `folder`; what is there is kept.

    The test split is not written: it is for comparing strategies, and for nothing before that.
    """
    from dataclasses import asdict

    from eval.microworld.export import write_items
    from eval.microworld.pool import make_pool
    from eval.microworld.tasks import load_task
    from retrieval.storage.files import read_object, write_json

    found = load_task(task)
    items = folder / found.name
    if not (items / "task.json").exists() or read_object(items / "task.json") != asdict(found):
        for part in ("validation", "holdout"):
            write_items(found, part, items)
        write_json(items / "task.json", asdict(found))
    if not (folder / f"pool-{pool}" / "pool.json").exists():
        make_pool(folder / f"pool-{pool}", pool, POOL_SEED)


def world_config(name: str, folder: Path, task: str, pool: int, **changes: Any) -> RunConfig:
    """The configuration of a run on a task whose data are in `folder`; `changes` are merged into its sections."""
    from eval.microworld import WEIGHTS
    from eval.microworld.tasks import load_task

    items = folder.resolve() / load_task(task).name
    raw: dict[str, Any] = {
        **SETTINGS,
        "name": name,
        "data": {"validation": str(items / "validation.jsonl"), "holdout": str(items / "holdout.jsonl")},
        "pool": {"path": str(folder.resolve() / f"pool-{pool}" / "pool.json")},
    }
    raw["student"] = {**raw["student"], "model": str(WEIGHTS)}
    for key, value in changes.items():
        raw[key] = {**raw.get(key, {}), **value} if isinstance(value, dict) else value
    return parse_config(raw, "the micro-world")


def demo_config(task: str, run_dir: Path) -> RunConfig:
    """The demo's configuration; its data are made beside the run folder if they are not there."""
    folder = run_dir.parent / "microworld"
    config = world_config(run_dir.name, folder, task, DEMO_POOL)
    make_data(folder, task, DEMO_POOL)
    return config


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where to write.")],
    task: Annotated[str, typer.Option(help="Task: a name that ships, or a .yaml file.")] = "arithmetic",
    pool: Annotated[int, typer.Option(min=1, help="Samples in the pool.")] = 24000,
) -> None:
    """Write a task's validation set and holdout, a pool, and a configuration to run them."""
    from agent.cli.init import render
    from eval.microworld.tasks import load_task
    from retrieval.storage.files import write_text

    make_data(folder, task, pool)
    name = load_task(task).name
    path = folder / f"{name}.yaml"
    write_text(path, render(world_config(name, folder, task, pool)))
    print(visible(f"wrote {path}; next: gaptutor run {path}"))


@app.command()
def student(
    out: Annotated[Path, typer.Argument(help="Folder for the student's weights.")],
    samples: Annotated[int, typer.Option(min=1, help="Questions and captions to learn from.")] = 420_000,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of what is shown.")] = 0,
) -> None:
    """Make the student again by its recipe (about half an hour on two idle cores)."""
    from eval.microworld.pretraining.pretrain import Recipe, pretrain, print_line

    pretrain(Recipe(out=out, samples=samples, seed=seed), print_line)


@app.command()
def teacher(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine.")] = 8765,
) -> None:
    """Serve the expert teacher over the OpenAI chat protocol, on this machine only."""
    import uvicorn

    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)  # create_server adds the address to strerror
        raise ConfigError(f"port {port} cannot be served: {reason}; name another with --port") from None
    server = uvicorn.Server(uvicorn.Config("eval.microworld.batches:app", log_level="warning"))
    print(f"teacher.base_url: http://127.0.0.1:{listening.getsockname()[1]}/v1   teacher.model: expert", flush=True)
    with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has shut down
        server.run(sockets=[listening])
