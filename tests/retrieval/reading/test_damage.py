"""Files of every form with bytes changed, cut out or put in: each ends in rows, or in one sentence."""

import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eval import load_items
from retrieval import read_pool
from retrieval.errors import DataError
from tests.retrieval.reading.test_sources import FORMS

TIMES = 200
#: What parsers stumble over, beside any byte.
_PIECES = [
    b"",
    b"\0",
    b"\xff\xfe",
    b'"',
    b"{",
    b"[[[[",
    b"\\u",
    b"\n",
    b"\r",
    b",",
    b"|",
    b"1e999",
    b"NaN",
    b"\xed\xa0\x80",
]


def damaged(data: bytes, by: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(by.randint(1, 4)):
        start = by.randrange(len(changed) + 1)
        end = min(len(changed), start + by.choice([0, 1, 1, 2, 8, 64]))
        changed[start:end] = by.choice([*_PIECES, by.randbytes(by.randint(1, 4))])
    return bytes(changed)


@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_file_ends_in_rows_or_in_one_sentence(tmp_path: Path, name: str) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    path = tmp_path / name
    FORMS[name](path)
    whole = path.read_bytes()
    rows, sentences = 0, []
    for seed in range(TIMES):
        path.write_bytes(damaged(whole, random.Random(f"{name}/{seed}")))
        for read in (load_items, lambda given: list(read_pool(given))):
            reader: Any = read
            try:
                reader(path)
                rows += 1
            except DataError as error:
                sentences.append(str(error))
    assert not [said for said in sentences if "\n" in said]
    assert rows + len(sentences) == 2 * TIMES
    assert rows, "some damage leaves rows"
