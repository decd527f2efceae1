"""A run that is killed while it makes its pool goes on where it was: same pool, same skills, same index, nothing paid twice."""

import asyncio
from pathlib import Path
from threading import Event

import pytest

from retrieval.storage.files import read_jsonl
from tests.faults.killing_pool import Point
from tests.faults.pool_world import CONCURRENCY, PER_REQUEST, POOL, Expert, PoolRun, kill, make_pool_data

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

#: By what the run is doing when it dies.
IMPORT: dict[str, Point] = {
    "in the middle of a part's images": ("link", "*/images/*.png", 20),
    "with an image half in place": ("copy", "*/images/*.png", 20),
    "with a part half in place": ("rename", "*/parts/00002.*", 1),
    "between a part and its report": ("rename", "*/parts/00002.*", 2),
    "between the last part and the manifest": ("renamed", "*/parts/00005.*", 2),
    "with the manifest half in place": ("rename", "*/pool-*/manifest.json", 1),
    "behind the manifest": ("renamed", "*/pool-*/manifest.json", 1),
}
ANNOTATION: dict[str, Point] = {
    "between what a reply cost and the reply": ("row", "*/pool-costs.jsonl", 3),
    "between a reply and its rows": ("row", "*/skills-*/teacher.jsonl", 3),
    "in the middle of writing a reply down": ("torn", "*/skills-*/teacher.jsonl", 3),
    "in the middle of a reply's rows": ("row", "*/skills.jsonl", PER_REQUEST + 3),
    "in the middle of a row": ("torn", "*/skills.jsonl", PER_REQUEST + 3),
    "behind the last row": ("row", "*/skills.jsonl", POOL),
}
INDEX: dict[str, Point] = {
    "embedding": ("call", "retrieval.index.embedding:Embedder.encode", 1),
    "in the middle of Chroma's vectors": ("call", "chromadb.api.models.Collection:Collection.upsert", 2),
    "before the manifest": ("rename", "*/.index-*.tmp/manifest.json", 1),
    "before its folder is in place": ("rename", "*/skills-*/index-*", 1),
    "behind its folder": ("renamed", "*/skills-*/index-*", 1),
    "noting which samples show an item": ("rename", "*/excluded.json*", 2),
    "indexing for BM25": ("call", "bm25s:BM25.index", 1),
    "with the questions' vectors half in place": ("rename", "*/questions-*/00000.npy", 1),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_pool_data(folder)
    return folder


@pytest.fixture(scope="module")
def unbroken(data: Path, tmp_path_factory: pytest.TempPathFactory) -> PoolRun:
    """A run that no one kills."""
    run = PoolRun(tmp_path_factory.mktemp("unbroken"), data, Expert(data))
    run.finish()
    return run


@pytest.fixture
def run(data: Path, tmp_path: Path) -> PoolRun:
    return PoolRun(tmp_path, data, Expert(data))


def test_what_the_unbroken_run_is(unbroken: PoolRun) -> None:
    """Else there would be less to kill than the points say."""
    assert sorted(unbroken.expert.asked) == list(range(len(unbroken.expert.batches)))
    assert len(unbroken.journal) == POOL // PER_REQUEST > 3 * CONCURRENCY
    made = unbroken.made()
    assert {f"parts/{part:05d}.arrow" for part in range(6)} <= {name.partition("/")[2] for name in made}
    assert [len(found) for name, found in made.items() if name.endswith("/chroma")] == [1]
    assert b'"part": "gap"' in unbroken.selection
    assert [row["sample"] for row in unbroken.excluded] == ["shown"]


@pytest.mark.parametrize("point", IMPORT.values(), ids=IMPORT)
def test_killed_importing(run: PoolRun, unbroken: PoolRun, point: Point) -> None:
    run.kill_at(point)
    assert run.expert.asked == []
    run.check_resumed(unbroken)


@pytest.mark.parametrize("point", ANNOTATION.values(), ids=ANNOTATION)
def test_killed_naming_the_skills(run: PoolRun, unbroken: PoolRun, point: Point) -> None:
    run.kill_at(point)
    run.check_resumed(unbroken)


def test_killed_with_requests_under_way(run: PoolRun, unbroken: PoolRun) -> None:
    """At the first request, in the middle, and at the last one."""
    for kills, number in enumerate([1, 7], 1):
        run.kill_at_request(number)
        run.check_paid(kills)
    run.kill_at_request(run.missing)
    assert run.missing
    run.check_resumed(unbroken, kills=3)


@pytest.mark.parametrize("point", INDEX.values(), ids=INDEX)
def test_killed_indexing(run: PoolRun, unbroken: PoolRun, point: Point) -> None:
    run.kill_at(point)
    assert len(run.expert.asked) == len(run.expert.batches)
    assert run.missing == 0
    run.check_resumed(unbroken)


def test_killed_while_samples_set_aside_get_another_chance(run: PoolRun, unbroken: PoolRun) -> None:
    expert = run.expert
    expert.refused = expert.batches[4][2][0]
    run.kill_at(("rename", "*/.index-*.tmp/manifest.json", 1))
    skills = next(run.store.glob("*/skills-*/skills.jsonl"))
    lost = [row["sample"] for row in read_jsonl(skills) if row["state"] == "set_aside"]
    assert 0 < len(lost) <= 0.05 * POOL
    run.kill_at(("rename", "*/skills.jsonl", 1))
    expert.refused = None
    before = len(expert.asked)
    run.finish()
    assert len(expert.asked) - before == 1
    run.check_equal(unbroken, but="*/teacher.jsonl")  # in which are also the requests for parts of the batch


@pytest.mark.parametrize("first_is_killed", [False, True], ids=["both end", "the first is killed"])
def test_two_runs_on_one_fresh_store(data: Path, tmp_path: Path, unbroken: PoolRun, first_is_killed: bool) -> None:
    """One makes the pool; the other says that it waits, and finds it made, or goes on where the first was killed."""
    expert, released = Expert(data), Event()
    first, second = (PoolRun(tmp_path, data, expert, name) for name in ("first", "second"))

    async def hold(asked: int) -> None:
        while asked > CONCURRENCY and not released.is_set():
            await asyncio.sleep(0.02)

    expert.before = hold
    with first.started() as one:
        first.wait_until(one, lambda: len(expert.asked) == 2 * CONCURRENCY)
        with second.started() as other:
            second.wait_until(other, lambda: f"another run makes a pool in {first.store}" in second.said)
            assert len(first.journal) == CONCURRENCY
            if first_is_killed:
                kill(one)
            released.set()
            assert second.status(other) == 0, second.said
            assert first_is_killed or first.status(one) == 0, first.said
    assert len(expert.asked) == len(expert.batches) + (CONCURRENCY if first_is_killed else 0)
    for run in [second] if first_is_killed else [first, second]:
        run.check_equal(unbroken, but="*/questions-*")  # two runs may write down the same vectors
