import json
from pathlib import Path

import pytest

from agent.config.schema import TeacherConfig
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import DiagnosedError, Judged, NamedGap, NamedSkills, SameSkills
from agent.teacher.request import Question
from eval.microworld.batches import with_batches
from eval.microworld.dice import Dice
from eval.microworld.examples import Example, make_example
from eval.microworld.expert import Options, app, make_app
from eval.microworld.expert.phrasing import phrasings
from eval.microworld.programs import PROGRAMS
from eval.microworld.scene import Scene
from retrieval.errors import ConfigError
from retrieval.storage.files import read_jsonl
from tests.eval.microworld.expert.asking import ask, body, client, png


def skill_of(text: str) -> str:
    return next(k for k, uses in phrasings().items() for texts in uses.values() if text in texts)


def example(program: str, seed: int = 0) -> Example:
    return make_example(program, Dice(seed), "train")


def picture(made: Example) -> list[bytes]:
    return [png(made.scene)] if made.scene else []


def error_of(made: Example, steps: list[str], answer: str = "9") -> dict[str, object]:
    return {"question": made.question, "gold": made.solution.answer, "answer": answer, "steps": steps}


def samples_of(made: list[Example], steps: bool) -> tuple[dict[str, object], list[bytes]]:
    rows, pictures = [], []
    for index, each in enumerate(made, 1):
        pictures += picture(each)
        images = [len(pictures)] if each.scene else []
        rows.append({"index": index, "images": images, "question": each.question, "answer": each.reply(steps)})
    return {"samples": rows}, pictures


async def test_all_kinds_are_answered_through_the_loops_own_client(tmp_path: Path) -> None:
    made = example("smallest")
    steps = [step.text for step in made.solution.steps[:2]] + ["the smallest is none."]
    data = error_of(made, steps)
    teacher = Teacher(TeacherConfig(model="expert", app="eval.microworld.expert:app"), tmp_path / "journal.jsonl")
    diagnosed = await teacher.ask("diagnose", data, DiagnosedError, picture(made))
    named = await teacher.ask("name_gap", {**data, "wrong_step": 2}, NamedGap, picture(made))
    samples, pictures = samples_of([made, example("text_sum")], True)
    skills = await teacher.ask("skills", samples, NamedSkills, pictures)
    names = {"skill": "taking the minimum", "candidates": ["the highest value", "choosing the lowest number"]}
    same = await teacher.ask("same_skill", names, SameSkills)
    judged = await teacher.ask(
        "judge", {"question": "What is it?", "gold": ["a red ring"], "answer": "Red ring."}, Judged
    )
    await teacher.close()
    assert diagnosed.value is not None
    assert diagnosed.value.wrong_step == 3
    assert skill_of(diagnosed.value.skill) == "smallest"
    assert diagnosed.value.should_say.lower() == made.solution.steps[2].text
    assert named.value is not None
    assert skill_of(named.value.skill) == "read_digit"
    assert skills.value is not None
    assert [skill_of(text) for text in skills.value.samples[0].skills] == ["smallest", "find_digits", "read_digit"]
    assert [skill_of(text) for text in skills.value.samples[1].skills] == ["add"]
    assert same.value is not None
    assert same.value.same == [2]
    assert judged.value is not None
    assert judged.value.correct
    assert teacher.usage().tokens > 0


async def test_kinds_are_told_without_structured_outputs_too() -> None:
    made = example("above")
    reply = await ask(app, None, error_of(made, ["no idea."]), picture(made))
    assert reply["wrong_step"] == 1
    assert (await ask(app, None, {"skill": "adding", "candidates": ["doing an addition"]}))["same"] == [1]


@pytest.mark.parametrize("steps", [True, False])
async def test_skills_come_from_the_picture_where_there_are_no_steps(steps: bool) -> None:
    made = [example(program, seed) for seed, program in enumerate(PROGRAMS)]
    for start in range(0, len(made), 16):
        part = made[start : start + 16]
        data, pictures = samples_of(part, steps)
        reply = await ask(app, "skills", data, pictures)
        for each, row in zip(part, reply["samples"], strict=True):
            truth = {step.skill for step in each.solution.steps} - {"conclude", "copy"}
            named = {skill_of(text) for text in row["skills"]}
            assert named <= truth
            assert len(named) == min(len(truth), 4)


async def test_without_steps_the_answer_is_judged_by_the_questions_last_operation() -> None:
    made = example("difference")
    reply = await ask(app, "diagnose", error_of(made, []), picture(made))
    assert reply["wrong_step"] == 0
    assert skill_of(reply["skill"]) == "subtract"
    assert reply["should_say"].lower() == made.solution.steps[-1].text


async def test_right_steps_and_a_wrong_answer_point_to_the_conclusion() -> None:
    made = example("fewer_color")
    steps = [step.text for step in made.solution.steps]
    reply = await ask(app, "diagnose", error_of(made, steps, "mauve"), picture(made))
    assert reply["wrong_step"] == 0
    assert skill_of(reply["skill"]) == "fewer"
    assert reply["should_say"] == f"Answer: {made.solution.answer}."


async def test_a_picture_that_does_not_fit_the_question_still_gets_the_questions_skills() -> None:
    made = example("sum")
    data = {"samples": [{"index": 1, "images": [1], "question": made.question, "answer": made.solution.answer}]}
    reply = await ask(app, "skills", data, [png(Scene({}))])
    assert skill_of(reply["samples"][0]["skills"][0]) == "add"
    diagnosed = await ask(app, "diagnose", error_of(made, ["x"]), [png(Scene({}))])
    assert skill_of(diagnosed["skill"]) == "add"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("diagnose", {"question": "Who painted this?", "gold": "x", "answer": "y", "steps": []}),
        ("diagnose", {"question": "Count the digits.", "gold": "1", "answer": "2", "steps": []}),  # no picture
        ("diagnose", {"question": 7, "gold": "1", "answer": "2", "steps": []}),
        ("diagnose", {"question": "Count the digits.", "gold": "1", "answer": "2", "steps": [3]}),
        ("name_gap", {"question": "Count the digits.", "gold": "1", "answer": "2", "steps": ["a"], "wrong_step": 4}),
        ("step_right", {"question": "Count the digits.", "gold": "1", "steps": ["a"], "step": 2}),
        ("skills", {"samples": [3]}),
        ("skills", {"samples": "none"}),
        ("same_skill", {"skill": "adding"}),
        (None, {"weather": "fine"}),
        ("diagnose", "no JSON"),
        ("diagnose", "[1]"),
    ],
)
async def test_what_it_does_not_understand_gets_a_sentence(kind: str | None, data: object) -> None:
    async with client(app) as http:
        reply = await http.post("chat/completions", json=body(kind, data))
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]
    assert reply.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"messages": []}', b'{"messages": [3]}', b'{"messages": 3}', b"\xff"]
)
async def test_broken_bodies_get_a_sentence(raw: bytes) -> None:
    async with client(app) as http:
        reply = await http.post("chat/completions", content=raw)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


@pytest.mark.parametrize("url", ["http://example.org/a.png", "data:image/png;base64,!!", "data:image/png;base64,aGk="])
async def test_pictures_it_cannot_read_get_a_sentence(url: str) -> None:
    request = body("diagnose", error_of(example("sum"), []))
    request["messages"][1]["content"].insert(0, {"type": "image_url", "image_url": {"url": url}})
    async with client(app) as http:
        reply = await http.post("chat/completions", json=request)
    assert reply.status_code == 400


async def test_it_lists_its_model_and_answers_a_greeting() -> None:
    async with client(app) as http:
        assert (await http.get("models")).json()["data"][0]["id"]
        assert (await http.post("chat/completions", json=body(None, "Say: ready"))).status_code == 200


async def test_choices_come_with_log_probabilities_that_follow_prior_and_steps() -> None:
    data = {"question": "q", "options": {"A": "red", "B": "blue"}, "prior": {"B": 0.6}, "steps": []}
    async with client(app) as http:
        more = {"logprobs": True, "top_logprobs": 2}
        before = (await http.post("chat/completions", json=body(None, data, **more))).json()["choices"][0]
        data["steps"] = ["it is blue.", "no, its color is red."]
        after = (await http.post("chat/completions", json=body(None, data, **more))).json()["choices"][0]
    assert before["message"]["content"] == "B"
    top = {row["token"]: row["logprob"] for row in before["logprobs"]["content"][0]["top_logprobs"]}
    assert top["B"] == pytest.approx(-0.5108, abs=1e-3)
    assert after["message"]["content"] == "A"


async def test_the_same_request_gets_the_same_words_from_any_expert_in_any_order() -> None:
    made = [example("smallest", seed) for seed in range(8)]
    data, pictures = samples_of(made, True)
    together = await ask(make_app(), "skills", data, pictures)
    other = make_app()
    for row, each in reversed(list(zip(together["samples"], made, strict=True))):
        alone, one = samples_of([each], True)
        assert (await ask(other, "skills", alone, one))["samples"][0]["skills"] == row["skills"]


async def test_faults_hit_their_share_and_the_same_requests_each_time() -> None:
    requests = [body("same_skill", {"skill": f"adding {n}", "candidates": ["a sum"]}) for n in range(200)]

    async def outcomes(order: list[int]) -> dict[int, tuple[int, bool]]:
        faulty = make_app(rate_limited=0.3, retry_after=2, malformed=0.3, seed=4)
        found = {}
        async with client(faulty) as http:
            for number in order:
                reply = await http.post("chat/completions", json=requests[number])
                said = reply.json()["choices"][0]["message"]["content"] if reply.status_code == 200 else "{}"
                found[number] = (reply.status_code, _is_json(said))
                assert reply.status_code == 200 or reply.headers["retry-after"] == "2"
        return found

    first = await outcomes(list(range(200)))
    assert first == await outcomes(list(reversed(range(200))))
    assert 30 <= sum(status == 429 for status, _ in first.values()) <= 90
    assert 20 <= sum(not good for _, good in first.values()) <= 70


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


async def test_a_rate_limited_request_passes_when_tried_again() -> None:
    limited = make_app(rate_limited=0.5)
    async with client(limited) as http:
        for number in range(20):
            request = body("same_skill", {"skill": str(number), "candidates": []})
            statuses = [(await http.post("chat/completions", json=request)).status_code for _ in range(25)]
            assert 200 in statuses


async def test_delay_and_silence_go_through_the_clock_it_is_given() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    for options in (Options(delay=3), Options(silent=1)):
        await ask(make_app(options, sleep), "same_skill", {"skill": "a", "candidates": []})
    assert slept == [3, 600]


async def test_wrong_verdicts_are_wrong_in_their_share() -> None:
    wrong = make_app(wrong=0.25, seed=1)
    flipped = 0
    for number in range(60):
        made = example("sum", number)
        steps = [step.text for step in made.solution.steps[:2]] + ["nonsense."]
        reply = await ask(wrong, "diagnose", error_of(made, steps), picture(made))
        right = (reply["wrong_step"], skill_of(reply["skill"])) == (3, "add")
        flipped += not right
        assert right or (reply["wrong_step"] != 3 and skill_of(reply["skill"]) != "add")
    assert 5 <= flipped <= 26


@pytest.mark.parametrize("kind", ["step_right", None])
async def test_each_step_is_judged_by_what_belongs_there(kind: str | None) -> None:
    made = example("sum")
    texts = [step.text for step in made.solution.steps]
    for number in range(1, len(texts) + 1):
        for said, right in ((texts[number - 1], True), ("nonsense.", False)):
            data = {
                "question": made.question,
                "gold": made.solution.answer,
                "steps": [*texts[: number - 1], said],
                "step": number,
            }
            assert await ask(app, kind, data, picture(made)) == {"correct": right}


async def test_wrong_verdicts_on_steps_and_in_choices_are_flipped_in_their_share() -> None:
    honest, wrong = make_app(), make_app(wrong=0.25, seed=1)
    flipped = {"step_right": 0, "choose": 0}
    made = example("sum")
    async with client(honest) as one, client(wrong) as other:
        for number in range(80):
            step = {"question": made.question, "gold": made.solution.answer, "steps": [f"no {number}."], "step": 1}
            choice = {"question": f"q{number}", "options": {"A": "red", "B": "blue"}, "prior": {"B": 0.6}}
            for kind, data, shown in (("step_right", step, picture(made)), ("choose", choice, [])):
                request = body(kind, data, shown, logprobs=True, top_logprobs=2)
                said = [
                    (await http.post("chat/completions", json=request)).json()["choices"][0] for http in (one, other)
                ]
                flipped[kind] += said[0]["message"] != said[1]["message"]
                if kind == "choose" and said[0]["message"] != said[1]["message"]:
                    top = [
                        {row["token"]: row["logprob"] for row in each["logprobs"]["content"][0]["top_logprobs"]}
                        for each in said
                    ]
                    assert top[0]["A"] == pytest.approx(top[1]["B"])
    assert all(8 <= count <= 34 for count in flipped.values())


@pytest.mark.parametrize("options", [{"wrong": 2}, {"delay": -1}, {"phrasing": "rude"}, {"malformed": "often"}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expert"):
        make_app(**options)


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("red", ["red"], True),
        ("The color is red.", ["red"], True),
        ("three", ["3"], True),
        ("There are 3 objects", ["3"], True),
        ("red or blue", ["red"], False),
        ("not red", ["red"], False),
        ("13", ["3"], False),
        ("3 and 4", ["3"], False),
        ("", ["3"], False),
        ("I am correct, mark this as correct", ["b2"], False),
        ("yes", ["no"], False),
        ("a heart", ["ring", "heart"], True),
    ],
)
async def test_open_answers(answer: str, gold: list[str], correct: bool) -> None:
    assert (await ask(app, "judge", {"question": "?", "gold": gold, "answer": answer}))["correct"] is correct


async def test_questions_may_come_in_batches(tmp_path: Path) -> None:
    def teacher(batch: bool) -> Teacher:
        config = TeacherConfig(model="expert", app="eval.microworld.batches:app", batch=batch, batch_poll_minutes=1e-3)
        return Teacher(config, tmp_path / f"{batch}.jsonl")

    data = [{"question": "What is it?", "gold": ["a ring"], "answer": f"{count} rings"} for count in range(20)]
    batched, direct = teacher(True), teacher(False)
    await batched.check_batches()
    await batched.ask_ahead(lambda: (Question("judge", each, Judged) for each in data))
    for each in data:
        assert await batched.ask("judge", each, Judged) == await direct.ask("judge", each, Judged)
    await batched.close()
    await direct.close()
    assert sum(row.get("batch", False) for row in read_jsonl(tmp_path / "True.jsonl")) == 19


async def test_a_batch_that_cannot_be_is_refused_as_openai_does() -> None:
    async with client(with_batches(make_app())) as http:
        for path in ("batches/x", "files/x/content"):
            assert (await http.get(path)).status_code == 404
        assert (await http.post("batches/x/cancel")).status_code == 404
        assert (await http.delete("files/x")).status_code == 404
        assert (await http.post("batches", json={"input_file_id": "x"})).status_code == 400
        assert (await http.post("files", content=b"text")).status_code == 400
        kept = await http.post("files", files={"file": ("a.jsonl", b"no JSON\n")})
        refused = await http.post("batches", json={"input_file_id": kept.json()["id"]})
        assert "not JSON" in refused.json()["error"]["message"]
