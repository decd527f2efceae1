"""A run goes on with the items, the pictures and the pool that it began with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.pool.exclude import excluded
from agent.pool.store import check_pool
from agent.run.folder import RunFolder
from agent.run.items import keep_items
from eval.task import Item
from retrieval.errors import RunError
from retrieval.storage.files import read_json, read_jsonl, write_json
from tests.agent.run.test_run_folder import config
from tests.agent.small_context import make_context


def items(folder: Path) -> list[Item]:
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(name.encode())
    shown = (folder / "a.png", folder / "b.png")
    return [Item("one", "What is it?", ("a",), (), shown[:1]), Item("two", "And this?", ("b",), (), shown)]


def test_a_picture_that_changed_is_refused_with_its_item(tmp_path: Path) -> None:
    mine = items(tmp_path)
    keep_items(tmp_path, mine[:1], mine[1:])
    keep_items(tmp_path, mine[:1], mine[1:])
    (tmp_path / "b.png").write_bytes(b"another picture")
    with pytest.raises(RunError, match=r"the picture .*/b\.png of item two has changed since"):
        keep_items(tmp_path, mine[:1], mine[1:])
    (tmp_path / "b.png").write_bytes(b"b.png")
    keep_items(tmp_path, mine[:1], mine[1:])
    with pytest.raises(RunError, match="the items have changed since"):
        keep_items(tmp_path, [replace(mine[0], question="What was it?")], mine[1:])


def test_a_run_from_before_pictures_were_noted_gains_them_and_its_items_stay(tmp_path: Path) -> None:
    mine = items(tmp_path)
    keep_items(tmp_path, mine, [])
    (tmp_path / "pictures.jsonl").unlink()
    before = (tmp_path / "items.jsonl").read_bytes()  # whose hash is part of the keys of nodes
    keep_items(tmp_path, mine, [])
    assert [Path(row["image"]).name for row in read_jsonl(tmp_path / "pictures.jsonl")] == ["a.png", "b.png"]
    assert (tmp_path / "items.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", ["items.jsonl", "pictures.jsonl"])
def test_a_damaged_line_is_written_again_if_the_others_are_the_same(tmp_path: Path, name: str) -> None:
    mine = items(tmp_path)
    keep_items(tmp_path, mine, [])
    before = (tmp_path / name).read_text()
    (tmp_path / name).write_text("7\n" + before.split("\n", 1)[1])
    (said,) = keep_items(tmp_path, mine, [])
    assert said.startswith(f"{tmp_path / name}, line 1: ")
    assert (tmp_path / name).read_text() == before
    (tmp_path / name).write_text("7\n" + before.split("\n", 1)[1])
    with pytest.raises(RunError, match="items have changed"):
        keep_items(tmp_path, [mine[0], replace(mine[1], question="And that?")], [])


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run whose pool has been noted, in which something was answered."""
    (tmp_path / "pool.json").write_text("[]")
    folder = RunFolder.open(tmp_path / "run", config(pool={"path": str(tmp_path / "pool.json")}))
    check_pool(folder, folder.config)
    folder.round(0).mkdir(parents=True)
    folder.close()
    return folder


def test_another_pool_is_refused_once_something_was_answered(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_text("[1]")
    check_pool(run, run.config)
    (run.round(0) / "answers.jsonl").touch()
    check_pool(run, run.config)
    (tmp_path / "pool.json").write_text("[2]")
    with pytest.raises(RunError, match=r"the pool .*pool\.json has changed since .*/run began"):
        check_pool(run, run.config)


def test_a_run_from_before_pools_were_noted_has_their_folder(run: RunFolder, tmp_path: Path) -> None:
    (run.round(0) / "answers.jsonl").touch()
    status = read_json(run.path / "run.json")
    key = status.pop("pool_key")
    for pool in (None, f"/elsewhere/pool-{key[:12]}"):
        write_json(run.path / "run.json", {**status, "pool": pool})
        check_pool(run, run.config)
    write_json(run.path / "run.json", {**status, "pool": "/elsewhere/pool-0123456789ab"})
    with pytest.raises(RunError, match="has changed since"):
        check_pool(run, run.config)


def test_what_shows_an_item_is_looked_for_again_when_items_or_pictures_are_others(tmp_path: Path) -> None:
    context = make_context(tmp_path, {"sky": [("Is it blue?", "Yes.")], "sea": [("Is it wet?", "Yes.")]})
    pool = context.data.pool

    def found(question: str) -> set[str]:
        (context.folder.path / "items.jsonl").unlink(missing_ok=True)
        mine = [Item("one", question, ("yes",))]
        keep_items(context.folder.path, mine, [])
        return excluded(context, pool, mine)

    assert found("Is it blue?") == {"sky"}
    noted = json.loads((context.folder.path / "excluded.json").read_text())
    assert found("Is it wet?") == {"sea"}
    assert json.loads((context.folder.path / "excluded.json").read_text())["items"] != noted["items"]


def test_what_another_version_looked_for_is_looked_for_again_and_told_by_source(tmp_path: Path) -> None:
    context = make_context(tmp_path, {"sky": [("Is it blue?", "Yes.")], "sea": [("Is it wet?", "Yes.")]})
    mine, path = [Item("one", "Is it blue?", ("yes",))], context.folder.path / "excluded.json"
    said: list[str] = []
    context.reporter.say = said.append  # type: ignore[method-assign]
    keep_items(context.folder.path, mine, [])
    assert excluded(context, context.data.pool, mine) == {"sky"}
    noted = read_json(path)
    assert noted["sources"] == [{"source": "", "excluded": 1, "of": 2}]
    assert any("1 of the pool's 2 samples (50.0%)" in text for text in said)
    assert any("more than 5% of the pool" in text for text in said)
    said.clear()
    assert excluded(context, context.data.pool, mine) == {"sky"}
    assert not said, "it is kept"
    write_json(path, {name: value for name, value in noted.items() if name != "looked"})
    assert excluded(context, context.data.pool, mine) == {"sky"}
    assert read_json(path) == noted
