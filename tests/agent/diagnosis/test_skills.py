import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.diagnosis.skills import annotate, name_right_skills
from agent.teacher.client import Teacher
from eval.answers import Answer
from eval.task import Item
from retrieval.errors import TeacherError
from retrieval.pool.pool import Pool
from retrieval.storage.files import read_jsonl
from tests.endpoint import Scripted, Seen, chat, fail

MakeTeacher = Callable[..., Teacher]


def named(seen: Seen) -> dict[str, Any]:
    """One skill a sample, after its question."""
    samples = seen.data["samples"]
    return {"samples": [{"index": each["index"], "skills": [f"skill of {each['question']}"]} for each in samples]}


def right(count: int, images: tuple[Path, ...] = ()) -> list[tuple[Item, Answer]]:
    return [
        (Item(f"i{n}", f"question {n}", ("a",), (), images), Answer(f"i{n}", "Answer: a", (), "a", True, "right"))
        for n in range(count)
    ]


def by_id(path: Path, label: str = "item") -> dict[str, Any]:
    rows = read_jsonl(path)
    found = {row[label]: row for row in rows}
    assert len(found) == len(rows), "no row twice"
    return found


async def test_skills_are_named_a_few_answers_a_request(ask_at: MakeTeacher, tmp_path: Path) -> None:
    endpoint, seen = Scripted(then=named), []
    await name_right_skills(
        ask_at(endpoint), right(40), tmp_path / "right.jsonl", 16, lambda done, total: seen.append((done, total))
    )
    rows = by_id(tmp_path / "right.jsonl")
    assert sorted(len(each.data["samples"]) for each in endpoint.requests) == [8, 16, 16]
    assert rows["i23"] == {
        "schema": 1,
        "item": "i23",
        "skills": ["skill of question 23"],
        "state": "named",
        "reason": None,
        "fault": None,
    }
    assert (seen[0], seen[-1]) == ((0, 40), (40, 40))


async def test_each_sample_knows_its_own_images(ask_at: MakeTeacher, tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    pairs = [*right(1), *right(3, (tmp_path / "a.png",) * 2)[1:]]
    endpoint = Scripted(then=named)
    await name_right_skills(ask_at(endpoint), pairs, tmp_path / "right.jsonl", 16)
    assert [each["images"] for each in endpoint.requests[0].data["samples"]] == [[], [1, 2], [3, 4]]
    assert len(endpoint.requests[0].images) == 4


async def test_what_is_named_already_is_not_asked_for(ask_at: MakeTeacher, tmp_path: Path) -> None:
    path, endpoint = tmp_path / "right.jsonl", Scripted(then=named)
    teacher = ask_at(endpoint)
    await name_right_skills(teacher, right(40), path, 16)
    whole = by_id(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:20]) + lines[20][:9])
    await name_right_skills(teacher, right(40), path, 16)
    assert by_id(path) == whole
    assert len(endpoint.requests) == 3, "a batch that is done in part comes from the journal"


async def test_a_bad_sample_does_not_cost_its_batch(ask_at: MakeTeacher, tmp_path: Path) -> None:
    def choosy(seen: Seen) -> Any:
        return chat("", refusal="not this") if '"question 5"' in json.dumps(seen.data) else named(seen)

    endpoint = Scripted(then=choosy)
    await name_right_skills(ask_at(endpoint), right(16), tmp_path / "right.jsonl", 16)
    rows = by_id(tmp_path / "right.jsonl")
    assert [item for item, row in rows.items() if row["state"] == "set_aside"] == ["i5"]
    assert "not this" in rows["i5"]["reason"]
    assert rows["i5"]["fault"] is not None
    assert len(endpoint.requests) == 9


async def test_an_image_that_is_gone_sets_only_its_sample_aside(ask_at: MakeTeacher, tmp_path: Path) -> None:
    pairs = [*right(8), *[(Item("gone", "q", ("a",), (), (tmp_path / "gone.png",)), right(1)[0][1])]]
    await name_right_skills(ask_at(Scripted(then=named)), pairs, tmp_path / "right.jsonl", 16)
    rows = by_id(tmp_path / "right.jsonl")
    assert [item for item, row in rows.items() if row["state"] == "set_aside"] == ["gone"]


@pytest.mark.parametrize(
    "reply",
    [
        {"samples": []},
        {"samples": [{"index": 1, "skills": ["a"]}]},
        {"samples": [{"index": 1, "skills": ["a"]}, {"index": 1, "skills": ["b"]}]},
        {"samples": [{"index": 0, "skills": ["a"]}, {"index": 1, "skills": ["b"]}]},
        {"samples": [{"index": 1, "skills": ["a"]}, {"index": 2, "skills": []}]},
        {"samples": [{"index": 1, "skills": "a"}, {"index": 2, "skills": "b"}]},
    ],
)
async def test_a_reply_that_misses_a_sample_is_split_until_it_fits(
    ask_at: MakeTeacher, tmp_path: Path, reply: dict[str, Any]
) -> None:
    endpoint = Scripted(then=lambda seen: reply if len(seen.data["samples"]) > 1 else named(seen))
    await name_right_skills(ask_at(endpoint), right(2), tmp_path / "right.jsonl", 16)
    assert {row["state"] for row in by_id(tmp_path / "right.jsonl").values()} == {"named"}


async def test_skills_are_few_and_none_twice(ask_at: MakeTeacher, tmp_path: Path) -> None:
    skills = ["adding", "adding", "reading.", "c", "d", "e"]
    endpoint = Scripted(then={"samples": [{"index": 1, "skills": skills}]})
    await name_right_skills(ask_at(endpoint), right(1), tmp_path / "right.jsonl", 16)
    assert by_id(tmp_path / "right.jsonl")["i0"]["skills"] == ["adding", "reading", "c", "d"]


async def test_a_refused_key_stops_at_once_and_keeps_what_is_there(ask_at: MakeTeacher, tmp_path: Path) -> None:
    endpoint = Scripted(then=fail(401), steps=[named, named])
    with pytest.raises(TeacherError):
        await name_right_skills(ask_at(endpoint, concurrency=1), right(64), tmp_path / "right.jsonl", 16)
    assert len(by_id(tmp_path / "right.jsonl")) == 32
    assert len(endpoint.requests) == 3


async def test_a_pool_is_annotated_with_questions_answers_and_images(
    ask_at: MakeTeacher, tmp_path: Path, picture: bytes
) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Red."}]
    more = [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": "Yes."}]
    records = [
        {"id": "one", "image": "a.png", "conversations": turns + more},
        {"id": "two", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]},
    ]
    (tmp_path / "pool.json").write_text(json.dumps(records))
    pool = Pool.build(tmp_path / "pool.json", None, tmp_path / "store")
    endpoint = Scripted(then=named)
    await annotate(ask_at(endpoint), pool, tmp_path / "skills.jsonl", 16)
    assert set(by_id(tmp_path / "skills.jsonl", "sample")) == {"one", "two"}
    samples = endpoint.requests[0].data["samples"]
    assert [each["answer"] for each in samples] == ["Red.\nYes.", "So."]
    assert [each["images"] for each in samples] == [[1], []]
    assert endpoint.requests[0].images == [picture]
