"""A server that is started and ended by us, as a process of its own: what it says when it cannot start, sleep, ports, leftovers.

In the place of vLLM's Python stands a script.
"""

import asyncio
import json
import shlex
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.config.schema import RunConfig, StudentConfig
from agent.evaluation.answering import evaluate_file
from agent.run.console import Reporter
from agent.student.engine import Request
from agent.student.vllm.student import VllmStudent
from retrieval.errors import ConfigError, StudentError
from retrieval.storage.files import write_jsonl
from tests.agent.student.test_named_server import asked, texts

Made = Callable[..., VllmStudent]
SERVES = f'exec {shlex.quote(sys.executable)} -m tests.agent.student.stand_in "$@"'


@pytest.fixture
def make(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes an engine whose server is this shell script."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))

    def made(script: str = SERVES, say: Callable[[str], None] = lambda line: None, **changed: Any) -> VllmStudent:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        vllm = {"python": str(python), "concurrency": 4, "start_timeout": 60, **changed}
        plain = {"model": str(student), "engine": "vllm", "max_new_tokens": 12, "vllm": vllm}
        return VllmStudent(StudentConfig.model_validate(plain), tmp_path / "run", say)

    return made


@pytest.mark.parametrize(
    ("said", "error", "sentence"),
    [
        ("ModuleNotFoundError: No module named 'vllm'", ConfigError, r"vLLM is not installed in .*python; pip install"),
        (
            "INFO starting\n  Value error, The checkpoint has model type `new`, which transformers does not know.\n"
            "RuntimeError: Engine core initialization failed. See root cause above.",
            StudentError,
            r"vLLM could not start: The checkpoint has model type `new`.* does not know\.; see .*vllm\.log",
        ),
        (
            "(EngineCore pid=7) ERROR 07-01 [core.py:9] torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB\n"
            "RuntimeError: Engine core initialization failed. See root cause above.",
            StudentError,
            r"vLLM could not start: CUDA out of memory\. Tried 2 GiB; see ",
        ),
        (
            "api_server.py: error: unrecognized arguments: --nonsense",
            StudentError,
            "unrecognized arguments: --nonsense",
        ),
        ("", StudentError, "could not start: it said nothing"),
    ],
)
async def test_why_it_could_not_start_is_told(make: Made, said: str, error: type[Exception], sentence: str) -> None:
    engine = make(f"printf '%s\\n' {shlex.quote(said)} >&2; exit 1" if said else "exit 1")
    with pytest.raises(error, match=sentence):
        await texts(engine, asked(2))
    await engine.close()


async def test_it_sees_the_gpus_that_are_named_and_else_those_that_this_process_sees(
    make: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    for changed, seen in (({"gpus": 1}, "1"), ({"gpus": "1,2"}, "1,2"), ({}, "5,6")):
        engine = make('echo "RuntimeError: sees $CUDA_VISIBLE_DEVICES" >&2; sleep 0.5; exit 1', **changed)
        with pytest.raises(StudentError, match=f"could not start: sees {seen};"):
            await texts(engine, asked(1))
        await engine.close()


async def test_merged_weights_are_served_where_vllm_takes_no_adapter(make: Made, adapters: list[Path]) -> None:
    takes_none = (
        'case "$*" in *--enable-lora*) echo "ValueError: TheirModel does not support LoRA yet." >&2; exit 1;; esac\n'
    )
    engine = make(takes_none + SERVES)
    for _ in range(2):  # the second time it is known
        await engine.load_adapter("round", adapters[0])
        said = await texts(engine, asked(2), "round")
        assert {text.strip() for text in said.values()} == {"by student"}
    await engine.close()
    engine = make(takes_none + SERVES, serve="adapter")
    await engine.load_adapter("round", adapters[0])
    with pytest.raises(StudentError, match="could not start: TheirModel does not support LoRA yet"):
        await texts(engine, asked(2), "round")
    await engine.close()


async def test_one_that_does_not_come_up_is_ended(make: Made, tmp_path: Path) -> None:
    engine = make("sleep 600", start_timeout=1)
    with pytest.raises(StudentError, match=r"did not come up within 1 s; see .*vllm\.log, or raise"):
        await texts(engine, asked(1))
    assert not (tmp_path / "run" / "vllm.json").exists()
    assert not [child for child in psutil.Process().children(recursive=True) if child.cmdline()[:1] == ["sleep"]]


async def test_a_port_in_use_is_refused_before_anything_starts(make: Made, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"port {port} cannot be used .*student\.vllm\.port"):
            await texts(make(port=port), asked(1))
    assert not (tmp_path / "run" / "vllm.log").exists()


async def test_what_a_killed_run_left_is_ended_first(make: Made, tmp_path: Path) -> None:
    left = make()
    await texts(left, asked(1))
    record = json.loads((tmp_path / "run" / "vllm.json").read_text())
    after = make()
    assert len(await texts(after, asked(2))) == 2
    assert not psutil.pid_exists(record["pid"]) or psutil.Process(record["pid"]).status() == psutil.STATUS_ZOMBIE
    await after.close()
    assert not (tmp_path / "run" / "vllm.json").exists()


@pytest.mark.parametrize(("sharing", "starts", "calls"), [("sleep", 1, 1), ("restart", 2, 0), ("shared", 1, 0)])
async def test_while_an_adapter_is_tuned_the_server_does_as_sharing_says(
    make: Made, adapters: list[Path], tmp_path: Path, sharing: str, starts: int, calls: int
) -> None:
    engine = make(sharing=sharing)
    await engine.load_adapter("round", adapters[0])
    first = await texts(engine, asked(2), "round")
    await engine.release()
    second = await texts(engine, asked(2), "round")
    log = (tmp_path / "run" / "vllm.log").read_text()
    assert log.count("Started server process") == starts
    assert log.count("POST /sleep?level=1") == log.count("POST /wake_up") == calls
    assert log.count("POST /v1/load_lora_adapter") == (1 if sharing == "shared" else 2)
    assert (first == second) == (sharing == "shared"), "an adapter that is loaded again has a new name"
    await engine.close()


async def test_when_more_room_is_needed_what_was_in_flight_is_asked_again_and_nothing_counts_as_lost(
    make: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_DELAY", "1")
    said: list[str] = []
    engine = make(say=said.append)
    waiting = asyncio.create_task(texts(engine, asked(3)))
    while "Started server process" not in (log.read_text() if (log := tmp_path / "run" / "vllm.log").exists() else ""):
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.5)
    longer = await texts(engine, [Request("long", "question " * 60)])
    assert {text.strip() for text in [*longer.values(), *(await waiting).values()]} == {"by student"}
    assert log.read_text().count("Started server process") == 2
    assert said == []
    await engine.close()


async def test_a_server_that_wakes_up_wrong_is_started_anew_and_sleeps_no_more(
    make: Made, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN_FORGETS", "1")
    engine = make(sharing="sleep")
    await engine.load_adapter("round", adapters[0])
    for _ in range(6):
        assert {text.strip()[:3] for text in (await texts(engine, asked(2), "round")).values()} == {"by "}
        await engine.release()
    log = (tmp_path / "run" / "vllm.log").read_text()
    assert log.count("POST /wake_up") == 1
    await engine.close()


async def test_an_evaluation_that_fails_leaves_the_log_that_it_names(
    make: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = tmp_path / "items.jsonl"
    write_jsonl(items, [{"question": f"{n} plus 1?", "answer": str(n + 1)} for n in range(3)])
    student = make("echo 'RuntimeError: no such thing' >&2; exit 1").config
    teacher = {"model": "expert", "app": "eval.microworld.expert:app"}
    plain = {
        "name": "evaluated",
        "data": {"validation": str(items)},
        "student": student.model_dump(mode="json"),
        "teacher": teacher,
    }
    config = RunConfig.model_validate({**plain, "pool": {"path": str(items)}})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(StudentError, match="no such thing; see ") as failed:
        await evaluate_file(config, items, None, None, Reporter(quiet=True))
    assert "no such thing" in Path(str(failed.value).rsplit("see ", 1)[1]).read_text()
