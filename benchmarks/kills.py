"""Whether runs that are killed at random end as an unbroken one: `python -m benchmarks.kills [--runs 200] [--workers 2]`.

Each run has a seed, which draws one to five SIGKILLs in the order in which the run comes to their places: at a node (before its
work, at a row or file that it writes, while the child tunes, when its manifest is written), or at a call of the saver, before or
after it. Odd seeds are runs of one round and its control, even ones of two rounds. Nodes, student, teacher, tuning and pool are
real, on the micro-world; what is killed is a fork of one process that has everything imported, and the tuning is a process
as ever, whose parent is gone then.

A run has converged if, resumed once more, it ends with the unbroken run's answers, diagnoses, gaps, selections and weights, byte
for byte; has repeated no node but those that were killed at work; has paid nothing twice; and has left no scratch file.

Goes on where it was stopped: rows of runs that are done lie in OUT/runs.jsonl. Writes benchmarks/kills.md.
"""

import argparse
import asyncio
import importlib
import json
import os
import random
import shutil
import sys
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

# Before anything that reads them: forks of a process whose threads have begun would wait for them.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

from agent.config.loading import load_config
from agent.loop.drive import drive
from agent.run.console import Reporter
from retrieval.storage.files import Log, read_jsonl, write_text
from tests.faults.conftest import SMALL, THREE_ROUNDS, Point, World, nodes_started
from tests.faults.killing import arm
from tests.faults.killing_saver import die_at, fork
from tests.faults.test_soak import when

COMMAND = "python -m benchmarks.kills"
WORLDS: dict[str, dict[str, Any]] = {
    "two rounds": {**THREE_ROUNDS, "max_rounds": 2, "control": "off"},
    "one round and its control": SMALL,
}
#: Calls of the saver after a start among which one is drawn; an unbroken run of one round has 27.
CALLS = 12


def drawn(seed: int, points: list[Point]) -> list[tuple[Point, str]]:
    """One to five kills in the run's order: a node's point, or ("saver", the call's number after the start)."""
    by = random.Random(f"kills/{seed}")
    places = sorted(by.randrange(len(points)) for _ in range(by.randint(1, 5)))
    kills: list[tuple[Point, str]] = []
    for place in places:
        if by.random() < 0.5:
            kills.append((("saver", by.randint(1, CALLS)), by.choice(["before", "after"])))
        else:
            kills.append((points[place], when(by, points[place])))
    return kills


def start(world: World, run: Path, kill: tuple[Point, str] | None = None) -> int:
    """Start or resume a run in a process of its own, which dies as it is told; its exit code."""

    def work() -> None:
        if kill is not None and kill[0][0] == "saver":
            die_at(kill[0][1], kill[1], lambda call: None)
        elif kill is not None:
            arm(*kill[0], kill[1])
        asyncio.run(drive(load_config(world.config), run, "resume", Reporter(quiet=True)))

    return fork(work)


def one(world: World, seed: int, run: Path) -> dict[str, Any]:
    """Kill and resume one run; what became of it."""
    shutil.rmtree(run, ignore_errors=True)
    killed, kills, began = Counter[Point](), [], time.monotonic()
    for point, how in drawn(seed, list(nodes_started(world.unbroken))):
        if start(world, run, (point, how)) == -9:
            kills.append(f"{point[0]} {point[1]} {how}")
            killed[point] += point[0] != "saver" and how != "published"
    wrong = ""
    try:
        world.check_resumed(run, killed, start(world, run))
    except AssertionError as error:
        wrong = str(error)[:500] or "it ended otherwise"
    return {"seed": seed, "kills": kills, "wrong": wrong, "seconds": round(time.monotonic() - began, 1)}


def import_what_runs_import(worlds: dict[str, World], out: Path) -> None:
    """Import whatever an unbroken run of each kind imports, so that forks need not; no thread may have begun then."""
    names = out / "modules.json"

    def in_one() -> None:
        for name, world in worlds.items():
            run = out / "warm" / name
            shutil.rmtree(run, ignore_errors=True)
            asyncio.run(drive(load_config(world.config), run, "resume", Reporter(quiet=True)))
        names.write_text(json.dumps(sorted(sys.modules)))

    assert fork(in_one) == 0, "an unbroken run failed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in json.loads(names.read_text()):
            with suppress(Exception):
                importlib.import_module(name)


def work_off(worlds: dict[str, World], seeds: list[int], out: Path) -> None:
    """Make the runs of these seeds, and note each when it is done."""
    kinds = list(worlds)
    for seed in seeds:
        run = out / "killed" / str(seed)
        row = one(worlds[kinds[seed % 2]], seed, run)
        with Log(out / "runs.jsonl") as log:
            log.append(row)
        if not row["wrong"]:
            shutil.rmtree(run)


def page(rows: list[dict[str, Any]], command: str) -> str:
    """The table."""
    kills = [len(row["kills"]) for row in rows]
    at_saver = sum(each.startswith("saver") for row in rows for each in row["kills"])
    wrong = [row for row in rows if row["wrong"]]
    lines = [
        "# Runs killed at random\n",
        f"`{command}`\n",
        f"{len(rows) - len(wrong)} of {len(rows)} runs converged, over {sum(kills)} SIGKILLs, {at_saver} of them at calls of "
        f"the saver; {min(kills)} to {max(kills)} a run, {mean(row['seconds'] for row in rows):.0f} s a run.\n",
        "| kills | runs | converged |",
        "|---|---|---|",
    ]
    for count in sorted(set(kills)):
        these = [row for row in rows if len(row["kills"]) == count]
        lines.append(f"| {count} | {len(these)} | {sum(not row['wrong'] for row in these)} |")
    lines += [f"\nSeed {row['seed']} ({', '.join(row['kills'])}): {row['wrong']}" for row in wrong]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Exit code 0 if all runs converged."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    worlds = {name: World(out / "worlds", name.split()[0], settings) for name, settings in WORLDS.items()}
    import_what_runs_import(worlds, out)
    done = {row["seed"] for row in read_jsonl(out / "runs.jsonl")}
    seeds = [seed for seed in range(options.runs) if seed not in done]
    workers = []
    for first in range(options.workers):
        child = os.fork()
        if not child:
            work_off(worlds, seeds[first :: options.workers], out)
            os._exit(0)
        workers.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in workers]
    rows = sorted(read_jsonl(out / "runs.jsonl"), key=lambda row: int(row["seed"]))
    write_text(Path(__file__).with_suffix(".md"), page(rows, COMMAND))
    return int(any(ended) or any(row["wrong"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
