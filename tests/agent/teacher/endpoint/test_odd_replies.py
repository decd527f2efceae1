"""Replies as real servers send them, whatever the protocol says, by the forms of public bug reports."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from agent.teacher.asked import Asked
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from tests.endpoint import Scripted, chat, config_for, fail

YES = '{"correct": true}'
NO = '{"correct": false}'


def choice(**fields: Any) -> Response:
    return JSONResponse({"object": "chat.completion", "choices": [{"index": 0, **fields}]})


def called(arguments: Any) -> list[dict[str, Any]]:
    return [{"id": "1", "type": "function", "function": {"name": "judge", "arguments": arguments}}]


async def ask(folder: Path, endpoint: Scripted, **fields: Any) -> Asked[Judged]:
    async def sleep(seconds: float) -> None:
        return

    teacher = Teacher(config_for(endpoint, retries=2, **fields), folder / "teacher.jsonl", sleep=sleep)
    try:
        return await teacher.ask("judge", {"question": "q", "gold": ["a"], "answer": "a"}, Judged)
    finally:
        await teacher.close()


@pytest.mark.parametrize(
    "reply",
    [
        chat("", reasoning_content=YES),
        chat(None, reasoning_content=f"First {NO}, but then\n{YES}"),
        chat("\n\n", reasoning=YES),
        chat("", thinking=YES),
        chat(None, tool_calls=called(YES)),
        chat(None, tool_calls=called({"correct": True})),
        chat("I call the function.", "tool_calls", tool_calls=called(YES)),
        chat(None, function_call={"name": "judge", "arguments": YES}),
        chat(f"<think>{NO}</think>{YES}", reasoning_content=NO),
        chat(YES, reasoning_content=NO),
        chat(YES, tool_calls=[]),
        chat(YES, tool_calls="none", reasoning={"a": 1}),
    ],
)
async def test_a_reply_is_found_where_the_server_put_it(tmp_path: Path, reply: Response) -> None:
    endpoint = Scripted(then=reply)
    asked = await ask(tmp_path, endpoint)
    assert asked.value == Judged(correct=True)
    assert len(endpoint.requests) == 1


async def test_thoughts_without_a_reply_are_named_in_the_reason(tmp_path: Path) -> None:
    asked = await ask(tmp_path, Scripted(then=chat("", reasoning_content="The answer seems right.")))
    assert asked.state == "malformed"
    assert "nothing stands behind the reply's thoughts" in asked.reason
    assert "'<think>The answer seems right.</think>'" in asked.reason


UPSTREAM = {"code": 502, "message": "Upstream error from provider: Internal server error"}


@pytest.mark.parametrize(
    "broken",
    [
        choice(message={"role": "assistant", "content": ""}, finish_reason="error", error=UPSTREAM),
        choice(message={"role": "assistant", "content": '{"correct": fa'}, finish_reason="error"),
        choice(message={"role": "assistant", "content": NO}, finish_reason="error", error={"message": "lost"}),
        choice(message=None, finish_reason=None, error={"code": 400, "message": "Provider returned error"}),
        choice(message={"role": "assistant", "content": ""}, finish_reason=None, error="overloaded"),
        choice(message={"role": "assistant", "content": "{"}, finish_reason="network_error"),
        choice(message={"role": "assistant", "content": ""}, finish_reason="insufficient_system_resource"),
        JSONResponse({"error": {"message": "Provider returned error", "code": None}}),
        JSONResponse({"error": {"message": "busy", "code": "429"}}),
        JSONResponse({"error": {"message": "busy", "code": "server_overloaded"}, "choices": []}),
        JSONResponse({"error": "upstream connect error"}),
    ],
)
async def test_an_error_behind_a_200_passes(tmp_path: Path, broken: Response) -> None:
    endpoint = Scripted(then=YES, steps=[broken])
    assert (await ask(tmp_path, endpoint)).value == Judged(correct=True)
    assert len(endpoint.requests) == 2


async def test_one_that_does_not_pass_is_a_failure_with_its_words(tmp_path: Path) -> None:
    def broken(seen: Any) -> Any:
        return choice(message=None, finish_reason="error", error=UPSTREAM) if seen.kind else YES

    asked = await ask(tmp_path, Scripted(then=broken))
    assert asked.state == "failed"
    assert "Upstream error from provider" in asked.reason


@pytest.mark.parametrize(
    "reply",
    [
        choice(finish_reason="content_filter", content_filter_results={"violence": {"filtered": True}}),
        choice(message=None, finish_reason="content_filter: PROHIBITED_CONTENT"),
        choice(message={"role": "assistant", "content": None}, finish_reason="SAFETY"),
        choice(message={"role": "assistant", "content": ""}, finish_reason="sensitive"),
        JSONResponse({"choices": [], "prompt_filter_results": [{"content_filter_results": {}}]}),
        JSONResponse({"choices": [], "promptFeedback": {"blockReason": "OTHER"}}),
        JSONResponse({"error": {"code": "data_inspection_failed", "message": "may be inappropriate"}}),
        fail(400, "Input data may contain inappropriate content.", code="data_inspection_failed"),
    ],
)
async def test_what_a_filter_stopped_is_filtered_also_without_a_message(tmp_path: Path, reply: Response) -> None:
    assert (await ask(tmp_path, Scripted(then=reply))).state == "filtered"


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS", "model_length"])
async def test_a_reply_that_ran_into_its_limit_is_cut_by_any_name(tmp_path: Path, finish: str) -> None:
    reply = choice(message={"role": "assistant", "content": "", "reasoning": f"{NO} and"}, finish_reason=finish)
    assert (await ask(tmp_path, Scripted(then=reply))).state == "cut"


def only_key(message: str) -> Scripted:
    return Scripted(then=fail(400, json.dumps({"message": message})))


async def test_a_proxy_that_answers_400_to_a_missing_key_is_told_with_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConnectionError, match=r"plainest request.*API key not valid.*set MY_KEY to your key"):
        await ask(tmp_path, only_key("API key not valid. Please pass a valid API key."), api_key_env="MY_KEY")
