"""What `gaptutor demo` costs and brings: `python -m benchmarks.demo [--task extremes]`.

Runs the demo once in a fresh folder, pool and skills included, and prints one JSON object:
- seconds: wall-clock, from the command's start to its end.
- peak_mib: most memory (PSS, MiB) that the command and all its child processes held together, looked at every half second.
- rounds: accuracy on validation set and holdout, round 0 first; control: the kept round's random control; best: the kept round.
- waited: seconds of the run by what they were spent on; own: those not spent waiting for student, teacher, tuning or pool.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from retrieval.storage.files import read_json

#: Seconds between two looks at the memory.
PAUSE = 0.5


def peak_of(command: Sequence[str]) -> tuple[int, float]:
    """Run a command to its end. Returns the most memory (PSS, MiB) of its whole process tree at a time, and the seconds it took.

    Raises SystemExit with its exit code if it fails.
    """
    peak, began = 0, time.monotonic()
    process = subprocess.Popen(command, stdout=sys.stderr)
    try:
        while process.poll() is None:
            peak = max(peak, _held(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(PAUSE)
    finally:
        process.terminate()
    if code := process.wait():
        print(f"{' '.join(command)}: failed ({code})", file=sys.stderr)
        raise SystemExit(code)
    return peak // 2**20, time.monotonic() - began


def _held(root: int) -> int:
    """Bytes of a process and its descendants; pages that several share count once."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(root)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):  # it may end while it is looked at
                total += process.memory_full_info().pss
    return total


def figures(run: Path) -> dict[str, Any]:
    """What a finished run came to."""
    status = read_json(run / "run.json")
    if status["state"] != "finished":
        raise SystemExit(f"{run} is {status['state']}, not finished")
    rounds = [_accuracies(path) for path in sorted((run / "rounds").iterdir())]
    best = status["best_round"]
    control = _accuracies(run / "rounds" / f"{best:02d}" / "control") if best else None
    spent = status["seconds"]
    waited = {kind: round(seconds, 1) for kind, seconds in spent.items() if kind not in ("total", "own")}
    return {"rounds": rounds, "best": best, "control": control, "waited": waited, "own": round(spent["own"], 1)}


def _accuracies(folder: Path) -> dict[str, float | None]:
    found = read_json(folder / "evaluation.json")
    return {"validation": found["accuracy"], "holdout": found["holdout"] and found["holdout"]["accuracy"]}


def measure(folder: Path, task: str) -> dict[str, Any]:
    """Run the demo in an empty folder."""
    run = folder / "demo"
    peak, seconds = peak_of([sys.executable, "-m", "agent.cli.main", "demo", "--task", task, "--run-dir", str(run)])
    return {"schema": 1, "task": task, "seconds": round(seconds, 1), "peak_mib": peak, **figures(run)}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="extremes", help="task of the micro-world")
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), given.task), indent=2))


if __name__ == "__main__":
    main()
