"""What the loop brings on the micro-world: `python -m benchmarks.tasks [--tasks …] [--seeds 0 1 2] [--workers 2]`.

`--set a.b=c …` measures other settings; `--choose` is for choosing among them: it reads the validation sets and known skills of
another draw, leaves the arm of the whole pool out, and writes no table.

For each task and seed one run, as `gaptutor demo` makes it. All accuracies are on the holdout (400 items, never diagnosed); the
test splits are not read.
- before: the student as it came. ours: the kept adapter (round 0 if none was shown to be better).
- control: as many random samples as the kept round had, tuned the same way.
- pool: the whole pool, with the same number of sample presentations and the same schedule as ours.
- outside: accuracy on known skills that the task does not use (400 items, digits of the validation scans).
Rows are kept in OUT/rows/, so a stopped call goes on; only rows made under the settings and the pool of this call are used.
The table goes to benchmarks/tasks.md. If a row cannot be made, the table says so and the exit code is 1.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from agent.cli.microworld import make_data, world_config
from agent.config.loading import override
from agent.evaluation.answering import answer_items, read_answers
from agent.loop.data import ensure_data
from agent.loop.drive import drive
from agent.loop.nodes.tune import tune_on, union
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.folder import RunFolder
from eval.answers import evaluate_answers
from eval.microworld.export import write_items
from eval.microworld.programs import KNOWN
from eval.microworld.tasks import Task, load_task, task_names
from eval.scorers import Scorer, make_scorer
from eval.statistics import mean_interval
from eval.task import load_items
from retrieval.storage.files import Log, digest, read_json, read_jsonl, write_text

POOL = 24_000
#: Seeds of the items outside a task, by what they stand beside.
OUTSIDE_SEEDS = {"holdout": 90_000, "validation": 91_000}


def settings(changes: list[str], pool: int, choose: bool) -> str:
    """Digest of what a row is made under, whatever the order of the changes."""
    return digest({"set": _tree(changes), "pool": pool, "choose": choose})


def _tree(changes: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for change in changes:
        override(tree, change)
    return tree


#: What rows without a digest were made under.
DEFAULT = settings([], POOL, False)


def _name(options: argparse.Namespace, task: str, seed: int) -> str:
    """Of a row and its run; other settings than the default ones have names of their own."""
    made = settings(options.set, options.pool, options.choose)
    return f"{task}-{seed}" + ("" if made == DEFAULT else f"-{made[:8]}")


def read_rows(options: argparse.Namespace) -> dict[tuple[str, int], dict[str, Any]]:
    """The rows that this call asks for, as far as they were made under its settings, by task and seed."""
    made, found = settings(options.set, options.pool, options.choose), {}
    for task in options.tasks:
        for seed in options.seeds:
            for row in read_jsonl(options.out / "rows" / f"{_name(options, task, seed)}.jsonl"):
                if row.get("settings", DEFAULT) == made:
                    found[task, seed] = row
    return found


async def one(options: argparse.Namespace, task: str, seed: int) -> dict[str, Any]:
    """Run a task with a seed, then the arms that the run itself does not have. Returns a row of the table."""
    out, part = options.out, "validation" if options.choose else "holdout"
    run = out / "runs" / _name(options, task, seed)
    config = world_config(run.name, out / "data", task, options.pool, **{"seed": seed, **_tree(options.set)})
    ending = await drive(config, run, "resume", Reporter(quiet=True))
    if ending != "finished":
        raise RuntimeError(f"{run} {ending}")
    status, rounds = read_json(run / "run.json"), sorted((run / "rounds").iterdir())
    best = status["best_round"]
    row: dict[str, Any] = {
        "task": task,
        "seed": seed,
        "settings": settings(options.set, options.pool, options.choose),
        "rounds": len(rounds) - 1,
        "best": best,
        "stop": status["stop_reason"],
    }
    row |= {
        "before": _measured(rounds[0], part),
        "ours": _measured(rounds[best], part),
        "seconds": status["seconds"],
    }
    context = Context.build(RunFolder.open(run, config), Reporter(quiet=True))
    try:
        await ensure_data(context)
        kept = best or len(rounds) - 1
        row["pool"] = float("nan") if options.choose else await _whole_pool(context, kept)
        row["control"] = _measured(context.folder.control(kept), part) if best else row["before"]
        row["samples"] = len(union(context, kept))
        row["outside"] = await _outside(context, out / "data" / task / f"outside-{part}", task, part, kept, best)
    finally:
        await context.close()
    return row


def _measured(folder: Path, part: str) -> float:
    found = read_json(folder / "evaluation.json")
    return float((found["holdout"] if part == "holdout" else found)["accuracy"])


async def _whole_pool(context: Context, kept: int) -> float:
    """The whole pool at matched compute: its samples are as many presentations as the kept round's."""
    data, folder = context.data, context.folder.path / "pool-arm"
    presentations = len(union(context, kept)) * context.config.tuning.epochs
    ids = [each for each in data.pool.ids if each not in data.excluded]
    tuning = context.config.tuning.model_copy(update={"epochs": presentations / len(ids)})
    config, context.config = context.config, context.config.model_copy(update={"tuning": tuning})
    await tune_on(context, ids, folder, {})
    context.config = config
    return await _accuracy(context, data.holdout, folder / "holdout.jsonl", folder / "adapter", data.scorer)


async def _accuracy(context: Context, items: Any, path: Path, adapter: Path | None, scorer: Scorer) -> float:
    name = None
    if adapter is not None:
        name = "-".join(adapter.parts[-3:])
        await context.student.load_adapter(name, adapter)
    prompt = context.config.student.rationale_prompt
    await answer_items(context.student, items, path, name, prompt, scorer, context.teacher, lambda done, total: None)
    if name:
        await context.student.drop_adapter(name)
    return evaluate_answers(read_answers(path)).accuracy


async def _outside(context: Context, folder: Path, task: str, part: str, kept: int, best: int) -> dict[str, float]:
    """Accuracy of each arm on known skills that the task does not use; `folder` gets the items."""
    if not (folder / "holdout.jsonl").exists():
        others = {name: 1.0 for name in KNOWN if name not in load_task(task).programs}
        write_items(Task(f"outside {task}", "", OUTSIDE_SEEDS[part], others, {}), "holdout", folder)
    items = load_items(folder / "holdout.jsonl").items
    rounds = context.folder.path
    arms: dict[str, Path | None] = {"before": None}
    if (pool := rounds / "pool-arm" / "adapter").exists():
        arms["pool"] = pool
    if best:
        arms |= {"ours": context.folder.round(kept) / "adapter", "control": context.folder.control(kept) / "adapter"}
    scorer = make_scorer("exact", items)  # the run's is chosen for its task, and what is outside has other answers
    found = {
        arm: await _accuracy(context, items, rounds / f"outside-{arm}.jsonl", adapter, scorer)
        for arm, adapter in arms.items()
    }
    return {"ours": found["before"], "control": found["before"], **found}


def table(rows: list[dict[str, Any]]) -> str:
    """The table, a line a task (mean and range over seeds), and the figures over all tasks."""
    lines = [
        "| task | before | control | ours | pool | ours − control | outside: before | control | ours | samples | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for task in sorted({row["task"] for row in rows}):
        lines.append(_line(task, [row for row in rows if row["task"] == task]))
    gains = [_gain(rows, task) for task in sorted({row["task"] for row in rows})]
    if len(gains) > 1:
        low, high = mean_interval(gains)
        outside = np.mean([row["outside"]["ours"] - row["outside"]["control"] for row in rows])
        lines.append(
            f"\nOurs − control, mean over {len(gains)} tasks: {np.mean(gains):+.3f} (95% bootstrap interval over tasks "
            f"{low:+.3f} to {high:+.3f}); outside the task {outside:+.3f}."
        )
    return "\n".join(lines) + "\n"


def _gain(rows: list[dict[str, Any]], task: str) -> float:
    return float(np.mean([row["ours"] - row["control"] for row in rows if row["task"] == task]))


def _line(task: str, rows: list[dict[str, Any]]) -> str:
    def cell(values: list[float]) -> str:
        return f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})" if len(values) > 1 else f"{values[0]:.3f}"

    cells = [cell([row[arm] for row in rows]) for arm in ("before", "control", "ours", "pool")]
    cells.append(f"{np.mean([row['ours'] - row['control'] for row in rows]):+.3f}")
    cells += [cell([row["outside"][arm] for row in rows]) for arm in ("before", "control", "ours")]
    cells += [
        f"{np.mean([row['samples'] for row in rows]):.0f}",
        f"{np.mean([row['seconds']['total'] for row in rows]):.0f}",
    ]
    return f"| {task} | " + " | ".join(cells) + " |"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="*", default=task_names())
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--pool", type=int, default=POOL)
    parser.add_argument("--workers", type=int, default=2, help="runs side by side, each with its share of the cores")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-tasks"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other settings than the demo's")
    parser.add_argument("--choose", action="store_true", help="measure on validation sets, to choose settings")
    parser.add_argument("--one", nargs=2, metavar=("TASK", "SEED"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Make the rows that are missing, and print and write the table. Exit code 1 if a row is still missing."""
    given = _options()
    if given.one:
        task, seed = given.one[0], int(given.one[1])
        row = asyncio.run(one(given, task, seed))
        with Log(given.out / "rows" / f"{_name(given, task, seed)}.jsonl") as log:
            log.append(row)
        return 0
    for task in given.tasks:
        make_data(given.out / "data", task, given.pool)
    _make_rows(given)
    rows = read_rows(given)
    missing = [f"{task} seed {seed}" for task in given.tasks for seed in given.seeds if (task, seed) not in rows]
    text = table(list(rows.values())) + (f"\nMissing: {', '.join(missing)}.\n" if missing else "")
    print(text)
    if rows and not given.choose:
        head = (
            f"# The loop on the micro-world\n\nMade by `{' '.join(['python -m benchmarks.tasks', *sys.argv[1:]])}`.\n\n"
        )
        about = (__doc__ or "").split("\n\n", 2)[2]
        write_text(Path(__file__).with_suffix(".md"), head + about + "\n" + text)
    return 1 if missing else 0


def _make_rows(given: argparse.Namespace) -> None:
    """Make what is not there yet, each row in a process of its own."""
    cores = max(1, len(os.sched_getaffinity(0)) // given.workers)
    environment = {**os.environ, "OMP_NUM_THREADS": str(cores)}
    there = read_rows(given)

    def start(point: tuple[int, str]) -> None:
        seed, task = point
        if (task, seed) in there:
            return
        command = [sys.executable, "-m", "benchmarks.tasks", *sys.argv[1:], "--one", task, str(seed)]
        done = subprocess.run(command, env=environment, check=False)
        print(f"{task} seed {seed}: " + ("done" if done.returncode == 0 else f"failed ({done.returncode})"), flush=True)

    with ThreadPoolExecutor(given.workers) as workers:
        list(workers.map(start, [(seed, task) for seed in given.seeds for task in given.tasks]))


if __name__ == "__main__":
    sys.exit(main())
