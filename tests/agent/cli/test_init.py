"""`gaptutor init`: images that lie elsewhere, names made of file names, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from agent.cli.init import Given, write_config
from agent.cli.main import main
from agent.config.loading import load_config
from retrieval.errors import ConfigError, DataError, GaptutorError
from retrieval.storage.files import read_json, write_json
from tests.tiny_student import make_tiny_student


def test_init_looks_for_images_where_it_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    items, out = tmp_path / "items.jsonl", tmp_path / "mine.yaml"
    items.write_text(json.dumps({"image": "a.png", "question": "What colour?", "answer": "black"}))
    words = ["init", items, "--student", "s", "--teacher", "t", "--out", out, "--images", tmp_path / "pictures"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0
    assert "1 item, 1 with a picture" in capsys.readouterr().out
    assert load_config(out, []).data.images == tmp_path / "pictures"


@pytest.fixture
def items(tmp_path: Path) -> Path:
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"question": "What colour?", "answer": "black"}))
    return path


@pytest.mark.parametrize("stem", ["möbel", "_x", "ü", ".a", "my task (2)", "x" * 200, "-" + "é" * 70 + "-b-"])
def test_any_file_name_makes_a_name_for_the_run(items: Path, tmp_path: Path, stem: str) -> None:
    named, out = items.rename(tmp_path / f"{stem}.jsonl"), tmp_path / "out.yaml"
    write_config(Given(named, "s", "t"), out, False)
    assert load_config(out, []).data.validation == named


@pytest.mark.parametrize(
    ("teacher", "room"),
    [
        ("gpt-5-mini", (8192, "low")),
        ("openai/o3", (8192, "low")),
        ("gpt-5-chat-latest", (2048, None)),
        ("t", (2048, None)),
    ],
)
def test_a_teacher_that_reasons_gets_room_for_it(items: Path, tmp_path: Path, teacher: str, room: object) -> None:
    out = tmp_path / "out.yaml"
    write_config(Given(items, "s", teacher), out, False)
    found = load_config(out, []).teacher
    assert (found.max_tokens, found.reasoning_effort) == room


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"student": ""}, ConfigError, "--student is empty"),
        ({"teacher": " "}, ConfigError, "--teacher is empty"),
        ({"student": "./nowhere/model"}, ConfigError, "is not a model folder: it does not exist"),
        ({"pool": Path("nothere.json")}, DataError, "nothere.json does not exist"),
    ],
)
def test_what_cannot_run_is_not_promised(
    items: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    given: dict[str, Any] = {"student": "s", "teacher": "t", **changes}
    with pytest.raises(error, match=said):
        write_config(Given(items, **given), tmp_path / "out.yaml", False)
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (".", "is a folder; name a file with --out"),
        ("items.jsonl/mine.yaml", "name another path"),
        ("/proc/mine.yaml", "name another path"),
    ],
)
def test_a_place_that_cannot_be_written_is_the_users_to_mend(items: Path, tmp_path: Path, out: str, said: str) -> None:
    with pytest.raises(GaptutorError, match=said) as caught:
        write_config(Given(items, "s", "t"), tmp_path / out, True)
    assert caught.value.exit_code == 2
    assert "make room" not in str(caught.value)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that holds few tokens."""
    folder = make_tiny_student(tmp_path_factory.mktemp("student"))
    config = read_json(folder / "config.json")
    config["text_config"]["max_position_embeddings"] = 400
    write_json(folder / "config.json", config)
    return folder


def some_items(folder: Path, count: int) -> Path:
    rows = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(count)]
    path = folder / "data" / "items.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_configuration_and_what_it_names_can_be_moved_together(tmp_path: Path, student: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    items = some_items(here, 12)
    holdout = items.with_name("holdout.jsonl")
    holdout.write_text(items.read_text().replace("+ 1?", "+ 1 + 0?"))
    shutil.copytree(student, here / "student")
    given = Given(items, str(here / "student"), "t", holdout, holdout=holdout, base_url="http://127.0.0.1:8080/v1")
    said = write_config(given, here / "mine.yaml", False)
    assert "12 items decide, 12 are held out and decide nothing" in said
    assert said[-1].endswith("mine.yaml --dry-run, which says what the teacher will cost")
    shutil.move(here, tmp_path / "there")
    found = load_config(tmp_path / "there" / "mine.yaml", [])
    assert found.data.validation.exists()
    assert found.data.holdout is not None
    assert found.data.holdout.exists()
    assert Path(found.student.model).is_dir()
    assert found.teacher.base_url == "http://127.0.0.1:8080/v1"


def test_the_longest_answer_fits_the_student_and_a_set_without_holdout_is_told_of(
    tmp_path: Path, student: Path
) -> None:
    items, out = some_items(tmp_path, 3), tmp_path / "out.yaml"
    said = "\n".join(write_config(Given(items, str(student), "t"), out, False))
    assert "no holdout: with fewer than 300 items" in said
    found = load_config(out, []).student.max_new_tokens
    assert 0 < found < 400
    assert f"student.max_new_tokens is {found}: the student holds 400 tokens" in said


def test_a_set_that_the_run_would_refuse_is_refused(tmp_path: Path) -> None:
    items = some_items(tmp_path, 9)
    items.write_text(items.read_text() + "{broken\n")
    with pytest.raises(DataError, match="1 of 10 items cannot be read, more than error_budget 5%"):
        write_config(Given(items, "s", "t"), tmp_path / "out.yaml", False)
    assert not (tmp_path / "out.yaml").exists()
