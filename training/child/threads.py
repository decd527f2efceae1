"""OpenMP's threads: as many as there is room for, and asleep while they have nothing to do.

libgomp's threads spin for a while when they wait for each other. Beside another busy process they then spin for one that is not
running, at every step of a small model, which takes twice the time (`python -m benchmarks.neighbours`). Asleep they cost nothing
measurable, and the results are the same bits.
"""

import os

import joblib


def thread_environment() -> dict[str, str]:
    """What to set before torch is imported; what the user has set stays."""
    found = {"OMP_WAIT_POLICY": "passive"}
    if usable_cores() < (os.cpu_count() or 1):
        found["OMP_NUM_THREADS"] = str(usable_cores())
    return {name: value for name, value in found.items() if name not in os.environ}


def usable_cores() -> int:
    """Cores that this process may use: a container's share counts, which torch does not look at."""
    return int(joblib.cpu_count())
