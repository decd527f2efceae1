"""`gaptutor doctor CONFIG`: what would stop a run, told before it starts."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.checkup import Size, examine_config, measure
from agent.cli import app
from agent.config import RunConfig
from agent.doctor import Check
from tests.tiny_student import COLOURS, make_picture, make_tiny_student
from training.families import LLAVA, load_model, target_pattern


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_tiny_student(folder / "student")
    rows = [
        {
            "image": make_picture(folder / f"{colour}.png", colour).name,
            "question": "What colour is it?",
            "answer": colour,
        }
        for colour in COLOURS
    ]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def raw(world: Path, **student: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "data": {"validation": str(world / "items.jsonl")},
        "pool": {"path": str(world / "pool.jsonl")},
        "student": {"model": str(world / "student"), "engine": "vllm", "dtype": "bfloat16", **student},
        "teacher": {"model": "gpt-5-mini", "api_key_env": "A_TEACHERS_KEY"},
        "tuning": {"rank": 4},
    }


def look(config: dict[str, Any], gpu_gib: float | None = None) -> dict[str, Check]:
    return {check.what: check for check in examine_config(RunConfig.model_validate(config), gpu_gib)}


def test_a_configuration_that_fits_is_all_right(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TEACHERS_KEY", "k")
    python = tmp_path / "python"
    python.touch()
    found = look(raw(world, vllm={"python": str(python)}, max_new_tokens=64), gpu_gib=24)
    assert all(check.ok for check in found.values()), found
    assert found["validation set"].found.startswith("4 items, 0 set aside")
    assert set(found) == {
        "validation set", "pool", "student", "longest prompt and answer", "engine", "GPU memory, answering",
        "GPU memory, tuning", "teacher", "teacher's price",
    }  # fmt: skip


def test_what_would_stop_the_run_is_told_with_its_cure(world: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = look(raw(world, vllm={"port": taken.getsockname()[1]}, max_new_tokens=10**6), gpu_gib=0.0001)
    assert "cannot be used" in found["configuration"].found
    assert [name for name, check in found.items() if not check.ok] == [
        "longest prompt and answer", "configuration", "GPU memory, answering", "GPU memory, tuning", "teacher",
    ]  # fmt: skip
    assert found["teacher"].cure == "export A_TEACHERS_KEY=…"
    missing = look(raw(world, vllm={"python": str(tmp_path / "none")}))
    assert (missing["engine"].ok, missing["engine"].found.endswith("which is not there")) == (False, True)


def test_parameters_are_counted_as_the_model_has_them(world: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    size = measure(RunConfig.model_validate(raw(world)))
    model = load_model(str(world / "student"), torch.float32, "eager")
    base = sum(weight.numel() for weight in model.parameters())
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=target_pattern(model, LLAVA)))
    assert size == Size(base, sum(weight.numel() for weight in tuned.parameters()) - base)


def test_the_command_says_it_and_its_exit_code_too(world: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({**raw(world), "pool": {"path": "nowhere.json"}}))
    said = CliRunner().invoke(app, ["doctor", str(file), "--json"])
    assert said.exit_code == 1
    rows = {row["what"]: row for row in json.loads(said.stdout)}
    assert "nowhere.json" in rows["configuration"]["found"]
    assert rows["validation set"]["ok"]
