"""The command: a user's mistake gets one sentence and exit code 2, never a traceback."""

import contextlib
import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from agent.config.loading import load_config
from agent.loop.data import ensure_data
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.folder import RunFolder
from retrieval.errors import RunError
from retrieval.storage.files import read_jsonl


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_data(folder, "arithmetic", 40)
    return folder


@pytest.fixture
def config(data: Path, tmp_path: Path) -> Path:
    path = tmp_path / "task.yaml"
    small = world_config("small", data, "arithmetic", 40, max_rounds=1, data={"limit": 8}, selection={"budget": 8})
    path.write_text(render(small))
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what was said on standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code
    return (code if isinstance(code, int) else 0), capsys.readouterr().err


def run_with(capsys: pytest.CaptureFixture[str], config: Path, *overrides: str) -> tuple[int, str]:
    sets = [each for override in overrides for each in ("--set", override)]
    return call(capsys, "run", config, "--run-dir", config.parent / "run", *sets)


def write_items(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("selektion.budget=5", "there is no key `selektion`"),
        ("data.validation=none.jsonl", "none.jsonl"),
        ("pool.path=none.json", "none.json"),
        ("student.model=no-such-folder", "no-such-folder"),
        ("teacher.app=no.such:app", "teacher.app"),
        ("data.scorer=magic", "magic"),
        ("pool.embedder=no-such-embedder", "no-such-embedder"),
        ("checkpoint_url_env=NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
        ("selection.bugdet=5", "is `selection.budget` meant?"),
        ("name=[a", "brackets"),
        ("data.holdout=none.jsonl", "data.holdout"),
    ],
)
def test_a_wrong_value_is_named(capsys: pytest.CaptureFixture[str], config: Path, override: str, said: str) -> None:
    code, err = run_with(capsys, config, override)
    assert (code, said in err, "Traceback" in err) == (2, True, False), err


def test_a_teacher_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    code, err = run_with(
        capsys, config, "teacher.app=null", f"teacher.base_url=http://127.0.0.1:{port}/v1", "teacher.retries=0"
    )
    assert code == 2
    assert f"127.0.0.1:{port}" in err


def test_items_that_cannot_be_read_are_counted_and_stop_the_run_when_too_many(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path, data: Path
) -> None:
    good = {"question": "What digit is at a1?", "answer": "4"}
    items = write_items(tmp_path / "items.jsonl", [*[good] * 9, {**good, "image": "gone.png"}])
    code, err = run_with(capsys, config, f"data.validation={items}", "data.holdout=null", "data.limit=null")
    assert code == 2
    assert "items.jsonl" in err
    assert "gone.png" in err
    assert "error_budget" in err


@pytest.mark.parametrize(
    "override",
    [
        "teacher.api_key_env=sk-hunter2",
        "teacher.base_url=https://user:hunter2@example.org/v1",
        "pool.chroma_url=http://user:hunter2@example.org:8000",
        "checkpoint_url_env=postgresql://user:hunter2@example.org/db",
    ],
)
def test_a_secret_in_the_configuration_is_refused_and_written_nowhere(
    capsys: pytest.CaptureFixture[str], config: Path, override: str
) -> None:
    code, err = run_with(capsys, config, override)
    assert code == 2
    assert "environment" in err
    assert "hunter2" not in err
    assert not (config.parent / "run").exists()


def test_a_holdout_that_shares_an_item_is_refused(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    same = load_config(config).data.validation
    code, err = run_with(capsys, config, f"data.holdout={same}")
    assert code == 2
    assert "in the validation set too" in err


async def test_items_that_changed_since_the_run_began_are_refused(config: Path, tmp_path: Path) -> None:
    own = write_items(
        tmp_path / "own.jsonl", [{"question": f"What is {n} plus 1?", "answer": str(n + 1)} for n in range(9)]
    )
    loaded = load_config(config, [f"data.validation={own}", "data.holdout=null"])

    async def prepare() -> None:
        context = Context.build(RunFolder.open(config.parent / "run", loaded), Reporter(quiet=True))
        try:
            await ensure_data(context)
        finally:
            await context.close()

    await prepare()
    await prepare()
    own.write_text(own.read_text().replace("plus 1", "plus one"))
    with pytest.raises(RunError, match="items have changed"):
        await prepare()


def test_brackets_in_the_data_are_printed_as_they_are(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    rows: list[dict[str, object]] = [{"question": f"Which tag is number {n}?", "answer": "[/b]"} for n in range(9)]
    own = write_items(tmp_path / "own.jsonl", [{"question": "", "answer": "[/b]", "id": "[/i]"}, *rows])
    code, err = run_with(capsys, config, f"data.validation={own}", "data.holdout=null", "error_budget=0")
    assert code == 2
    assert "question is missing" in err


def test_a_run_is_stopped_gone_on_with_shown_and_evaluated(capsys: pytest.CaptureFixture[str], config: Path) -> None:
    run = config.parent / "run"
    changes = ("control=off", "tuning.epochs=1", "review=true")
    code, err = run_with(capsys, config, *changes)
    assert code == 4
    assert f"{run}/rounds/01/gaps.json" in err
    assert (run / "report.html").exists()
    again = shlex.split(err[err.index("gaptutor run") :])
    code, err = call(capsys, *again[1:])
    assert code == 0
    assert not [row for row in read_jsonl(run / "events.jsonl") if row["event"] == "node_failed"]
    shown = said(capsys, "show", run, "--json")
    assert [row["round"] for row in shown["rounds"]] == [0, 1]
    test_set = load_config(config).data.validation
    adapter = run / "rounds" / "01" / "adapter"
    found = said(capsys, "evaluate", config, "--items", test_set, "--adapter", adapter, "--json")
    assert found["n"] == 200, "a test set is answered whole, whatever data.limit says"


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What a command that succeeds prints as JSON."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert not ended.value.code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_run_that_is_no_run_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, err = call(capsys, "show", tmp_path / "nothing")
    assert code == 2
    assert "nothing" in err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 2 MB of room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("making a small file system takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_no_room_on_the_disk_is_said_and_the_run_goes_on_when_there_is(
    capsys: pytest.CaptureFixture[str], config: Path, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(b"0" * 4096):
            pass
    code, err = call(capsys, "run", config, "--run-dir", small_disk / "run", "--set", "student.model=no-such-folder")
    assert code == 1
    assert "No space left on device" in err
    assert "Traceback" not in err
    filler.unlink()
    code, err = call(capsys, "run", config, "--run-dir", small_disk / "run", "--set", "student.model=no-such-folder")
    assert code == 2
    assert "no-such-folder" in err


def test_init_writes_a_configuration_and_says_what_it_saw(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.yaml"
    main_args = ["init", data / "arithmetic" / "validation.jsonl", "--student", "s", "--teacher", "t", "--out", out]
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in main_args])
    assert ended.value.code == 0
    assert "200 items, 200 with a picture" in capsys.readouterr().out
    assert "# Name of the teacher model." in out.read_text()
    code, err = call(capsys, *main_args)
    assert code == 2
    assert "--force" in err


def test_prompts_are_written_down_changed_and_noted_in_the_run(
    capsys: pytest.CaptureFixture[str], config: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "prompts"
    assert call(capsys, "prompts", folder)[0] == 0
    code, err = call(capsys, "prompts", folder)
    assert (code, "is there already" in err) == (2, True)
    (folder / "judge.md").write_text("{answer}: is that correct?")
    code, err = run_with(capsys, config, f"teacher.prompts={folder}")
    assert (code, f"{folder}/judge.md holds the placeholder {{answer}}" in err) == (2, True), err
    (folder / "judge.md").write_text("Is that `correct`?")
    run_with(capsys, config, f"teacher.prompts={folder}", "student.model=no-such-folder")
    noted = said(capsys, "show", config.parent / "run", "--json")["prompts"]
    assert noted["judge"]["file"] == str(folder / "judge.md")
    assert len(noted["diagnose"]["sha256"]) == 64


def test_doctor_names_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    found = {check["what"]: check for check in json.loads(capsys.readouterr().out)}
    assert ended.value.code in (0, 1)
    assert found["torch"]["ok"]
    assert "cure" in found["teacher's key"]
    assert os.environ.get("OPENAI_API_KEY", "no key") not in json.dumps(found)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gaptutor {metadata.version('gaptutor')}\n"


def test_where_json_was_asked_for_mistakes_are_json_too(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", str(tmp_path / "none"), "--json"])
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (ended.value.code, found["exit_code"]) == (2, 2)
    assert said.err == f"gaptutor: {found['error']}\n"


def test_a_page_is_written_anew(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "run" / "rounds").mkdir(parents=True)
    (tmp_path / "run" / "run.json").write_text('{"schema": 2, "state": "stopped"}')
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "run")])
    assert ended.value.code == 0
    assert "Nothing has been evaluated yet." in (tmp_path / "run" / "report.html").read_text()
    assert capsys.readouterr().out == f"{tmp_path / 'run' / 'report.html'}\n"
