"""A run folder: one process at a time, resumed, refused or deleted on request."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.config.loading import parse_config
from agent.config.schema import RunConfig
from agent.run.folder import RunFolder, is_held, read_config
from retrieval.errors import ConfigError, RunError, StorageError
from retrieval.storage.files import read_json, read_jsonl, write_json

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
    assert read_config(tmp_path / "run") == config()
    assert [row["event"] for row in read_jsonl(tmp_path / "run" / "events.jsonl")] == ["something"]
    again.close()


def test_another_configuration_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", config())
    folder.round(0).mkdir(parents=True)
    (folder.round(0) / "answers.jsonl").touch()
    folder.close()
    with pytest.raises(RunError, match="seed"):
        RunFolder.open(tmp_path / "run", config(seed=1))
    assert not is_held(tmp_path / "run")


def test_how_the_students_server_is_run_may_change_and_what_it_serves_may_not(tmp_path: Path) -> None:
    def with_server(**vllm: object) -> RunConfig:
        return config(student={"model": "student", "engine": "vllm", "vllm": vllm})

    first = RunFolder.open(tmp_path / "run", with_server())
    first.round(0).mkdir(parents=True)
    (first.round(0) / "answers.jsonl").touch()
    first.close()
    theirs = {"url": "http://127.0.0.1:8000", "api_key_env": "KEY", "timeout": 9, "concurrency": 2}
    ours = {"port": 8001, "python": "/venv/bin/python", "args": ["--enforce-eager"], "start_timeout": 9}
    for changed in (theirs, {**ours, "gpu_memory": 0.5, "sharing": "sleep"}):
        again = RunFolder.open(tmp_path / "run", with_server(**changed))
        assert again.id == first.id
        again.close()
    for key, value in (("serve", "merged"), ("max_length", 512)):
        with pytest.raises(RunError, match=rf"differs in student\.vllm\.{key}\)"):
            RunFolder.open(tmp_path / "run", with_server(**{key: value}))


def test_a_folder_in_which_nothing_was_answered_takes_another_configuration(tmp_path: Path) -> None:
    first = RunFolder.open(tmp_path / "run", config())
    first.close()
    paid = [tmp_path / "run" / name for name in ("teacher.jsonl", "pool-costs.jsonl")]
    for path in (*paid, tmp_path / "run" / "items.jsonl"):
        path.touch()
    second = RunFolder.open(tmp_path / "run", config(seed=1))
    second.close()
    assert second.id != first.id
    assert read_config(tmp_path / "run") == config(seed=1)
    assert [path.exists() for path in paid] == [True, True], "what was paid for still counts"
    assert not (tmp_path / "run" / "items.jsonl").exists()
    RunFolder.open(tmp_path / "run", config(seed=1), "delete").close()
    assert not any(path.exists() for path in paid), "a run that starts over has its whole budget"


def test_what_changes_no_result_may_differ(tmp_path: Path) -> None:
    RunFolder.open(tmp_path / "run", config()).close()
    RunFolder.open(tmp_path / "run", config(teacher={"model": "expert", "concurrency": 2})).close()


def test_other_prompts_are_refused_as_another_configuration_is_and_another_place_of_them_is_not(tmp_path: Path) -> None:
    def with_prompts(name: str, text: str) -> RunConfig:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "judge.md").write_text(f'{text} Reply with {{"correct": true}} or {{"correct": false}}.')
        return config(teacher={"model": "expert", "prompts": str(tmp_path / name)})

    folder = RunFolder.open(tmp_path / "run", with_prompts("mine", "Be strict."))
    folder.round(0).mkdir(parents=True)
    (folder.round(0) / "answers.jsonl").touch()
    folder.close()
    began = read_json(tmp_path / "run" / "run.json")["prompts"]
    RunFolder.open(tmp_path / "run", with_prompts("moved", "Be strict.")).close()
    now = read_json(tmp_path / "run" / "run.json")["prompts"]
    assert now["judge"] == {**began["judge"], "file": str(tmp_path / "moved" / "judge.md")}
    for other in (with_prompts("mine", "Be kind."), config()):
        with pytest.raises(RunError, match=r"differs in the prompt judge\)"):
            RunFolder.open(tmp_path / "run", other)
    assert not is_held(tmp_path / "run")


def test_a_run_from_before_prompts_were_noted_down_had_ours(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", config())
    folder.round(0).mkdir(parents=True)
    (folder.round(0) / "answers.jsonl").touch()
    folder.close()
    status = read_json(tmp_path / "run" / "run.json")
    noted = status.pop("prompts")
    write_json(tmp_path / "run" / "run.json", status)
    RunFolder.open(tmp_path / "run", config()).close()
    assert read_json(tmp_path / "run" / "run.json")["prompts"] == noted


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
