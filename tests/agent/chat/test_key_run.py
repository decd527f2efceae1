"""A key through the command: one that is wrong, missing or revoked ends a run with its cause and the exit code of a user's
mistake, at the start and whenever it goes on; with the right one it goes on."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from agent.config.schema import TeacherConfig
from eval.microworld.expert.app import make_app
from retrieval.storage.files import read_json, read_jsonl
from tests.endpoint import fail, served

KEY = "sk-right12345678"


class Guarded:
    """The expert behind a key, which is good for `left` requests (None: for all)."""

    def __init__(self, left: int | None = None) -> None:
        self.left = left
        self._expert: ASGIApp = make_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        good = Request(scope).headers.get("authorization") == f"Bearer {KEY}" and self.left != 0
        if self.left is not None and good:
            self.left -= 1
        await (self._expert if good else fail(401, "Incorrect API key provided"))(scope, receive, send)


@pytest.fixture
def guarded() -> Iterator[SimpleNamespace]:
    app = Guarded()
    with served(SimpleNamespace(app=app)) as url:  # type: ignore[arg-type]
        yield SimpleNamespace(app=app, url=url)


@pytest.fixture
def config(tmp_path: Path, guarded: SimpleNamespace) -> Path:
    make_data(tmp_path / "data", "arithmetic", 40)
    changes: dict[str, Any] = {"max_rounds": 1, "review": True, "data": {"limit": 6}, "diagnosis": {"per_request": 4}}
    small = world_config("small", tmp_path / "data", "arithmetic", 40, **changes)
    teacher = TeacherConfig(model="expert", base_url=guarded.url, concurrency=2, retries=0)
    (tmp_path / "task.yaml").write_text(render(small.model_copy(update={"teacher": teacher})))
    return tmp_path / "task.yaml"


def test_a_run_whose_key_is_revoked_ends_with_the_cause_and_goes_on_with_the_right_one_only(
    config: Path, guarded: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = config.parent / "run"
    refused = f"the teacher at {guarded.url} refused the key (HTTP 401: "

    def call(key: str | None) -> tuple[int, str]:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        if key is not None:
            monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(SystemExit) as ended:
            main(["run", str(config), "--run-dir", str(run)])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.strip().splitlines()[-1]

    def paid() -> int:
        journals = [run / "teacher.jsonl", *run.parent.glob("pools/*/skills-*/teacher.jsonl")]
        return sum(1 for path in journals for _ in read_jsonl(path))

    at_start = call("sk-wrong12345678")
    assert at_start[0] == 2
    assert at_start[1].startswith(f"gaptutor: {refused}")
    assert at_start[1].endswith("; check the key in OPENAI_API_KEY")

    guarded.app.left = 6  # a picture, the plain question at the start, and some of the pool
    assert call(KEY) == at_start, "a key that is refused in the middle is told as one that is refused at the start"
    status = read_json(run / "run.json")
    assert (status["state"], f"gaptutor: {status['error']}") == ("failed", at_start[1])
    assert paid() == 5

    assert call("sk-wrong12345678") == at_start
    missing = call(None)
    assert (missing[0], missing[1].rpartition("; ")[2]) == (2, "set OPENAI_API_KEY to your key")
    assert paid() == 5

    guarded.app.left = None
    code, said = call(KEY)
    assert code == 4, said
    journals = [run / "teacher.jsonl", *run.parent.glob("pools/*/skills-*/teacher.jsonl")]
    keys = [row["key"] for path in journals for row in read_jsonl(path)]
    assert len(set(keys)) == len(keys) > 5, "nothing is paid twice"
    with contextlib.suppress(OSError):
        assert KEY not in (run / "events.jsonl").read_text()
