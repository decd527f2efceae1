"""The vLLM engine against vLLM itself: same answers as the embedded engine, adapters that act or are refused, and restarts."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
import torch
from safetensors.torch import load_file, save_file

from agent.config.schema import StudentConfig
from agent.student.embedded import EmbeddedStudent
from agent.student.engine import Reply, Request, Student
from agent.student.vllm.server.client import Client
from agent.student.vllm.server.needs import Needs
from agent.student.vllm.server.own import OwnServer
from agent.student.vllm.student import VllmStudent
from retrieval.errors import StudentError
from tests.served.conftest import PROMPT, make_config

pytestmark = [
    pytest.mark.served,
    pytest.mark.timeout(1800),
    pytest.mark.asyncio(loop_scope="session"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def vllm(config: StudentConfig, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[VllmStudent]:
    student = VllmStudent(config, tmp_path_factory.mktemp("vllm"))
    yield student
    await student.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedded(config: StudentConfig) -> AsyncIterator[EmbeddedStudent]:
    student = EmbeddedStudent(config)
    yield student
    await student.close()


async def replies(student: Student, requests: Sequence[Request], adapter: str | None = None) -> dict[str, Reply]:
    return {reply.id: reply async for reply in student.answer(requests, adapter)}


def agreement(one: dict[str, Reply], other: dict[str, Reply]) -> float:
    return sum(one[name] == other[name] for name in one) / len(one)


async def test_answers_and_scores_are_those_of_the_embedded_engine(
    vllm: VllmStudent, embedded: EmbeddedStudent, requests: list[Request], adapter: Path
) -> None:
    await vllm.load_adapter("tuned", adapter)
    await embedded.load_adapter("tuned", adapter)
    longer = [Request(f"{r.id}+", r.prompt, r.images, "Step 1: it is") for r in requests[:6]]
    for name in (None, "tuned"):
        found, wanted = [await replies(student, [*requests, *longer], name) for student in (vllm, embedded)]
        # The last digits differ between engines; where two tokens are about as likely, the texts may part.
        assert agreement(found, wanted) >= 0.9, (name, found, wanted)
        continuations = [["red", " blue", ""]] * 6
        ours, theirs = [await student.score(longer, continuations, name) for student in (vllm, embedded)]
        for row, expected in zip(ours, theirs, strict=True):
            assert row == pytest.approx(expected, abs=0.05)
    await vllm.drop_adapter("tuned")
    with pytest.raises(StudentError, match="no adapter is loaded under the name tuned"):
        await replies(vllm, requests, "tuned")


async def test_what_cannot_be_asked_is_an_error_of_its_request_only(
    vllm: VllmStudent, requests: list[Request], tmp_path: Path
) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    asked = [
        requests[0],
        Request("broken", PROMPT, (tmp_path / "no.png",)),
        Request("long", "word " * 4000),
        Request("token", "What is <image> here?"),
        Request("two", PROMPT, requests[0].images * 2),
    ]
    found = await replies(vllm, asked)
    assert {name for name, reply in found.items() if reply.error is None} == {requests[0].id, "token", "two"}
    assert "not an image" in (found["broken"].error or "")
    assert "the student holds" in (found["long"].error or "")


def changed(adapter: Path, folder: Path, change: str) -> Path:
    """The adapter with its canary, but with other weights."""
    shutil.copytree(adapter, folder)
    weights = load_file(folder / "adapter_model.safetensors")
    if change == "next to nothing":  # zeros are refused before they are served
        weights = {name: value * 1e-6 for name, value in weights.items()}
    if change == "unmatched":
        weights = {name.replace("language_model", "nothing"): value for name, value in weights.items()}
    if change == "vision":
        rank, width = 8, 0
        settings = json.loads((folder / "adapter_config.json").read_text())
        model = load_file(Path(settings["base_model_name_or_path"]) / "model.safetensors")
        weights = {}
        for name, value in model.items():
            if "vision_tower" in name and name.endswith("q_proj.weight"):
                width = value.shape[0]
                stem = f"base_model.model.model.{name.removesuffix('.weight').replace('vision_model.', '')}"
                weights[f"{stem}.lora_A.weight"] = torch.randn(rank, value.shape[1])
                weights[f"{stem}.lora_B.weight"] = torch.randn(width, rank)
        assert width
        settings["target_modules"] = r".*vision_tower.*q_proj"
        (folder / "adapter_config.json").write_text(json.dumps(settings))
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("change", ["next to nothing", "unmatched", "vision"])
async def test_the_canary_refuses_what_does_nothing(
    vllm: VllmStudent, adapter: Path, tmp_path: Path, requests: list[Request], change: str
) -> None:
    await vllm.load_adapter("bad", changed(adapter, tmp_path / "adapter", change))
    with pytest.raises(StudentError, match=r"canary refuses|does not take the adapter"):
        await replies(vllm, requests[:4], "bad")
    await vllm.drop_adapter("bad")
    await vllm.load_adapter("good", adapter)  # and the server goes on
    assert all(reply.error is None for reply in (await replies(vllm, requests[:4], "good")).values())
    await vllm.drop_adapter("good")


class Counting:
    """Counts how often each prompt was sent, and does something when so many were answered."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, act: Any) -> None:
        self.sent: Counter[str] = Counter()
        self.answered = 0
        post = Client.post

        async def counted(client: Client, path: str, body: dict[str, Any], timeout: float | None = None) -> Any:
            text = json.dumps(body.get("messages", [{}])[0].get("content", ""))[-60:]
            self.sent[text] += 1
            reply = await post(client, path, body, timeout)
            if "item" in text:
                self.answered += 1
                if self.answered == at:
                    act()
            return reply

        patch.setattr(Client, "post", counted)


@pytest.mark.parametrize(("way", "many"), [(signal.SIGKILL, 500), (signal.SIGSTOP, 80)])
async def test_a_dead_or_hung_server_is_started_again_and_only_what_was_in_flight_is_asked_twice(
    vllm_python: str | None, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: signal.Signals, many: int
) -> None:  # fmt: skip
    student = VllmStudent(make_config(vllm_python, timeout=20), tmp_path)
    items = [Request(f"i{n}", f"What is {n % 7} plus {n % 5}? item {n:03}") for n in range(many)]

    def strike() -> None:
        record = json.loads((tmp_path / "vllm.json").read_text())
        for process in psutil.Process(record["pid"]).children(recursive=True):
            os.kill(process.pid, way)
        os.kill(record["pid"], way)

    counting = Counting(monkeypatch, many // 2, strike)
    try:
        await student.load_adapter("tuned", adapter)
        found = await replies(student, items, "tuned")
    finally:
        await student.close()
    assert len(found) == many
    assert all(reply.error is None for reply in found.values())
    asked = [count for text, count in counting.sent.items() if "item" in text]
    assert max(asked) == 2
    assert sum(count - 1 for count in asked) <= 16


async def test_a_server_ends_with_the_process_that_started_it(config: StudentConfig, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom agent.config.schema import StudentConfig\n"
        "from agent.student.vllm.server.own import OwnServer\nfrom agent.student.vllm.server.needs import Needs\n"
        "async def main():\n"
        "    server = OwnServer(StudentConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "    await server.start(server.config.model, Needs(512))\n"
        "    print('up', flush=True)\n    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    arguments = [sys.executable, "-c", script, config.model_dump_json(), str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert await asyncio.to_thread(parent.stdout.readline) == "up\n"
        pid = json.loads((tmp_path / "vllm.json").read_text())["pid"]
        group = [process for process in psutil.process_iter() if os.getpgid(process.pid) == pid]
        assert group
        parent.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, group, 30)
    assert not alive


async def test_merged_weights_answer_as_the_adapter_does(
    vllm_python: str | None, embedded: EmbeddedStudent, requests: list[Request], adapter: Path, tmp_path: Path
) -> None:
    student = VllmStudent(make_config(vllm_python, serve="merged"), tmp_path)
    try:
        await student.load_adapter("tuned", adapter)
        await embedded.load_adapter("tuned", adapter)
        found, wanted = [await replies(one, requests, "tuned") for one in (student, embedded)]
    finally:
        await student.close()
        await embedded.drop_adapter("tuned")
    assert agreement(found, wanted) >= 0.9


async def test_a_server_of_the_users_is_used_and_left_up(
    vllm_python: str | None, config: StudentConfig, requests: list[Request], adapter: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server = OwnServer(config, tmp_path)
    await server.start(
        config.model,
        Needs(512, 1, 8, frozenset({"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"})),
    )
    try:
        monkeypatch.setenv("STUDENT_KEY", server.client.key)
        named = make_config(vllm_python, url=f"{server.client.url}/v1", api_key_env="STUDENT_KEY")
        student = VllmStudent(named, tmp_path / "mine")
        await student.load_adapter("tuned", adapter)
        assert all(reply.error is None for reply in (await replies(student, requests[:4], "tuned")).values())
        await student.release()
        await student.close()
        assert [model.get("parent") for model in await server.client.models()] == [None]
        monkeypatch.setenv("STUDENT_KEY", "wrong")
        with pytest.raises(ValueError, match=r"check student\.vllm\.api_key_env"):
            await replies(VllmStudent(named, tmp_path), requests[:1])
    finally:
        await server.stop()
