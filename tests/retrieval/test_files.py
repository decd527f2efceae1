"""Files when there is no room, and when a block that fills a folder fails."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from retrieval.errors import StorageError, TeacherError
from retrieval.storage.files import Log, publish_folder, read_jsonl, storage_errors, write_json, write_text
from tests.full_disk import room_for


def test_a_folder_for_whose_files_there_is_no_room_is_one_sentence_and_the_old_one_stays(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(100_000))
    with publish_folder(tmp_path / "out") as scratch:
        (scratch / "file").write_text("old")
    with (
        pytest.raises(StorageError, match=r"cannot write .*out: .*; make room"),
        room_for(50_000),
        publish_folder(tmp_path / "out") as scratch,
    ):
        shutil.copyfile(tmp_path / "large", scratch / "file")
    assert (tmp_path / "out" / "file").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"large", "out"}


def test_only_what_the_system_says_becomes_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(TeacherError), storage_errors(tmp_path):
        raise TeacherError("away")
    with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)), storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_that_ran_out_of_room_goes_on_behind_its_last_whole_row(tmp_path: Path) -> None:
    rows = [{"number": number, "text": "x" * 100} for number in range(3)]
    with Log(tmp_path / "log.jsonl") as log:
        log.append(rows[0])
        with room_for(200), pytest.raises(StorageError):
            log.append(rows[1])
        log.append(rows[2])
    assert read_jsonl(tmp_path / "log.jsonl") == [rows[0], rows[2]]


@pytest.mark.parametrize(
    ("code", "cure", "exit_code"),
    [
        (errno.ENOSPC, "make room, then run again", 1),
        (errno.EDQUOT, "make room, then run again", 1),
        (errno.EACCES, "change its permissions or name another path", 2),
        (errno.EROFS, "change its permissions or name another path", 2),
        (errno.EISDIR, "name another path", 2),
        (errno.ENOENT, "name another path", 2),
    ],
)
def test_the_cure_fits_the_cause(tmp_path: Path, code: int, cure: str, exit_code: int) -> None:
    with pytest.raises(StorageError) as caught, storage_errors(tmp_path):
        raise OSError(code, os.strerror(code))
    assert str(caught.value).startswith(f"cannot write {tmp_path}: {os.strerror(code)}; {cure}")
    assert caught.value.exit_code == exit_code
    assert StorageError.exit_code == 1


def test_what_is_written_has_the_modes_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "file", "text")
        with publish_folder(tmp_path / "folder") as scratch:
            write_json(scratch / "file", 1)
    finally:
        os.umask(before)
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder", "folder/file")}
    assert modes == {"file": 0o640, "folder": 0o750, "folder/file": 0o640}
