"""What an endpoint can do is found out once, over HTTP, and never mistaken for something else that it refused."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config.schema import TeacherConfig
from agent.diagnosis.switch import PROBE
from agent.teacher.client import Teacher
from agent.teacher.endpoint.dialect import Dialect, Learned
from agent.teacher.prompts.replies import Judged, NamedSkills
from retrieval.errors import TeacherError
from retrieval.storage.files import read_json
from tests.endpoint import Scripted, Seen, chat, chosen, fail, served

YES = {"correct": True}
REFUSALS = [
    (400, "response_format is not supported"),
    (400, "This response_format type is unavailable now"),
    (422, "Failed to deserialize the JSON body"),
    (400, "Unknown parameter"),
    (501, "guided decoding is not built in"),
]


async def judge(teacher: Teacher, answer: str = "a") -> Any:
    return await teacher.ask("judge", {"question": "q", "gold": ["a"], "answer": answer}, Judged)


class Run:
    """The teachers of one run, one after the other, at an endpoint that is served over HTTP; none waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def ask(self, endpoint: Scripted, *answers: str, each: int = 1) -> list[Any]:
        """Start anew, ask about each answer (`each` at a time), and end."""
        with served(endpoint) as url:
            return await self.ask_at(url, *answers, each=each)

    async def ask_at(self, url: str, *answers: str, each: int = 1) -> list[Any]:
        teacher = self.start(url)
        try:
            asked = []
            for start in range(0, len(answers), each):
                some = answers[start : start + each]
                asked += await asyncio.gather(*(judge(teacher, answer) for answer in some))
            return asked
        finally:
            await teacher.close()

    def start(self, url: str) -> Teacher:
        async def sleep(seconds: float) -> None:
            return

        config = TeacherConfig(model="teacher-1", base_url=url, retries=1)
        learned = Learned(self.folder / "endpoint.json")
        return Teacher(config, self.folder / "teacher.jsonl", sleep=sleep, learned=learned)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def speaks(*forms: str, status: int = 400, message: str = "response_format is not supported") -> Callable[[Seen], Any]:
    """An endpoint that takes these forms only, and JSON mode only where JSON is spoken of, as providers ask for."""

    def answer(seen: Seen) -> Any:
        if seen.form not in forms:
            return fail(status, message)
        if seen.form == "object" and "JSON" not in json.dumps(seen.body["messages"]):
            return fail(400, "'messages' must contain the word 'json' in some form")
        return YES

    return answer


def told(seen: Seen) -> bool:
    """Whether the schema stands in the prompt."""
    return '"required": ["correct"]' in seen.body["messages"][0]["content"]


@pytest.mark.parametrize(("status", "message"), REFUSALS)
@pytest.mark.parametrize("forms", [("schema", "object", "text"), ("object", "text"), ("text",)], ids=lambda f: f[0])
async def test_the_most_binding_form_that_an_endpoint_takes_is_used(
    run: Run, forms: tuple[str, ...], status: int, message: str
) -> None:
    endpoint = Scripted(then=speaks(*forms, status=status, message=message))
    assert all(asked.value.correct for asked in await run.ask(endpoint, *"abcd"))
    questions = endpoint.of("judge")
    assert [seen.form for seen in questions[-4:]] == [forms[0]] * 4
    assert len(questions) == (4 if forms[0] == "schema" else 5), "one question was asked in vain"
    assert len(endpoint.requests) - len(questions) == {"schema": 0, "object": 3, "text": 5}[forms[0]]
    assert told(questions[-1]) == (forms[0] != "schema")


@pytest.mark.parametrize("form", ["object", "text"])
async def test_words_that_mislead_cost_no_field(run: Run, form: str) -> None:
    message = "max_tokens, temperature and response_format were given; max_completion_tokens was not"
    endpoint = Scripted(then=speaks(form, "text", message=message))
    assert [asked.state for asked in await run.ask(endpoint, "a", "b")] == ["ok"] * 2
    last = endpoint.requests[-1]
    assert (last.form, last.body["max_tokens"], last.body["temperature"]) == (form, 2048, 0)


@pytest.mark.parametrize("form", ["object", "text"])
async def test_a_run_that_goes_on_does_not_ask_again(run: Run, form: str) -> None:
    endpoint = Scripted(then=speaks(form, "text"))
    with served(endpoint) as url:
        await run.ask_at(url, "a")
        before = len(endpoint.requests)
        assert [asked.state for asked in await run.ask_at(url, "a", "b", "c")] == ["ok"] * 3
    assert [seen.form for seen in endpoint.requests[before:]] == [form] * 2, "'a' is in the journal"
    kept = read_json(run.folder / "endpoint.json")
    assert (kept["endpoint"], kept["model"], kept["form"]) == (url, "teacher-1", form)


async def test_another_address_is_another_endpoint(run: Run) -> None:
    await run.ask(Scripted(then=speaks("text")), "a")
    better = Scripted(then=YES)
    await run.ask(better, "b")
    assert [seen.form for seen in better.requests] == ["schema"]
    assert read_json(run.folder / "endpoint.json")["form"] == "schema"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"form": "object"}', '{"schema": 1, "endpoint": 3}', "null"])
async def test_what_was_learned_may_be_lost(run: Run, text: str) -> None:
    (run.folder / "endpoint.json").write_text(text)
    endpoint = Scripted(then=speaks("object", "text"))
    assert [asked.state for asked in await run.ask(endpoint, "a")] == ["ok"]
    assert read_json(run.folder / "endpoint.json")["form"] == "object"


async def test_many_first_questions_at_once_find_it_out_once(run: Run) -> None:
    endpoint = Scripted(then=speaks("object", "text"))
    asked = await run.ask(endpoint, *"abcdefghijklmnop", each=16)
    assert all(each.value.correct for each in asked)
    assert sum(seen.kind is None for seen in endpoint.requests) == 3
    assert sum(seen.form == "object" for seen in endpoint.of("judge")) == 16


@pytest.mark.parametrize("hiccups", [1, 2, 3])
@pytest.mark.parametrize("message", ["response_format: upstream said no", "the schemas and messages are too long", "?"])
async def test_a_passing_400_costs_no_form(run: Run, hiccups: int, message: str) -> None:
    """The first requests are refused whatever they ask for, and the words are those of an endpoint without schemas."""
    endpoint = Scripted(then=YES, steps=[fail(400, message)] * hiccups)
    asked = await run.ask(endpoint, *"abcde")
    assert [each.state for each in asked[1:]] == ["ok"] * 4
    assert [seen.form for seen in endpoint.requests[-4:]] == ["schema"] * 4
    assert read_json(run.folder / "endpoint.json")["form"] == "schema"


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("message", "code", "state"),
    [
        ("maximum context length is 8192 tokens, your messages and response_format have 9000", "x", "failed"),
        ("image in messages[1] is not valid; temperature and max_completion_tokens are", "invalid_image", "failed"),
        ("triggered Azure OpenAI's content management policy, see json_schema", "content_filter", "filtered"),
        ("Could not finish the message because max_tokens or model output limit was reached.", "x", "cut"),
        ("Failed to generate JSON, see the response_format", "json_validate_failed", "malformed"),
    ],
)
async def test_a_400_for_one_item_sets_that_item_aside_and_no_form(
    run: Run, message: str, code: str, state: str, first: bool
) -> None:
    def picky(seen: Seen) -> Any:
        return fail(400, message, code=code) if "odd" in json.dumps(seen.body["messages"][1:]) else YES

    endpoint = Scripted(then=picky)
    answers = ("odd", "b", "c") if first else ("b", "odd", "c")
    asked = await run.ask(endpoint, *answers)
    assert [each.state for each in asked] == ([state, "ok", "ok"] if first else ["ok", state, "ok"])
    assert message[:40] in asked[answers.index("odd")].reason
    assert {seen.form for seen in endpoint.requests} == {"schema"}
    assert {seen.body.get("temperature") for seen in endpoint.requests} == {0}
    assert sum(seen.kind is None for seen in endpoint.requests) <= 1


async def test_an_endpoint_that_takes_some_schemas_is_asked_for_the_others_in_json_mode(run: Run) -> None:
    def no_references(seen: Seen) -> Any:
        if "$ref" in json.dumps(seen.body.get("response_format", "")):
            return fail(400, "$ref is not supported")
        skills = {"samples": [{"index": 1, "skills": ["adding"]}]}
        return YES if seen.kind == "judge" else skills

    endpoint = Scripted(then=no_references)
    with served(endpoint) as url:
        teacher = run.start(url)
        assert (await judge(teacher)).state == "ok"
        assert (await teacher.ask("skills", {"samples": []}, NamedSkills)).state == "ok"
        assert (await judge(teacher, "b")).state == "ok"
        await teacher.close()
    assert endpoint.of("skills")[-1].form == "object"


def in_prose(seen: Seen) -> Any:
    return "Certainly! The answer is right, so:\n" + json.dumps(YES) + "\nAnything else?"


def fenced(seen: Seen) -> Any:
    return "```json\n" + json.dumps(YES, indent=2) + "\n```"


@pytest.mark.parametrize("wrap", [in_prose, fenced])
async def test_an_endpoint_that_ignores_the_form_is_read_all_the_same(run: Run, wrap: Callable[[Seen], Any]) -> None:
    endpoint = Scripted(then=wrap)
    assert all(asked.value.correct for asked in await run.ask(endpoint, *"abc"))
    assert len(endpoint.requests) == 3


async def test_a_repair_says_the_schema_to_an_endpoint_that_ignored_it(run: Run) -> None:
    endpoint = Scripted(then=lambda seen: YES if told(seen) else {"verdict": "richtig"})
    assert all(asked.value.correct for asked in await run.ask(endpoint, *"abc"))
    assert [seen.is_repair for seen in endpoint.requests] == [False, True] * 3


@pytest.mark.parametrize(
    "text",
    [
        "Die Antwort ist richtig.",
        "答案是正确的。",
        "<correct>true</correct>",
        "correct: true",
        '{"richtig": "ja"}',
        '{"correct": "はい"}',
        "",
    ],
)
async def test_a_model_that_answers_in_another_language_or_format_is_named_with_its_words(run: Run, text: str) -> None:
    endpoint = Scripted(then=text)
    asked = (await run.ask(endpoint, "a"))[0]
    assert asked.state == "malformed"
    assert repr(" ".join(text.split())[:80]) in asked.reason
    assert len(endpoint.requests) == 2, "one repair"
    assert (await run.ask(endpoint, "a"))[0] == asked
    assert len(endpoint.requests) == 2, "it was paid for"


async def test_an_endpoint_that_refuses_everything_stops_the_run(run: Run) -> None:
    with pytest.raises(TeacherError, match=r"even the plainest request.*no such model.*check teacher\.model"):
        await run.ask(Scripted(then=fail(400, "no such model")), "a")
    assert not (run.folder / "endpoint.json").exists()


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("when", [0, 1, 3])
async def test_a_refused_key_stops_the_run_while_it_is_found_out(run: Run, status: int, when: int) -> None:
    steps: list[Any] = [fail(400, "response_format"), fail(400, "response_format"), YES][:when]
    with pytest.raises(TeacherError, match=f"HTTP {status}"):
        await run.ask(Scripted(then=fail(status), steps=steps), "a", "b")


async def test_log_probabilities_are_found_out_once_for_the_whole_run(run: Run) -> None:
    """An endpoint that has given them loses a single choice without, also in a process that has had none yet."""
    good = chosen({"A": -1.0, "B": -0.5})
    data = [{**PROBE, "question": text} for text in ("one", "two", "three")]
    with served(Scripted(then=good, steps=[good, chat("A")])) as url:
        states = []
        for each in data:
            teacher = run.start(url)
            states.append((await teacher.choose(each, "AB")).state)
            await teacher.close()
        assert states == ["ok", "failed", "ok"]
        assert read_json(run.folder / "endpoint.json")["logprobs"] is True
    without = Scripted(then=fail(400, "logprobs are not supported"))
    with served(without) as url, pytest.raises(TeacherError, match="no log-probabilities"):
        await run.start(url).choose({**PROBE, "question": "four"}, "AB")


def test_what_is_learned_is_written_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "endpoint.json"
    learned = Learned(path)
    learned.open("http://here", "m")
    learned.keep(Dialect())
    first = path.stat().st_ino
    learned.keep(Dialect())
    assert path.stat().st_ino == first
    learned.keep(Dialect(), logprobs=True)
    learned.keep(Dialect("text"))
    again = Learned(path)
    again.open("http://here", "m")
    assert (again.dialect, again.logprobs) == (Dialect("text"), True)
    again.open("http://there", "m")
    assert (again.dialect, again.logprobs) == (Dialect(), False)
