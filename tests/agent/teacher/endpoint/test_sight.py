"""A teacher that cannot see is found out by one picture; one that takes few pictures, or none beside a system message, is asked
as it wants to be. With the words of real servers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.diagnosis.skills import name_right_skills, right_questions
from agent.teacher.client import Teacher
from agent.teacher.endpoint.dialect import Learned
from agent.teacher.prompts.replies import Judged
from eval.answers import Answer
from eval.task import Item
from retrieval.errors import TeacherError, TeacherSetupError
from retrieval.storage.files import read_json, read_jsonl
from tests.batch_endpoint import Batched
from tests.endpoint import Scripted, Seen, config_for, fail

BLIND = [
    (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
    (400, "stub-model is not a multimodal model"),
    (400, "Invalid content type. image_url is only supported by certain models."),
    (422, "messages.1.content: Input should be a valid string"),
    (500, 'Failed to parse messages: Unsupported content part type: "image_url"'),
]


class Run:
    """The teachers of one run, one after the other, at one endpoint; none waits. `said`: what they said, `waits`: how often they
    would have waited."""

    def __init__(self, endpoint: Scripted, folder: Path) -> None:
        self.endpoint, self.folder = endpoint, folder
        self.said: list[str] = []
        self.waits = 0

    async def _sleep(self, seconds: float) -> None:
        self.waits += 1

    def start(self, **fields: Any) -> Teacher:
        config = config_for(self.endpoint, **{"retries": 1, "batch_poll_minutes": 1e-4, **fields})
        learned = Learned(self.folder / "endpoint.json")
        journal = self.folder / "teacher.jsonl"
        return Teacher(config, journal, "s", self._sleep, learned=learned, say=self.said.append)


def named(seen: Seen) -> Any:
    if seen.kind is None:
        return "Red."
    if seen.kind == "judge":
        return {"correct": True}
    return {"samples": [{"index": each["index"], "skills": ["seeing"]} for each in seen.data["samples"]]}


def at_most(most: int, message: str, status: int = 400) -> Callable[[Seen], Any]:
    def answer(seen: Seen) -> Any:
        return fail(status, message) if len(seen.images) > most else named(seen)

    return answer


def shown(count: int, folder: Path, picture: bytes, each: int = 1) -> list[tuple[Item, Answer]]:
    """Right answers to questions about a picture; of every `each`, the first."""
    (folder / "a.png").write_bytes(picture)
    pictures = [(folder / "a.png",) if number % each == 0 else () for number in range(count)]
    answer = Answer("", "Answer: a", (), "a", True, "right")
    return [(Item(f"i{n:03d}", f"question {n}", ("a",), (), images), answer) for n, images in enumerate(pictures)]


def states(path: Path) -> set[tuple[str, bool]]:
    return {(row["item"], row["state"] == "named") for row in read_jsonl(path)}


@pytest.mark.parametrize(("status", "message"), BLIND)
async def test_a_teacher_that_takes_no_pictures_ends_the_run_at_once(tmp_path: Path, status: int, message: str) -> None:
    def blind(seen: Seen) -> Any:
        return fail(status, message) if seen.images else {"correct": True}

    endpoint = Scripted(then=blind)
    run = Run(endpoint, tmp_path)
    with pytest.raises(TeacherSetupError) as caught:
        await run.start().check_sees()
    assert not run.waits, "nothing was waited for"
    assert "takes no pictures" in str(caught.value)
    assert message.partition('"')[0] in str(caught.value)
    assert "teacher.see_images" in str(caught.value)
    assert not (tmp_path / "teacher.jsonl").exists(), "nothing was paid"


async def test_one_that_sees_is_shown_a_picture_once_for_all_processes(tmp_path: Path) -> None:
    endpoint = Scripted(then=named)
    run = Run(endpoint, tmp_path)
    for known in (False, True):
        teacher = run.start()
        assert teacher.has_seen == known
        if not known:
            await teacher.check_sees()
        await teacher.close()
    assert run.start(see_images=False).has_seen
    assert [len(seen.images) for seen in endpoint.requests] == [1]


@pytest.mark.parametrize("said", ["I cannot see any image.", "Blue.", "Please provide the picture!"])
async def test_one_that_takes_a_picture_and_does_not_see_it_is_told_of(tmp_path: Path, said: str) -> None:
    run = Run(Scripted(then=said), tmp_path)
    teacher = run.start()
    await teacher.check_sees()
    (told,) = run.said
    assert repr(said) in told
    assert "teacher.see_images" in told
    assert not run.start().has_seen, "so it is shown one again"


@pytest.mark.parametrize(
    ("most", "status", "message"),
    [
        (1, 400, "At most 1 image(s) may be provided in one request."),
        (5, 400, "At most 5 image(s) may be provided in one request."),
        (8, 400, "Too many images in request. Max is 8."),
        (12, 413, "Request entity too large"),
        (5, 500, "too many images in the message, max allowed is 5"),
        (5, 500, "You set image=5 in `--limit-mm-per-prompt`, but passed 16 image items in the same prompt."),
    ],
)
async def test_an_endpoint_that_takes_few_pictures_is_asked_in_pieces_and_asked_so_from_then_on(
    tmp_path: Path, picture: bytes, most: int, status: int, message: str
) -> None:
    pairs, path = shown(40 * 16, tmp_path, picture), tmp_path / "right.jsonl"
    endpoint = Scripted(then=at_most(most, message, status))
    run = Run(endpoint, tmp_path)
    await name_right_skills(run.start(), pairs, path, 16)
    assert states(path) == {(item.id, True) for item, _ in pairs}, "none is lost, and the run goes on"
    refused = [seen for seen in endpoint.requests if len(seen.images) > most]
    assert len(refused) <= 2 * 16 * 4, "those that were under way until it showed, not one for each request"
    before = len(endpoint.requests)
    await name_right_skills(run.start(), shown(48, tmp_path, picture), tmp_path / "more.jsonl", 16)
    assert [len(seen.images) > most for seen in endpoint.requests[before:]].count(True) == 0, "all in the journal"


async def test_a_size_that_was_not_taken_is_remembered_for_the_run(tmp_path: Path, picture: bytes) -> None:
    endpoint = Scripted(then=at_most(5, "At most 5 image(s) may be provided in one request."))
    run = Run(endpoint, tmp_path)
    await name_right_skills(run.start(concurrency=1), shown(16, tmp_path, picture), tmp_path / "right.jsonl", 16)
    before = len(endpoint.requests)
    teacher = run.start(concurrency=1)
    assert not teacher.has_seen  # which takes up what is known
    pairs = [(item, Answer(item.id, "Answer: b", (), "b", True, "right")) for item, _ in shown(32, tmp_path, picture)]
    await name_right_skills(teacher, pairs, tmp_path / "more.jsonl", 16)
    assert {len(seen.images) for seen in endpoint.requests[before:]} == {4}
    assert read_json(tmp_path / "endpoint.json")["pictures"] == {"taken": 4, "refused": 8}


async def test_one_bad_picture_makes_no_bound(tmp_path: Path, picture: bytes) -> None:
    def picky(seen: Seen) -> Any:
        return fail(400, "could not decode image") if '"question 3\\"' in json.dumps(seen.body) else named(seen)

    run = Run(Scripted(then=picky), tmp_path)
    teacher = run.start(concurrency=1)
    await name_right_skills(teacher, shown(64, tmp_path, picture), tmp_path / "right.jsonl", 16)
    assert {item for item, good in states(tmp_path / "right.jsonl") if not good} == {"i003"}
    assert teacher.learned.sizes.fits(16)


@pytest.mark.parametrize("status", [400, 500])
async def test_rows_without_a_picture_are_not_lost_with_those_that_have_one(
    tmp_path: Path, picture: bytes, status: int
) -> None:
    endpoint = Scripted(then=at_most(0, "image input is not supported", status))
    pairs = shown(48, tmp_path, picture, each=8)
    run = Run(endpoint, tmp_path)
    await name_right_skills(run.start(concurrency=4), pairs, tmp_path / "right.jsonl", 16)
    assert states(tmp_path / "right.jsonl") == {(item.id, not item.images) for item, _ in pairs}


async def test_a_batch_is_made_of_pieces_that_the_endpoint_takes(tmp_path: Path, picture: bytes) -> None:
    pairs, path = shown(16 * 16, tmp_path, picture), tmp_path / "right.jsonl"
    endpoint = Batched(then=at_most(8, "At most 8 image(s) may be provided in one request."))
    run = Run(endpoint, tmp_path)
    teacher = run.start(batch=True)
    await teacher.ask_ahead(lambda: right_questions(pairs, 16, teacher.fits))
    direct = endpoint.direct
    await name_right_skills(teacher, pairs, path, 16)
    await teacher.close()
    assert states(path) == {(item.id, True) for item, _ in pairs}
    assert endpoint.direct == direct <= 4, "all that could wait came in the batch"


@pytest.mark.parametrize("status", [400, 500])
async def test_no_system_message_stands_beside_pictures_where_none_is_taken(
    tmp_path: Path, picture: bytes, status: int
) -> None:
    """Llama 3.2 Vision."""

    def mllama(seen: Seen) -> Any:
        bad = seen.has_system and seen.images
        return fail(status, "Prompting with images is incompatible with system messages.") if bad else named(seen)

    endpoint = Scripted(then=mllama)
    run = Run(endpoint, tmp_path)
    for known in (False, True):
        teacher = run.start()
        assert teacher.has_seen == known
        if not known:
            await teacher.check_sees()
        for images in ([picture], []):
            data = {"question": "q", "gold": ["a"], "answer": str((known, len(images)))}
            assert (await teacher.ask("judge", data, Judged, images)).state == "ok"
        await teacher.close()
    judged = [seen for seen in endpoint.requests if seen.kind == "judge"]
    assert [(len(seen.images), seen.has_system) for seen in judged] == [(1, False), (0, True)] * 2
    assert not [seen for seen in endpoint.requests[-2:] if seen.has_system and seen.images], "learned, and remembered"
    assert read_json(tmp_path / "endpoint.json")["system"] == "apart"
    assert judged[0].form == "schema"


async def test_where_no_system_message_is_taken_at_all_the_prompt_goes_into_the_users(tmp_path: Path) -> None:
    """Gemma's chat template."""

    def gemma(seen: Seen) -> Any:
        return fail(400, "System role not supported") if seen.has_system else named(seen)

    endpoint = Scripted(then=gemma)
    run = Run(endpoint, tmp_path)
    teacher = run.start()
    assert (await teacher.ask("judge", {"question": "q"}, Judged)).state == "ok"
    await teacher.close()
    assert (endpoint.requests[-1].kind, endpoint.requests[-1].data) == ("judge", {"question": "q"})
    assert read_json(tmp_path / "endpoint.json")["system"] == "none"


@pytest.mark.parametrize(
    ("refuses", "message"),
    [
        ("reasoning_effort", "Unrecognized request argument supplied: reasoning_effort"),
        ("reasoning_effort", "Extra inputs are not permitted"),
        ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model."),
        ("temperature", "Unsupported parameter"),
    ],
)
async def test_a_field_that_is_not_taken_is_left_out_from_then_on(tmp_path: Path, refuses: str, message: str) -> None:
    def strict(seen: Seen) -> Any:
        return fail(400, message) if refuses in seen.body else named(seen)

    endpoint = Scripted(then=strict)
    run = Run(endpoint, tmp_path)
    for number in range(3):
        teacher = run.start(reasoning_effort="low")
        assert (await teacher.ask("judge", {"number": number}, Judged)).state == "ok"
        await teacher.close()
    told = run.said
    assert [refuses in seen.body for seen in endpoint.of("judge")] == [True, False, False, False]
    fields = {"reasoning_effort", "temperature"} - {refuses}
    assert fields <= set(endpoint.requests[-1].body), "nothing else is given up"
    assert endpoint.requests[-1].form == "schema"
    assert [message in each for each in told] == ([True] if refuses == "reasoning_effort" else [])


WORDS = ("a", "be", "cat", "dog", "eel", "fox", "gnu")


async def ask_many(teacher: Teacher) -> None:
    for number in range(40):
        await teacher.ask("judge", {"number": number, "words": WORDS[number % 7]}, Judged)


@pytest.mark.parametrize("status", [None, 400, 500])
async def test_if_none_of_the_first_requests_of_a_kind_is_answered_the_run_ends(
    tmp_path: Path, status: int | None
) -> None:
    """Whatever their words; and they are asked anew then."""

    def silent(seen: Seen) -> Any:
        if seen.kind != "judge":
            return named(seen)
        return f"No {seen.data}." if status is None else fail(status, f"no image support: {seen.data['words']}")

    broken, mended = Scripted(then=silent), Scripted(then=named)
    teacher = Run(broken, tmp_path).start()
    with pytest.raises(TeacherError, match=r"any of the first 32 requests of kind `judge` \(32 \w+\), most often: "):
        await ask_many(teacher)
    await teacher.close()
    await ask_many(Run(mended, tmp_path).start())
    assert len(mended.requests) == 40
