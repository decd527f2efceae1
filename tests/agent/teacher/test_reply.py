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
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_a_value_is_found_in_what_surrounds_it(text: str) -> None:
    assert parse_reply(text, DiagnosedError).value == DiagnosedError(**GOOD)


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


@settings(deadline=None)
@given(
    st.lists(st.integers()),
    st.text(alphabet=st.characters(exclude_characters="{}`")).filter(lambda prose: not prose.lstrip().startswith("[")),
)
def test_the_value_is_the_same_whatever_prose_is_around_it(same: list[int], prose: str) -> None:
    inside = json.dumps({"same": same})
    assert parse_reply(f"{prose} {inside} {prose}", SameSkills).value == SameSkills(same=same)
