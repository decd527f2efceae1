"""One process at a time on a run folder: a lock file, which a kill lets go, and who holds it."""

from pathlib import Path

from filelock import FileLock, Timeout

from retrieval.errors import DataError, RunError
from retrieval.storage.files import read_object, storage_errors


def take(path: Path) -> FileLock:
    """Take a run folder for this process. Raises RunError naming the process that holds it, StorageError."""
    lock = FileLock(path / "lock")
    with storage_errors(path / "lock"):
        try:
            lock.acquire(timeout=0.5)  # `is_held` takes it for an instant
        except Timeout:  # an OSError too, but not one that storage_errors should see
            holder = _holder(path)
            raise RunError(f"{path} is held by process {holder}; wait for it, stop it, or choose another run") from None
    return lock


def is_held(path: Path) -> bool:
    """Whether some process holds the run folder now."""
    if not (path / "lock").exists():
        return False
    lock = FileLock(path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _holder(path: Path) -> str:
    try:
        return str(read_object(path / "run.json")["pid"])
    except (DataError, KeyError):
        return "(starting up)"
