"""The key: read from the environment, sent to the endpoint, and nowhere else, whatever it holds and whatever fails."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from agent.config.schema import TeacherConfig
from agent.teacher.client import Teacher
from agent.teacher.endpoint.endpoint import Endpoint
from agent.teacher.prompts.replies import Judged
from retrieval.errors import TeacherError
from tests.endpoint import Scripted, closed_port, fail, served

SECRET = "sk-secret1234"
QUESTION = {"question": "q", "gold": ["a"], "answer": "a"}
#: Keys that no endpoint can be sent, with what is said of them.
BROKEN = [
    (f"{SECRET}\nOTHER=1", "a line break"),
    (f"{SECRET}\r\n{SECRET}", "a line break"),
    (f"{SECRET} # mine", "a space or a control character"),
    (f"{SECRET}\x1b[0m", "a space or a control character"),
    ("…", "a character that is not ASCII"),
    (f"\ufeff{SECRET}", "a character that is not ASCII"),
]


async def ask(url: str, folder: Path) -> Any:
    async def sleep(seconds: float) -> None:
        return

    teacher = Teacher(TeacherConfig(model="teacher-1", base_url=url), folder / "teacher.jsonl", "round-01", sleep)
    try:
        return await teacher.ask("judge", QUESTION, Judged)
    finally:
        await teacher.close()


@pytest.mark.parametrize("around", ["{}\n", "{}\r", "{}\r\n", " {}\t"])
async def test_white_space_around_a_key_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", around.format(SECRET))
    endpoint = Scripted(then={"correct": True})
    with served(endpoint) as url:
        assert (await ask(url, tmp_path)).state == "ok"
    assert endpoint.requests[0].headers["authorization"] == f"Bearer {SECRET}"


async def test_a_key_of_white_space_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " \n")
    with served(Scripted(then=fail(401))) as url, pytest.raises(TeacherError, match="set OPENAI_API_KEY to your key"):
        await ask(url, tmp_path)


@pytest.mark.parametrize(("key", "told"), BROKEN)
async def test_what_no_key_holds_is_said_without_quoting_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, told: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    endpoint = Scripted(then={"correct": True})
    with served(endpoint) as url, pytest.raises(TeacherError) as raised:
        await ask(url, tmp_path)
    assert str(raised.value) == f"the key in OPENAI_API_KEY holds {told}, as no key does; set it again"
    assert endpoint.requests == []


@pytest.mark.parametrize("key", [f"{SECRET}\nmore", f"{SECRET}…"])
def test_a_run_with_such_a_key_ends_at_the_start_and_writes_it_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    make_data(tmp_path / "data", "arithmetic", 20)
    small = world_config("small", tmp_path / "data", "arithmetic", 20, max_rounds=1, data={"limit": 4})
    at = TeacherConfig(model="teacher-1", base_url=f"http://127.0.0.1:{closed_port()}/v1", retries=0)
    (tmp_path / "task.yaml").write_text(render(small.model_copy(update={"teacher": at})))
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SystemExit) as ended:
        main(["run", str(tmp_path / "task.yaml"), "--run-dir", str(tmp_path / "run")])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert "the key in OPENAI_API_KEY holds a" in said.err
    assert "teacher_error_rate" not in said.err
    assert SECRET not in said.out + said.err
    holding = [
        path
        for path in (tmp_path / "run").rglob("*")
        if path.is_file() and any(each in path.read_bytes() for each in (SECRET.encode(), "…".encode()))
    ]
    assert holding == []


@pytest.mark.parametrize("variable", ["OPENAI_ORG_ID", "OPENAI_CUSTOM_HEADERS"])
async def test_another_header_that_cannot_be_sent_is_not_quoted_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"X-Key: a\r{SECRET}")
    with served(Scripted()) as url, pytest.raises(TeacherError, match=variable) as raised:
        await ask(url, tmp_path)
    assert SECRET not in str(raised.value)


async def test_what_comes_back_is_shown_without_the_key_in_any_of_its_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk/se'cr\\et+\"1234=="
    monkeypatch.setenv("OPENAI_API_KEY", f"{key}\n")
    endpoint = Endpoint(TeacherConfig(model="teacher-1", base_url="http://127.0.0.1:9/v1"))
    said = [key, repr(key), repr(f"Bearer {key}\n".encode()), json.dumps(key), "sk/se%27cr%5Cet%2B%221234%3D%3D"]
    said.append("sk%2Fse%27cr%5Cet%2B%221234%3D%3D")
    for each in said:
        shown = endpoint.redact(f"you sent {each}.")
        assert "1234" not in shown
        assert "[key]" in shown
    await endpoint.close()


async def test_a_key_is_taken_out_before_a_text_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with served(Scripted(then=Response("." * 115 + SECRET))) as url:
        asked = await ask(url, tmp_path)
    assert "no chat completion" in asked.reason
    assert SECRET[:4] not in asked.reason


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:9",
        "localhost:9/v1",
        "api.example.com/v1",
        "ftp://h/v1",
        "http://",
        "http://h:99999/v1",
        "http://[::1",
    ],
)
def test_an_address_without_its_scheme_or_host_is_named_at_the_start(address: str) -> None:
    config = TeacherConfig(model="teacher-1").model_copy(update={"base_url": address})
    with pytest.raises(TeacherError) as raised:
        Endpoint(config)
    assert str(raised.value) == "teacher.base_url must begin with http:// or https://, and a host must follow"


def test_an_address_that_may_hold_a_password_is_not_quoted() -> None:
    config = TeacherConfig(model="teacher-1").model_copy(update={"base_url": f"me:{SECRET}@host/v1"})
    with pytest.raises(TeacherError, match="must begin with http://") as raised:
        Endpoint(config)
    assert SECRET not in str(raised.value)


async def test_nobody_there_is_told_by_the_failure_not_by_its_words(
    tmp_path: Path, ask_at: Callable[..., Teacher], waits: list[float]
) -> None:
    busy = Scripted(then=fail(429, "no connection to the model yet"))
    with pytest.raises(TeacherError, match="does not answer"):
        await ask_at(busy, retries=5).ask("judge", QUESTION, Judged)
    assert len(busy.of("judge")) == 6, "it is there, so it is tried as often as the configuration says"
    with pytest.raises(TeacherError, match="cannot be reached"):
        await ask(f"http://127.0.0.1:{closed_port()}/v1", tmp_path)
