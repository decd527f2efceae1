"""The first records of a pool are told of in the words of the pool that is made of them."""

from pathlib import Path

import pytest

from retrieval import Pool
from retrieval.errors import PoolError
from retrieval.pool.glance import glance
from retrieval.storage.files import write_jsonl

STEPS = "Step 1: look.\nStep 2: see.\nAnswer: a box"


def test_what_is_seen_at_first_is_what_is_imported(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": STEPS, "hint": "h"},
        {"question": "q", "answer": "a", "image": "gone.png"},
        {"question": "q", "answer": ""},
        {"question": "q", "answer": "a", "scan": "a.png"},
    ]
    write_jsonl(tmp_path / "pool.jsonl", rows)
    said = glance(tmp_path / "pool.jsonl", None)
    assert said[0] == "2 samples, none with a picture, 1 with an answer in steps; not used: hint, scan"
    assert said[1].startswith("1 set aside, the first pool.jsonl, line 2: ")
    assert said[-1] == "warning: no sample has a picture, though `scan` may name one: name the files in `image`"
    pool = Pool.build(tmp_path / "pool.jsonl", None, tmp_path / "store")
    assert pool.understood() == said
    assert glance(tmp_path / "pool.jsonl", None, most=1)[0].startswith("the first 1 records: 1 samples")


def test_a_file_without_samples_is_no_pool(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pool.jsonl", [{"id": number} for number in range(3)])
    with pytest.raises(
        PoolError, match=r"is no pool: pool\.jsonl, line 1: .*; none of its first 3 records is a sample"
    ):
        glance(tmp_path / "pool.jsonl", None)
