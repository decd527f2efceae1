import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from datasets import Dataset

from retrieval import Pool, Sample, Turn
from retrieval.errors import PoolError
from retrieval.pool import importing
from tests.retrieval.conftest import MakePool, draw_scene, llava_row


def _tree(folder: Path) -> dict[str, bytes]:
    kept = (file for file in folder.rglob("*") if file.is_file() and file.name != "lock")
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}


def _rewrite(path: Path, *lines: str) -> None:
    path.write_text("".join(line + "\n" for line in lines))


def test_a_pool_comes_back_as_it_was_brought(make_pool: MakePool, tmp_path: Path) -> None:
    pool = Pool.build(make_pool(30), None, tmp_path / "store")
    assert pool.ids == [f"s{number:03d}" for number in range(30)]
    assert [sample.id for sample in pool] == pool.ids
    assert len(pool) == 30
    assert list(pool.set_aside) == []
    sample = pool.get("s007")
    assert sample == pool.sample(7)
    assert sample.turns == (Turn("How many red objects are in row 3?", "Step 1: look.\nStep 2: count.\nAnswer: 7"),)
    assert pool.image_path(sample.images[0]).read_bytes() == (tmp_path / "pictures" / "007.png").read_bytes()
    assert pool.sample(10).images == ()
    assert "s007" in pool
    assert "other" not in pool
    assert pool.questions(["s009", "s001"]) == ["How many red objects are in row 1?"] * 2


def test_what_is_not_there_is_named(make_pool: MakePool, tmp_path: Path) -> None:
    pool = Pool.build(make_pool(3), None, tmp_path / "store")
    with pytest.raises(PoolError, match="no sample 'nobody'"):
        pool.get("nobody")
    with pytest.raises(IndexError):
        pool.sample(3)
    with pytest.raises(PoolError, match="no imported pool"):
        Pool.open(tmp_path)


def test_building_again_changes_nothing_and_reads_no_image(make_pool: MakePool, tmp_path: Path) -> None:
    path = make_pool(12)
    folder = Pool.build(path, None, tmp_path / "store").folder
    before = {name: file.stat().st_mtime_ns for name in _tree(folder) if (file := folder / name)}
    for picture in (tmp_path / "pictures").iterdir():
        picture.unlink()
    again = Pool.build(path, None, tmp_path / "store")
    assert again.folder == folder
    assert {name: (folder / name).stat().st_mtime_ns for name in _tree(folder)} == before


def test_another_file_limit_or_seed_is_another_pool(make_pool: MakePool, tmp_path: Path) -> None:
    path = make_pool(20)
    pools = [Pool.build(path, None, tmp_path / "store", limit, seed) for limit, seed in ((None, 0), (5, 0), (5, 1))]
    assert len({pool.folder for pool in pools}) == 3
    assert [len(pool) for pool in pools] == [20, 5, 5]
    assert [pool.set_aside_count for pool in pools] == [0, 0, 0]
    assert pools[1].ids != pools[2].ids
    assert Pool.build(path, None, tmp_path / "store", None, 9).folder == pools[0].folder


def test_a_limit_draws_the_same_samples_whatever_their_order_in_the_file(tmp_path: Path) -> None:
    rows = [json.dumps(llava_row(number, image=False)) for number in range(40)]
    _rewrite(tmp_path / "a.jsonl", *rows)
    _rewrite(tmp_path / "b.jsonl", *reversed(rows), rows[3])
    one, other = (Pool.build(tmp_path / name, None, tmp_path / "store", 10, 5) for name in ("a.jsonl", "b.jsonl"))
    assert one.ids == sorted(one.ids)
    assert set(one.ids) == set(other.ids)
    assert len(one) == 10


def test_bad_rows_are_set_aside_with_their_place_and_the_rest_is_kept(make_pool: MakePool, tmp_path: Path) -> None:
    make_pool(6)
    pictures = tmp_path / "pictures"
    (pictures / "002.png").unlink()
    (pictures / "003.png").write_bytes((pictures / "003.png").read_bytes()[:300])
    (pictures / "004.png").write_bytes(b"")
    rows = [json.dumps(llava_row(number)) for number in range(1, 6)]
    other = json.dumps(llava_row(1, "Another question?", image=False))
    _rewrite(tmp_path / "bad.jsonl", rows[0], "{broken", *rows[1:], other, '{"id": "x", "text": "hello"}')
    pool = Pool.build(tmp_path / "bad.jsonl", None, tmp_path / "store")
    assert pool.ids == ["s001", "s005", "s001#2"]
    aside = {row.where: (row.id, row.reason) for row in pool.set_aside}
    assert {where: name for where, (name, _) in aside.items()} == {
        "bad.jsonl, line 2": "",
        "bad.jsonl, line 3": "s002",
        "bad.jsonl, line 4": "s003",
        "bad.jsonl, line 5": "s004",
        "bad.jsonl, line 8": "x",
    }
    assert pool.set_aside_count == len(aside)
    for line, reason in ((3, "no such image"), (4, "truncated"), (5, "empty"), (8, "no conv")):
        assert reason in aside[f"bad.jsonl, line {line}"][1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", "hello\nworld\n", "p.jsonl, line 1: not JSON"),
        ("p.jsonl", "", "it is empty"),
        ("p.json", "[]", "it is empty"),
        ("p.json", '[{"id": 1}', "element 2 of the array"),
        ("p.json", '{"model_type": "llama", "layers": [1, 2]}', "no conversations"),
        ("p.csv", "a,b\n1,2\n", "no conversations"),
        ("p.jsonl", json.dumps(llava_row(1)), "no such image"),
        ("p.yaml", "a: 1", "unknown kind of file"),
        ("p.parquet", "x", "not a Parquet file"),
    ],
)
def test_a_file_that_is_no_pool_is_one_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    for _ in range(2):
        with pytest.raises(PoolError, match=message) as caught:
            Pool.build(tmp_path / name, None, tmp_path / "store")
        assert "\n" not in str(caught.value)


def test_a_wrong_image_folder_stops_the_import_after_the_first_part(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_pool(0, "pool.jsonl")
    _rewrite(path, *(json.dumps(llava_row(number)) for number in range(30)))
    monkeypatch.setattr(importing, "PART", 10)
    with pytest.raises(PoolError, match="none of the first 10 records"):
        Pool.build(path, tmp_path / "elsewhere", tmp_path / "store")


_CHILD = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from retrieval import Pool
    from retrieval.pool import importing
    importing.PART = 8
    def stop(records):
        if records >= int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
    Pool.build(Path(sys.argv[1]), None, Path(sys.argv[2]), on_progress=stop)
    """
)


def test_an_import_killed_between_parts_goes_on_and_ends_as_an_unbroken_one(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_pool(0, "pool.jsonl")
    make_pool(30, "unused.json")
    rows = [json.dumps(llava_row(number, image=number % 10 != 0)) for number in range(30)]
    _rewrite(path, *rows[:12], "broken", *rows[12:], rows[2])
    command = [sys.executable, "-c", _CHILD, str(path), str(tmp_path / "killed")]
    for records in ("8", "24"):
        assert subprocess.run([*command, records], check=False).returncode == -signal.SIGKILL
    monkeypatch.setattr(importing, "PART", 8)
    seen: list[int] = []
    killed = Pool.build(path, None, tmp_path / "killed", on_progress=seen.append)
    assert seen == [32]
    unbroken = Pool.build(path, None, tmp_path / "unbroken")
    assert _tree(killed.folder) == _tree(unbroken.folder)
    assert (len(killed), killed.ids[-1]) == (31, f"{killed.ids[2]}#2")
    assert [row.where for row in killed.set_aside] == ["pool.jsonl, line 13"]


def test_a_damaged_pool_says_which_folder_to_delete(make_pool: MakePool, tmp_path: Path) -> None:
    folder = Pool.build(make_pool(5), None, tmp_path / "store").folder
    part = folder / "parts" / "00000.arrow"
    part.write_bytes(part.read_bytes()[:40])
    with pytest.raises(PoolError, match="delete"):
        Pool.open(folder)


@pytest.mark.parametrize("name", ["parts/00001.arrow", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "garbage"])
def test_a_damaged_pool_is_imported_again_and_says_so(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, how: str
) -> None:
    monkeypatch.setattr(importing, "PART", 4)
    source, said = make_pool(10), []
    pool = Pool.build(source, None, tmp_path / "store")
    whole = list(pool)
    file = pool.folder / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if how == "cut" else b"\0garbage" * 9)
    again = Pool.build(source, None, tmp_path / "store", say=said.append)
    assert list(again) == whole
    assert len(said) == 1
    assert list(Pool.build(source, None, tmp_path / "store", say=said.append)) == whole
    assert len(said) == 1


def test_questions_come_in_the_order_asked_for_from_any_part(
    make_pool: MakePool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrow counts the letters of what is taken at once in 32 bits, so that is no more than a part."""
    monkeypatch.setattr(importing, "PART", 3)
    pool = Pool.build(make_pool(10), None, tmp_path / "store")
    names = [*reversed(pool.ids), pool.ids[4], pool.ids[0]]
    assert pool.questions(names) == [pool.get(name).question for name in names]
    assert pool.questions([]) == []


def test_other_tools_can_read_the_parts(make_pool: MakePool, tmp_path: Path) -> None:
    pool = Pool.build(make_pool(5), None, tmp_path / "store")
    table = Dataset.from_file(str(pool.folder / "parts" / "00000.arrow"))
    assert table["id"][:] == pool.ids


def test_a_sample_with_several_images_and_turns_is_kept_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        draw_scene(number).save(tmp_path / f"{number}.png")
    chat = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    _rewrite(tmp_path / "p.jsonl", json.dumps({"id": "x", "messages": chat, "images": ["1.png", "2.png", "1.png"]}))
    sample: Sample = Pool.build(tmp_path / "p.jsonl", None, tmp_path / "store").get("x")
    assert sample.turns == (Turn("a", "b"), Turn("c", "d"))
    assert sample.images[0] == sample.images[2] != sample.images[1]
    assert sample.question == "a\nc"
