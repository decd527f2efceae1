"""What a server would fail of is told before anything is asked of the teacher."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config.loading import parse_config
from agent.config.schema import StudentConfig, VllmConfig
from agent.loop.drive import drive
from agent.run.console import Reporter
from agent.student import make_student
from agent.student.vllm.beforehand import check_serving
from retrieval.errors import ConfigError
from retrieval.storage.files import write_jsonl, write_text

Config = Callable[..., StudentConfig]


@pytest.fixture
def config(student: Path, tmp_path: Path) -> Config:
    """Makes a configuration whose server's Python is this shell script."""

    def make(script: str = "exit 0", **vllm: Any) -> StudentConfig:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        made = VllmConfig.model_validate({"python": str(python), **vllm})
        return StudentConfig(model=str(student), engine="vllm", vllm=made)

    return make


def test_a_server_that_can_serve_passes(config: Config) -> None:
    check_serving(config(), 512)
    check_serving(config(serve="merged"), 1024)
    check_serving(config("exit 1", url="http://127.0.0.1:1"), 512)


@pytest.mark.parametrize(
    ("script", "vllm", "rank", "said"),
    [
        ("exit 0", {}, 513, "up to rank 512, not 513; lower tuning.rank"),
        ("exit 0", {"url": "http://127.0.0.1:1"}, 513, "up to rank 512"),
        ("exit 1", {}, 8, r"vLLM is not installed in the environment of .*python; pip install"),
        ("", {"python": "/nowhere/python"}, 8, r"student\.vllm\.python: there is no program /nowhere/python"),
        ("", {"python": "python3.98"}, 8, r"student\.vllm\.python: there is no program python3\.98"),
    ],
)
def test_what_it_would_fail_of_is_named(config: Config, script: str, vllm: Any, rank: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_serving(config(script, **vllm), rank)


def test_a_python_that_is_no_program_is_named_when_the_student_is_made(config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"student\.vllm\.python: there is no program /nowhere/python"):
        make_student(config(python="/nowhere/python"), tmp_path, print)
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF no program")
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match=r"student\.vllm\.python: .*broken cannot be run"):
        check_serving(config(python=str(broken)), 8)


async def test_a_port_in_use_ends_a_run_before_the_teacher_is_asked(config: Config, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "items.jsonl", [{"question": "What?", "answer": "That"}])
    write_text(tmp_path / "pool.json", "[]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        raw = {
            "name": "t",
            "data": {"validation": str(tmp_path / "items.jsonl")},
            "pool": {"path": str(tmp_path / "pool.json")},
            "student": config(port=taken.getsockname()[1]).model_dump(mode="json"),
            "teacher": {"model": "expert", "base_url": "http://127.0.0.1:1"},
        }
        with pytest.raises(ConfigError, match=r"port \d+ cannot be used .*; name another at student\.vllm\.port"):
            await drive(parse_config(raw, "test"), tmp_path / "run", "resume", Reporter(quiet=True))
    assert not (tmp_path / "run" / "teacher.jsonl").exists()
