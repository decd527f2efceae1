"""Files that a kill, a full disk or a second look cannot spoil.

Whole files are written beside their place, flushed to disk and renamed over it. Logs (one JSON object a line) are appended
a flushed line at a time; a torn last line, left by a kill, is dropped on reading and cut off before the next append.
Trade-off: a rename replaces a link by a file, and a reader may see either the old or the new file, never a mixture.
Not covered: file systems on which rename is not atomic.
"""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from retrieval.errors import DataError, GaptutorError, StorageError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_PLACE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP}

_RESTORE = "restore it from a copy"
#: A log is forced to disk at least this often (seconds), so that a power cut costs no more than that.
SYNC_SECONDS = 1.0


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into one sentence for the user."""
    try:
        yield
    except GaptutorError:  # some are OSErrors too
        raise
    except OSError as error:
        failure = StorageError(f"cannot write {path}: {error.strerror or error}; {_cure(error.errno)}")
        if error.errno in _NO_PLACE | _NOT_ALLOWED:
            failure.exit_code = 2
        raise failure from error


def _cure(code: int | None) -> str:
    if code in _NO_PLACE:
        return "name another path"
    if code in _NOT_ALLOWED:
        return "change its permissions or name another path, then run again"
    return "make room, then run again" if code in _NO_ROOM else "make room or change its permissions, then run again"


def _scratch_beside(path: Path) -> Path:
    # Not by tempfile, whose files are for their owner alone: these come to stay, with the modes that the umask leaves.
    return path.parent / f".{path.name}.{uuid4().hex[:8]}.tmp"


def sync_folder(folder: Path) -> None:
    """Force to disk which entries a folder has."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically and durably. Raises StorageError; the old file, if any, is then untouched."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch_beside(path)
        try:
            with open(scratch, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for text."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` for one JSON value, indented for human readers."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_text(path: Path, most: int = 1 << 20) -> str:
    """The text of a file that a user wrote, without a byte order mark. Raises UnicodeDecodeError, and OSError also for what is no
    file (a pipe would be waited for) or has more than `most` bytes."""
    size = path.stat().st_size
    if not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file")
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than {most:,}")
    return path.read_text(encoding="utf-8-sig")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises DataError naming the file, the line and a cure if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}; {_RESTORE}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}); {_RESTORE}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged: {_why(error)}; {_RESTORE}") from None


def read_object(path: Path) -> dict[str, Any]:
    """`read_json` of a file that must hold a JSON object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged: it holds no JSON object; {_RESTORE}")
    return found


def _why(error: Exception) -> str:
    """What is wrong with bytes that are no JSON, in words."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


@contextmanager
def publish_folder(path: Path) -> Iterator[Path]:
    """A scratch folder that becomes `path` when the block ends well, and vanishes when it does not.

    An older folder at `path` is replaced. Scratch folders left by a kill are removed by `clear_scratch`. Raises StorageError,
    also for an OSError of the block.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch_beside(path)
        scratch.mkdir()
        try:
            yield scratch
            for file in scratch.rglob("*"):
                if file.is_file():
                    with open(file, "rb") as handle:
                        os.fsync(handle.fileno())
            shutil.rmtree(path, ignore_errors=True)
            os.replace(scratch, path)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def clear_scratch(root: Path) -> None:
    """Remove what killed writers left under `root`."""
    for left in list(root.rglob(".*.tmp")):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a log, [] if there is none yet; a torn last line is dropped.

    Raises DataError naming the line if any other line is no JSON object.
    """
    return list(iter_jsonl(path))


def iter_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """`read_jsonl`, a row at a time."""
    for row in _rows(path):
        if isinstance(row, DataError):
            raise row
        yield row


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a log without its damaged lines."""
    return [row for row in _rows(path) if not isinstance(row, DataError)]


def _rows(path: Path) -> Iterator[dict[str, Any] | DataError]:
    """The rows of a log, and in the place of a line that is none, what is wrong with it."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row, why = json.loads(line), "it is no JSON object"
            except (ValueError, RecursionError) as error:
                row, why = None, f"not JSON ({_why(error)})"
            yield row if isinstance(row, dict) else DataError(f"{path}, line {number}: {why}; mend or remove that line")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole log at once, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def forget_rows(path: Path, unwanted: Callable[[dict[str, Any]], bool]) -> None:
    """Take the unwanted rows out of a log that no one is writing, atomically; does nothing where there are none."""
    rows = read_jsonl(path)
    kept = [row for row in rows if not unwanted(row)]
    if len(kept) < len(rows):
        write_jsonl(path, kept)


class Log:
    """An append-only JSONL file with one writer. Opening cuts off a torn last line; closing forces it to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _cut_torn_line(path)
            # Unbuffered: a row that found no room must not be tried again by a later flush.
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        self._synced = time.monotonic()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; it is in the file when this returns, and on disk a second later. Raises StorageError."""
        with storage_errors(self.path):
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            if self._file.write(line) < len(line):
                # Else the next row, if there is room again, would stand behind half of this one.
                _cut_torn_line(self.path)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self.sync()

    def sync(self) -> None:
        """Force everything written so far to disk."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def close(self) -> None:
        """Force to disk and close; a second call does nothing."""
        if not self._file.closed:
            with storage_errors(self.path):
                self.sync()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with open(path, "rb+") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def digest(value: Any) -> str:
    """Hex SHA-256 of a JSON value in canonical form: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
