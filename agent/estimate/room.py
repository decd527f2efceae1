"""What a run takes beside its teacher: disk, and time as far as it is known."""

from typing import Any

from agent.config.schema import RunConfig
from agent.run import wording
from agent.student.size import measure
from retrieval.errors import ConfigError, TuningError
from retrieval.reading.sources import record_files

#: Bytes of a number of an adapter, which is kept in float32; a tuning's checkpoint holds it and two of the optimiser's.
_ADAPTER, _CHECKPOINT = 4, 12
#: Bytes of a sample's two vectors, its question's and its skill's, in the packaged embedder's 384 numbers of float32.
_VECTORS = 2 * 384 * 4


def disk(config: RunConfig, samples: int, rounds: int) -> dict[str, int] | None:
    """Bytes that a run of so many rounds may take: the pool's folder, but for pictures, which are linked where that can be, and
    adapters with one checkpoint. None if the student cannot be measured from here."""
    try:
        adapter = measure(config).adapter
    except (ConfigError, TuningError):
        return None
    controls = {"off": 0, "every": rounds}.get(str(config.control), 1)
    pool = sum(file.stat().st_size for file in record_files(config.pool.path)) + samples * _VECTORS
    return {"pool": pool, "adapters": adapter * (_ADAPTER * (rounds + controls + 1) + _CHECKPOINT)}


def room_words(found: dict[str, Any]) -> list[str]:
    """Disk and time in sentences."""
    lines = []
    if room := found["disk_bytes"]:
        lines.append(
            f"Disk: about {_gigabytes(room['pool'])} for the pool, {_gigabytes(room['adapters'])} for adapters."
        )
    took = found["seconds_each_round"]
    lines.append(
        f"Time: the last round took {wording.duration(took)}."
        if took
        else "Time: not known before a round is made; a trial with --limit and pool.limit shows it."
    )
    return lines


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{max(1, round(size / 1e6))} MB"
