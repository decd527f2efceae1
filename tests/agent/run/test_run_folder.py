"""A run folder: one process at a time, resumed, refused or deleted on request."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.loading import parse_config
from agent.config.schema import RunConfig
from agent.run.folder import RunFolder
from agent.run.machine import resolved
from agent.run.resume import read_config
from retrieval.errors import ConfigError, RunError, StorageError
from retrieval.storage.files import read_jsonl

RAW = {
    "name": "cats",
    "data": {"validation": "/items.jsonl"},
    "pool": {"path": "/pool.json"},
    "student": {"model": "student"},
    "teacher": {"model": "expert"},
}


def config(**changes: object) -> RunConfig:
    return parse_config({**RAW, **changes}, "test")


def test_a_folder_keeps_its_configuration_and_is_resumed(tmp_path: Path) -> None:
    first = RunFolder.open(tmp_path / "run", config())
    first.event("something", round=1)
    first.close()
    again = RunFolder.open(tmp_path / "run", config())
    assert again.id == first.id
    assert read_config(tmp_path / "run") == again.config == resolved(config())
    assert [row["event"] for row in read_jsonl(tmp_path / "run" / "events.jsonl")] == ["run_began", "something"]
    again.close()


def test_a_folder_in_which_nothing_was_answered_takes_another_configuration(tmp_path: Path) -> None:
    first = RunFolder.open(tmp_path / "run", config())
    first.close()
    paid = [tmp_path / "run" / name for name in ("teacher.jsonl", "pool-costs.jsonl")]
    for path in (*paid, tmp_path / "run" / "items.jsonl"):
        path.touch()
    second = RunFolder.open(tmp_path / "run", config(seed=1))
    second.close()
    assert second.id != first.id
    assert read_config(tmp_path / "run") == resolved(config(seed=1))
    assert [path.exists() for path in paid] == [True, True], "what was paid for still counts"
    assert not (tmp_path / "run" / "items.jsonl").exists()


def test_prompts_that_are_none_are_refused_before_a_folder_is_made(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diagnoses.md").touch()
    with pytest.raises(ConfigError, match=r"is `diagnose\.md` meant"):
        RunFolder.open(tmp_path / "run", config(teacher={"model": "expert", "prompts": str(tmp_path / "mine")}))
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_refused_or_deleted_on_request(tmp_path: Path) -> None:
    first = RunFolder.open(tmp_path / "run", config())
    first.close()
    with pytest.raises(RunError, match="holds a run already"):
        RunFolder.open(tmp_path / "run", config(), "raise")
    fresh = RunFolder.open(tmp_path / "run", config(seed=1), "delete")
    assert fresh.id != first.id
    fresh.close()


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="is no run folder"):
        RunFolder.open(tmp_path, config(), "delete")
    assert (tmp_path / "thesis.tex").exists()


def test_a_file_in_the_place_of_a_run_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("years of work")
    with pytest.raises(RunError, match="file is a file; name a folder with --run-dir"):
        RunFolder.open(tmp_path / "file", config(), "delete")
    with pytest.raises(StorageError, match="name another path") as caught:
        RunFolder.open(tmp_path / "file" / "run", config())
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="is no run folder"):
        read_config(tmp_path / "file")


def test_a_second_process_is_told_who_holds_the_run(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", config())
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.agent.run.test_run_folder import config\n"
        "from agent.run.folder import RunFolder\n"
        "RunFolder.open(Path(sys.argv[1]), config())"
    )
    found = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], capture_output=True, text=True)
    assert found.returncode != 0
    assert f"held by process {os.getpid()}" in found.stderr
    folder.close()


def test_a_lock_left_by_a_kill_does_not_stick(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.agent.run.test_run_folder import config\n"
        "from agent.run.folder import RunFolder\n"
        "RunFolder.open(Path(sys.argv[1]), config()); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=False)
    RunFolder.open(tmp_path / "run", config()).close()
