import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.diagnosis.switch import PROBE, check_teacher_judges
from agent.teacher.client import Teacher
from agent.teacher.logprobs import TOP, option_odds, read_top
from agent.teacher.prompts.replies import Judged
from retrieval.errors import TeacherError
from tests.endpoint import Scripted, Seen, chat, chosen, fail

MakeTeacher = Callable[..., Teacher]


@settings(deadline=None)
@given(st.floats(-30, 0), st.floats(-30, 0), st.sampled_from(["{}", " {}", "**{}", "{}.", "({}"]))
def test_probabilities_of_the_options_sum_to_one_and_keep_their_ratio(a: float, b: float, form: str) -> None:
    odds = option_odds((((form.format("A"), a), (form.format("B"), b)),), ("A", "B"))
    assert odds is not None
    assert math.fsum(odds.values()) == pytest.approx(1)
    assert math.log(odds["A"] / odds["B"]) == pytest.approx(a - b, abs=1e-6)


def test_spellings_of_a_letter_count_together() -> None:
    top = (("A", math.log(0.3)), (" A", math.log(0.3)), ("B", math.log(0.2)), ("a", math.log(0.1)))
    assert option_odds((top,), ("A", "B")) == pytest.approx({"A": 0.75, "B": 0.25})


def test_an_option_that_is_not_listed_is_no_likelier_than_the_last_that_is() -> None:
    top = (("A", math.log(0.9)), ("The", math.log(0.1)))
    assert option_odds((top,), ("A", "B")) == pytest.approx({"A": 0.9, "B": 0.1})


def test_the_letter_may_come_behind_a_line_break() -> None:
    places = ((("\n", -0.1), ("The", -3.0)), (("B", math.log(0.5)), ("A", math.log(0.5))))
    assert option_odds(places, ("A", "B")) == pytest.approx({"A": 0.5, "B": 0.5})
    assert option_odds(places[:1], ("A", "B")) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["logprobs", "content", "top_logprobs", "token", "logprob"]) | st.text(max_size=3), inner
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(anything)
def test_whatever_an_endpoint_sends_gives_log_probabilities_or_none(value: Any) -> None:
    for place in read_top({"logprobs": value}) or ():
        assert all(isinstance(token, str) and math.isfinite(logprob) and logprob <= 0.001 for token, logprob in place)


async def test_a_choice_is_asked_for_with_the_letters_probabilities(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=chosen({"A": math.log(0.2), "B": math.log(0.8)}))
    asked = await ask_at(endpoint).choose(PROBE, ("A", "B"))
    assert asked.value == pytest.approx({"A": 0.2, "B": 0.8})
    body = endpoint.requests[0].body
    assert (body["logprobs"], body["top_logprobs"]) == (True, TOP)
    assert "response_format" not in body


@pytest.mark.parametrize("reply", [chat("A"), fail(400, "logprobs is not supported with this model")])
async def test_an_endpoint_without_log_probabilities_is_told_from_the_first_choice(
    ask_at: MakeTeacher, reply: Any
) -> None:
    endpoint = Scripted(then=reply)
    with pytest.raises(TeacherError, match=r"no log-probabilities.*diagnosis\.judge to student"):
        await check_teacher_judges(ask_at(endpoint))
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("reply", [fail(400, "Unknown parameter"), chat("", refusal="no"), chosen({"Well": -0.1})])
async def test_a_plain_choice_that_comes_to_nothing_ends_the_start(ask_at: MakeTeacher, reply: Any) -> None:
    endpoint = Scripted(then=reply, steps=[{"correct": True}])
    teacher = ask_at(endpoint)
    await teacher.ask("judge", {"question": "q"}, Judged)
    with pytest.raises(TeacherError, match=r"cannot be the judge.*diagnosis\.judge to student"):
        await check_teacher_judges(teacher)


async def test_an_endpoint_that_once_gave_them_loses_only_the_choice_without(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=chosen({"A": -1.0, "B": -0.5}), steps=[chosen({"A": -1.0, "B": -0.5}), chat("A")])
    teacher = ask_at(endpoint)
    data = [{**PROBE, "question": text} for text in ("one", "two", "three")]
    assert [(await teacher.choose(each, "AB")).state for each in data] == ["ok", "failed", "ok"]


async def test_a_choice_of_none_of_the_options_is_malformed(ask_at: MakeTeacher) -> None:
    asked = await ask_at(Scripted(then=chosen({"Neither": -0.1, "I": -3.0}))).choose(PROBE, "AB")
    assert (asked.state, asked.value) == ("malformed", None)


async def test_a_choice_cut_off_behind_its_letter_is_whole(ask_at: MakeTeacher, tmp_path: Path) -> None:
    for endpoint in (first := Scripted(then=chosen({"A": -1.0}, "length")), second := Scripted()):
        assert (await ask_at(endpoint).choose(PROBE, "AB")).state == "ok"
    assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_a_choice_learns_the_endpoints_fields_and_leaves_schemas_alone(ask_at: MakeTeacher) -> None:
    def modern(seen: Seen) -> Any:
        if "max_tokens" in seen.body:
            return fail(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return {"correct": True} if seen.form == "schema" else chosen({"A": -1.0, "B": -0.5})

    endpoint = Scripted(then=modern)
    teacher = ask_at(endpoint)
    assert (await teacher.choose(PROBE, "AB")).state == "ok"
    assert (await teacher.ask("judge", {"question": "q"}, Judged)).state == "ok"
    asked = [(seen.kind, seen.form) for seen in endpoint.requests]
    assert asked[-2:] == [("choose", "text"), ("judge", "schema")]
    assert endpoint.of("choose")[1:] == [endpoint.requests[-2]], "once in vain, once as it is wanted"
