"""`gaptutor doctor CONFIG`: what would stop a run, told before it starts."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from transformers import LlavaConfig, Qwen2_5_VLConfig
from typer.testing import CliRunner

from agent.cli.checkup import examine_config
from agent.cli.doctor import Check
from agent.cli.main import app
from agent.config.loading import load_config
from agent.config.schema import RunConfig
from agent.student.size import Size, measure
from tests.tiny_student import COLOURS, make_picture, make_tiny_student
from training.families.families import LLAVA, load_model, target_pattern


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
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    found = look(raw(world, vllm={"python": str(python)}, max_new_tokens=64), gpu_gib=24)
    assert all(check.ok for check in found.values()), found
    assert found["validation set"].found.startswith("4 items, 4 with a picture")
    assert set(found) == {
        "validation set", "pool", "student", "longest prompt and answer", "engine", "GPU memory, answering",
        "GPU memory, tuning", "teacher", "teacher's price",
    }  # fmt: skip


def test_what_would_stop_the_run_is_told_with_its_cure(world: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        vllm = {"port": taken.getsockname()[1], "python": "/bin/true"}
        found = look(raw(world, vllm=vllm, max_new_tokens=10**6), gpu_gib=0.0001)
    assert "cannot be used" in found["engine"].found
    assert [name for name, check in found.items() if not check.ok] == [
        "longest prompt and answer", "engine", "GPU memory, answering", "GPU memory, tuning", "teacher",
    ]  # fmt: skip
    assert found["teacher"].cure == "export A_TEACHERS_KEY=…"
    missing = look(raw(world, vllm={"python": str(tmp_path / "none")}))["engine"]
    assert missing.found.startswith("student.vllm.python: there is no program")


def test_memory_is_reckoned_for_the_gpu_that_is_meant_and_not_for_this_machine(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "agent.cli.checkup.measure", lambda config: Size(7 * 10**9, 80 * 10**6)
    )  # 13 GiB at two bytes each
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": False})
    found = look(raw(world, dtype="auto"), gpu_gib=24)
    assert "2 bytes each: 13.0 GiB of 20.4 GiB that vLLM takes" in found["GPU memory, answering"].found
    assert found["GPU memory, tuning"].found.startswith("14.2 GiB")
    whole = look({**raw(world), "tuning": {"rank": 4, "dtype": "float32"}}, gpu_gib=24)
    assert whole["GPU memory, tuning"].found.startswith("27.3 GiB")
    assert not whole["GPU memory, tuning"].ok
    embedded = look(raw(world, engine="embedded"), gpu_gib=24)
    assert embedded["GPU memory, answering"].found.endswith("13.0 GiB of 24.0 GiB")
    elsewhere = look(raw(world, vllm={"url": "http://127.0.0.1:1"}), gpu_gib=24)
    assert "GPU memory, answering" not in elsewhere


def test_a_server_that_stays_up_takes_memory_only_where_tuning_is(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.cli.checkup.measure", lambda config: Size(7 * 10**9, 80 * 10**6))
    shared = raw(world, vllm={"sharing": "shared", "gpus": 0})
    assert not look(shared, gpu_gib=24)["GPU memory, tuning"].ok
    assert look({**shared, "tuning": {"gpus": 1}}, gpu_gib=24)["GPU memory, tuning"].ok


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


# The figures of the models' own configurations.
QWEN = {
    "text_config": {
        "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16, "num_key_value_heads": 2,
        "intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": True,
    },
    "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048},
    "tie_word_embeddings": True,
}  # fmt: skip
LLAVA_7B = {
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14, "projection_dim": 768,
    },
    "text_config": {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32064,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("example", "settings", "billions", "millions"),
    [("qwen2.5-vl-3b", Qwen2_5_VLConfig(**QWEN), 3.75, 60), ("llava-1.5-7b", LlavaConfig(**LLAVA_7B), 7.06, 80)],
)
def test_the_examples_hold_and_their_sizes_are_those_of_their_comments(
    tmp_path: Path, example: str, settings: Any, billions: float, millions: int
) -> None:
    file = Path("examples") / f"{example}.yaml"
    settings.save_pretrained(tmp_path)
    config = load_config(file, [f"student.model={tmp_path}"])
    size = measure(config)
    assert (round(size.student / 1e9, 2), round(size.adapter / 1e6)) == (billions, millions)
    text = file.read_text()
    assert f"{billions} billion parameters" in text
    assert f"{millions} million parameters" in text
    assert f"{size.student * 2 / 2**30:.1f} GiB" in text
    assert f"{size.adapter * 16 / 2**30:.1f} GiB" in text
    checks = {check.what: check for check in examine_config(config, 24)}
    assert checks["GPU memory, answering"].ok
    assert checks["GPU memory, tuning"].ok
