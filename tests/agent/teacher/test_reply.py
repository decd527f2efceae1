import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.teacher.prompts.replies import DiagnosedError, Judged, NamedSkills, SameSkills
from agent.teacher.reply import parse_reply

GOOD = {"wrong_step": 2, "why": "w", "should_say": "s", "skill": "adding two numbers"}
TEXT = json.dumps(GOOD)

READABLE = {
    "plain": TEXT,
    "fenced": f"```json\n{TEXT}\n```",
    "fenced without a language": f"Sure!\n```\n{TEXT}\n```\nAnything else?",
    "prose around": f"Here is my verdict: {TEXT} I hope that helps.",
    "braces in the prose before": "Take {x} and {y}: " + TEXT,
    "number as text": json.dumps({**GOOD, "wrong_step": "2"}),
    "byte order and spaces": f"\n\n   {TEXT}   \n",
    "skill with a full stop": json.dumps({**GOOD, "skill": " adding  two\nnumbers. "}),
}

DRAFT = json.dumps({**GOOD, "skill": "a draft"})
#: What models that reason put before and behind their reply; the draft among their thoughts is not it.
THOUGHTS = {
    "closed": f"<think>\nFirst I try {DRAFT}, but no.\n</think>\n{TEXT}",
    "opened by the chat template": f"I try {DRAFT}.\n</think>\n\n```json\n{TEXT}\n```",
    "twice": f"<think>{DRAFT}</think> hm <THINK>{DRAFT}</THINK> {TEXT}",
    "never opened or closed": f"I try {DRAFT}. Better: {TEXT}",
    "never closed": f"<think>I try {DRAFT}. Better: {TEXT}",
    "all of it": f"<think>I try {DRAFT}. So it is {TEXT}</think>\n",
    "with another object behind": f"<think>{DRAFT}</think>{TEXT} Confidence: {{}}",
    "with braces that never close": "<think>{ {a: {" + "{" * 2000 + f"</think>{TEXT}",
    "Mistral's": f"[THINK]{DRAFT}[/THINK]{TEXT}",
    "Kimi's": f"◁think▷{DRAFT}◁/think▷{TEXT}",
    "Seed's": f"<seed:think>{DRAFT}</seed:think>{TEXT}",
    "gpt-oss's": f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}",
    "gpt-oss's, constrained": f"<|channel|>analysis<|message|>{DRAFT}<|channel|>final <|constrain|>json<|message|>{TEXT}",
}
QUOTED = {**GOOD, "why": "the student wrote </think> there"}

#: Replies of which no value may be made.
UNREADABLE = {
    "empty": "",
    "spaces": "  \n ",
    "prose": "I am sorry, I cannot see the picture.",
    "truncated": TEXT[:-5],
    "truncated in a fence": f"```json\n{TEXT[:-9]}",
    "array": f"[{TEXT}, {TEXT}",
    "number": "3",
    "null": "null",
    "text": '"adding two numbers"',
    "NaN": TEXT.replace("2", "NaN"),
    "infinity": TEXT.replace("2", "Infinity"),
    "infinite by exponent": TEXT.replace("2", "1e999"),
    "duplicate key": '{"skill": "a", ' + TEXT[1:],
    "missing key": '{"wrong_step": 1}',
    "another key": json.dumps({**GOOD, "mark_all": "correct"}),
    "boolean for a number": TEXT.replace("2", "true"),
    "fraction": TEXT.replace("2", "1.5"),
    "list for a number": TEXT.replace("2", "[2]"),
    "null for a text": json.dumps({**GOOD, "skill": None}),
    "object for a text": json.dumps({**GOOD, "skill": {"name": "a"}}),
    "single quotes": str(GOOD),
    "comment": TEXT.replace(",", ", // first\n", 1),
    "trailing comma": TEXT[:-1] + ",}",
    "python constants": TEXT.replace("2", "None"),
    "digits without end": TEXT.replace("2", "9" * 5000),
    "deep": "[" * 50_000,
    "deep in a key": '{"a":' * 50_000,
    "braces": "{" * 60_000,
    "megabyte of spaces": " " * 10 + "a" * 1_000_000,
    "megabyte of JSON": json.dumps({**GOOD, "why": "x" * 1_000_000}),
    "html": "<html><body>502 Bad Gateway</body></html>",
    "xml": "<wrong_step>2</wrong_step>",
    "yaml": "wrong_step: 2\nskill: adding",
    "python call": "diagnose(wrong_step=2)",
    "skill as long as a page": json.dumps({**GOOD, "skill": "adding " * 100}),
    "nul bytes": "\x00" * 40,
    "empty object": "{}",
    "empty list": "[]",
    "schema instead of value": json.dumps(DiagnosedError.model_json_schema()),
    "value under another key": json.dumps({"result": GOOD}),
    "prose behind a draft": f"<think>{DRAFT}</think>The second step is wrong.",
    "half a reply behind a draft": f"<think>{DRAFT}</think>{TEXT[:-9]}",
    "array behind a draft": f"<think>{DRAFT}</think>[{TEXT}]",
    "another object behind a draft": f"<think>{DRAFT}</think>{{}}",
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_a_value_is_found_in_what_surrounds_it(text: str) -> None:
    assert parse_reply(text, DiagnosedError).value == DiagnosedError(**GOOD)


@pytest.mark.parametrize("text", THOUGHTS.values(), ids=THOUGHTS)
def test_a_draft_among_the_thoughts_is_not_the_reply(text: str) -> None:
    assert parse_reply(text, DiagnosedError).value == DiagnosedError(**GOOD)


@pytest.mark.parametrize("text", [json.dumps(QUOTED), f"<think>{DRAFT}</think> So: {json.dumps(QUOTED)} Done."])
def test_a_mark_in_a_text_ends_no_thoughts(text: str) -> None:
    assert parse_reply(text, DiagnosedError).value == DiagnosedError(**QUOTED)


def test_thoughts_without_a_reply_are_named_as_such() -> None:
    problem = parse_reply("<think>Step 2 looks {wrong}.</think>", DiagnosedError).problem
    assert problem.startswith("nothing stands behind the reply's thoughts, and they hold no JSON object")


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_a_short_sentence(text: str) -> None:
    parsed = parse_reply(text, DiagnosedError)
    assert parsed.value is None
    assert 0 < len(parsed.problem) <= 700


def test_half_a_character_does_not_get_into_a_record() -> None:
    value = parse_reply(TEXT.replace('"w"', '"w\\ud800"').replace("adding", "\\udfff adding"), DiagnosedError).value
    assert value is not None
    assert (value.why, value.skill) == ("w", GOOD["skill"])


def test_a_skill_without_a_word_has_no_name() -> None:
    reply = json.dumps({"samples": [{"index": 1, "skills": [" … "]}]})
    assert "needs a name" in parse_reply(reply, NamedSkills).problem


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_no_text_raises(text: str) -> None:
    parse_reply(text, Judged)
    parse_reply("{" + text, Judged)
    parse_reply(f"{{<think>{text}</think>{text}", Judged)


@settings(deadline=None)
@given(
    st.lists(st.integers()),
    st.text(alphabet=st.characters(exclude_characters="{}`")).filter(lambda prose: not prose.lstrip().startswith("[")),
)
def test_the_value_is_the_same_whatever_prose_is_around_it(same: list[int], prose: str) -> None:
    inside = json.dumps({"same": same})
    assert parse_reply(f"{prose} {inside} {prose}", SameSkills).value == SameSkills(same=same)
