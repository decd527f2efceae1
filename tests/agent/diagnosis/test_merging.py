import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.diagnosis.merging import CANDIDATES, COMPARED, Group, match_pool_skills, merge_names, plain
from agent.teacher.client import Teacher
from tests.endpoint import Scripted, Seen, chat, config_for

MakeTeacher = Callable[..., Teacher]


def encode(names: list[str]) -> NDArray[np.float32]:
    """Vectors that know nothing of meaning: random directions, the same for the same text."""
    seeds = [int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) for name in names]
    rows = np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds])
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def same_skill(meaning: Callable[[str], str]) -> Callable[[Seen], dict[str, Any]]:
    """A teacher that knows what names mean."""

    def reply(seen: Seen) -> dict[str, Any]:
        wanted = meaning(seen.data["skill"])
        return {"same": [n for n, each in enumerate(seen.data["candidates"], 1) if meaning(each) == wanted]}

    return reply


def first_word(name: str) -> str:
    return name.split()[0]


def wordings(skills: int, each: int) -> list[str]:
    return [
        f"skill{s} in words{hashlib.md5(f'{s}/{w}'.encode()).hexdigest()}" for s in range(skills) for w in range(each)
    ]


def as_sets(groups: Sequence[Group]) -> set[frozenset[str]]:
    return {frozenset(group.names) for group in groups}


@pytest.mark.parametrize(("skills", "each"), [(1, 1), (1, 40), (12, 12), (40, 3), (16, 1), (COMPARED + 12, 2)])
async def test_names_of_one_skill_become_one_group(ask_at: MakeTeacher, skills: int, each: int) -> None:
    names = wordings(skills, each)
    random.Random(1).shuffle(names)
    endpoint = Scripted(then=same_skill(first_word))
    groups = await merge_names(ask_at(endpoint), encode, names)
    if skills <= COMPARED:  # then each name has been compared with every group
        assert as_sets(groups) == {
            frozenset(name for name in names if first_word(name) == f"skill{s}") for s in range(skills)
        }
    assert sorted(name for group in groups for name in group.names) == sorted(names)
    assert all(len({first_word(name) for name in group.names}) == 1 for group in groups)
    assert all(len(seen.data["candidates"]) <= CANDIDATES for seen in endpoint.requests)


async def test_a_skill_costs_a_few_requests_not_one_a_name(ask_at: MakeTeacher) -> None:
    endpoint = Scripted(then=same_skill(first_word))

    def near(names: list[str]) -> NDArray[np.float32]:
        eye = np.eye(8, dtype=np.float32)
        return np.stack([eye[int(first_word(name)[5:])] for name in names])

    await merge_names(ask_at(endpoint), near, wordings(8, 25))
    assert len(endpoint.requests) < 8 * 5


async def test_names_that_are_unlike_are_looked_at_side_by_side(ask_at: MakeTeacher) -> None:
    async def slowly(seen: Seen) -> Any:
        for _ in range(50):
            await asyncio.sleep(0)
        return same_skill(first_word)(seen)

    endpoint = Scripted(then=slowly)
    groups = await merge_names(ask_at(endpoint), lambda names: np.eye(len(names), dtype=np.float32), wordings(16, 1))
    assert [group.name for group in groups] == wordings(16, 1)
    assert endpoint.most_under_way > 4


async def test_the_first_of_a_groups_names_is_its_name(ask_at: MakeTeacher) -> None:
    """`b2` is looked at beside `a1`, `b1` not, since it is near to it: the group is called after `b1` all the same."""
    vectors = {"a1": (1.0, 0.0), "b1": (0.8, 0.6), "b2": (0.0, 1.0)}

    def near(names: list[str]) -> NDArray[np.float32]:
        return np.array([vectors[name] for name in names], dtype=np.float32)

    def reply(seen: Seen) -> dict[str, Any]:
        same = [name[0] == seen.data["skill"][0] for name in seen.data["candidates"]]
        return {"same": [number for number, each in enumerate(same, 1) if each]}

    vectors["b2"] = (0.1, float(np.sqrt(0.99)))
    vectors["b1"] = (0.9, float(np.sqrt(0.19)))
    groups = await merge_names(ask_at(Scripted(then=reply)), near, ["a1", "b1", "b2"])
    assert [(group.name, set(group.names)) for group in groups] == [("a1", {"a1"}), ("b1", {"b1", "b2"})]


async def test_twins_stay_apart_however_near(ask_at: MakeTeacher) -> None:
    def alike(names: list[str]) -> NDArray[np.float32]:
        return np.tile(np.eye(4, dtype=np.float32)[0], (len(names), 1))

    names = ["finding the largest number", "finding the smallest number", "finding the biggest number"]
    size = {"largest": "max", "biggest": "max", "smallest": "min"}
    endpoint = Scripted(then=same_skill(lambda name: size[name.split()[2]]))
    groups = await merge_names(ask_at(endpoint), alike, names)
    assert as_sets(groups) == {frozenset({names[0], names[2]}), frozenset({names[1]})}


async def test_groups_of_earlier_rounds_keep_their_names(ask_at: MakeTeacher) -> None:
    known = [Group("skill1 old", ("skill1 old", "skill1 older")), Group("skill2 old", ("skill2 old",))]
    names = ["skill1 new", "skill3 new", "skill1 older", "Skill2  OLD."]
    groups = await merge_names(ask_at(Scripted(then=same_skill(first_word))), encode, names, known)
    assert [(group.name, set(group.names)) for group in groups] == [
        ("skill1 old", {"skill1 old", "skill1 older", "skill1 new"}),
        ("skill2 old", {"skill2 old", "Skill2  OLD."}),
        ("skill3 new", {"skill3 new"}),
    ]


@pytest.mark.parametrize(("rank", "merged"), [(COMPARED, True), (COMPARED + 1, False)])
async def test_a_name_is_compared_with_its_nearest_groups_only(ask_at: MakeTeacher, rank: int, merged: bool) -> None:
    known = [Group(f"skill{n} old", (f"skill{n} old",)) for n in range(1, COMPARED + 2)]

    def fanned(names: list[str]) -> NDArray[np.float32]:
        angles = np.array([0.03 * int(first_word(name)[5:]) if name.endswith("old") else 0 for name in names])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    endpoint = Scripted(then=same_skill(first_word))
    groups = await merge_names(ask_at(endpoint), fanned, [f"skill{rank} new"], known)
    assert (len(groups) == len(known)) == merged
    shown = [name for seen in endpoint.requests for name in seen.data["candidates"]]
    assert shown == [group.name for group in known[:COMPARED]]


async def test_a_group_stands_under_its_wording_that_is_nearest(ask_at: MakeTeacher) -> None:
    def placed(names: list[str]) -> NDArray[np.float32]:
        return np.stack([np.eye(2, dtype=np.float32)[int(name.endswith("far"))] for name in names])

    known = [Group("skill1 far", ("skill1 far", "skill1 near"))]
    endpoint = Scripted(then=same_skill(first_word))
    (group,) = await merge_names(ask_at(endpoint), placed, ["skill1 new"], known)
    assert [seen.data["candidates"] for seen in endpoint.requests] == [["skill1 near"]]
    assert group == Group("skill1 far", ("skill1 far", "skill1 near", "skill1 new"))


async def test_the_same_words_need_no_teacher(ask_at: MakeTeacher) -> None:
    endpoint = Scripted()
    names = ["Adding two numbers", "adding two  numbers.", "adding “two” numbers"]
    groups = await merge_names(ask_at(endpoint), encode, names)
    assert as_sets(groups) == {frozenset(names)}
    assert endpoint.requests == []


def test_signs_are_part_of_a_name() -> None:
    assert plain("a + b") != plain("a - b")
    assert plain("x > y") != plain("x < y")


@pytest.mark.parametrize("reply", [chat("?"), chat("", refusal="no"), {"same": [99]}])
async def test_without_a_verdict_names_stay_apart(ask_at: MakeTeacher, reply: Any) -> None:
    teacher = ask_at(Scripted(then=reply))
    groups = await merge_names(teacher, encode, ["a", "b", "c"])
    assert as_sets(groups) == {frozenset("a"), frozenset("b"), frozenset("c")}
    tally = teacher.tally("same_skill")
    assert len(tally.lost) == tally.asked > 0


async def test_nothing_to_merge_asks_nothing(ask_at: MakeTeacher) -> None:
    endpoint = Scripted()
    assert await merge_names(ask_at(endpoint), encode, []) == []
    assert await merge_names(ask_at(endpoint), encode, ["a"]) == [Group("a", ("a",))]
    assert endpoint.requests == []


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), unique=True, max_size=30), st.integers(0, 99))
def test_an_inconsistent_teacher_still_gives_a_partition_and_the_same_one(
    drawn: list[tuple[int, int]], seed: int
) -> None:
    names = [f"skill{s} word{w}" for s, w in drawn]

    def moody(seen: Seen) -> dict[str, Any]:
        rng = random.Random(f"{seed}{seen.data}")
        return {"same": [n for n in range(1, len(seen.data["candidates"]) + 1) if rng.random() < 0.3]}

    async def merged() -> list[Group]:
        with TemporaryDirectory() as folder:
            teacher = Teacher(config_for(Scripted(then=moody)), Path(folder) / "teacher.jsonl")
            try:
                return await merge_names(teacher, encode, names, [Group("skill0 known", ("skill0 known",))])
            finally:
                await teacher.close()

    groups = asyncio.run(merged())
    assert sorted(name for group in groups for name in group.names) == sorted([*names, "skill0 known"])
    assert groups == asyncio.run(merged())


async def test_the_teacher_says_which_texts_of_the_pool_match(ask_at: MakeTeacher) -> None:
    proposals = [f"skill{n % 3} text{n}" for n in range(40)] + ["SKILL1 need."]
    endpoint = Scripted(then=same_skill(lambda name: first_word(name).lower()))
    found = await match_pool_skills(ask_at(endpoint), "skill1 need", proposals)
    assert found == [text for text in proposals if first_word(text).lower() == "skill1"]
    assert sorted(len(seen.data["candidates"]) for seen in endpoint.requests) == [8, 16, 16]


@pytest.mark.parametrize(("matching", "found", "asked"), [(0, 1, 2), (1, 0, 1), (2, 0, 1)])
async def test_matching_stops_after_a_request_that_brings_none(
    ask_at: MakeTeacher, matching: int, found: int, asked: int
) -> None:
    proposals = [f"other text{n}" for n in range(3 * CANDIDATES)]
    proposals[matching * CANDIDATES] = "skill1 text"
    endpoint = Scripted(then=same_skill(first_word))
    assert len(await match_pool_skills(ask_at(endpoint), "skill1 need", proposals)) == found
    assert len(endpoint.requests) == asked


async def test_no_match_in_the_pool_is_an_empty_list(ask_at: MakeTeacher) -> None:
    teacher = ask_at(Scripted(then={"same": []}))
    assert await match_pool_skills(teacher, "a", ["b", "c"]) == []
    assert await match_pool_skills(teacher, "a", []) == []
