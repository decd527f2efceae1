"""What a busy neighbour costs a tuning on a few cores: `python -m benchmarks.neighbours [--samples 96]`.

The same small tuning on the micro-world's student, as the run's child process does it, with one thread and with a thread a core,
alone and beside a process that keeps one core busy, under each of OpenMP's ways to wait: `active` (threads that have nothing to
do spin for a while, libgomp's own way), and `passive` (they sleep). Prints a table of the seconds that it took, loading included.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.cli.microworld import make_data
from eval.microworld import WEIGHTS
from retrieval.pool.pool import Pool
from retrieval.storage.files import write_jsonl
from training import TuningJob, tune


def make_samples(folder: Path, count: int) -> Path:
    """Samples of the micro-world's pool as they are trained."""
    make_data(folder / "data", "arithmetic", count)
    pool = Pool.build(folder / "data" / f"pool-{count}" / "pool.json", None, folder / "pools")
    rows = (
        {
            "id": sample.id,
            "turns": [[turn.question, turn.answer] for turn in sample.turns],
            "images": [str(pool.image_path(image)) for image in sample.images],
        }
        for sample in pool
    )
    write_jsonl(folder / "samples.jsonl", rows)
    return folder / "samples.jsonl"


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many processes that each keep a core busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def seconds(samples: Path, out: Path, threads: int, policy: str) -> float:
    """Wall-clock seconds of one tuning."""
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": policy}
    out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    asyncio.run(tune(TuningJob(model=str(WEIGHTS), samples=samples, out=out, batch_size=16, dtype="float32")))
    return time.monotonic() - began


def main() -> int:
    """Print the table, and its rows as JSON below it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=96)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        samples = make_samples(Path(scratch), options.samples)
        print(f"| threads | waiting | alone | beside one | ({cores} cores)\n|---|---|---|---|")
        for threads in (1, cores):
            for policy in ("active", "passive"):
                row = {"threads": threads, "waiting": policy}
                for count in (0, 1):
                    with neighbours(count):
                        place = Path(scratch, f"{threads}-{policy}-{count}", "adapter")
                        row[f"beside {count}"] = round(seconds(samples, place, threads, policy), 1)
                rows.append(row)
                print("| " + " | ".join(map(str, row.values())) + " |", flush=True)
    print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
