import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import DataError
from retrieval.reading import records
from retrieval.reading.records import Record, SetAside, iter_records

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_ROWS = st.lists(st.dictionaries(st.text(), _VALUES, max_size=4), max_size=6)


def _values(path: Path) -> list[dict[str, object]]:
    return [record.value for record in iter_records(path) if isinstance(record, Record)]


@given(_ROWS, st.sampled_from([None, 1, 4]), st.integers(1, 40))
def test_a_json_array_reads_the_same_whatever_the_chunks(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]], indent: int | None, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("array") / "rows.json"
    path.write_text(json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK", chunk)
        assert _values(path) == rows


@given(_ROWS)
def test_json_lines_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, object]]) -> None:
    path = tmp_path_factory.mktemp("lines") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert _values(path) == rows


def test_broken_lines_are_set_aside_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\n{"id": \n\n[1]\n\xff\xfe\n{"id": 2}')
    found = list(iter_records(path))
    assert [record.value["id"] for record in found if isinstance(record, Record)] == [1, 2]
    aside = [row for row in found if isinstance(row, SetAside)]
    assert [row.where for row in aside] == ["rows.jsonl, line 2", "rows.jsonl, line 4", "rows.jsonl, line 5"]
    assert "not JSON" in aside[0].reason
    assert "list" in aside[1].reason
    assert "UTF-8" in aside[2].reason


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": ', '[{"a": 1} {"a": 2}]x', '[{"a": 1}, nope]', "[" * 5000])
def test_an_array_that_breaks_off_says_at_which_element(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"rows\.json, element"):
        list(iter_records(path))


def test_json_lines_named_json_and_a_list_inside_an_object_are_read(tmp_path: Path) -> None:
    (tmp_path / "lines.json").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "wrapped.json").write_text('{"version": 1, "data": [{"a": 1}, {"a": 2}]}')
    assert _values(tmp_path / "lines.json") == _values(tmp_path / "wrapped.json") == [{"a": 1}, {"a": 2}]


def test_csv_and_parquet_leave_empty_fields_out(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('question,answer,image\n"a, b",1,\nc,2,x.png\nd,3,x,too many\n')
    rows = list(iter_records(tmp_path / "rows.csv"))
    assert [row.value for row in rows if isinstance(row, Record)] == [
        {"question": "a, b", "answer": "1"},
        {"question": "c", "answer": "2", "image": "x.png"},
    ]
    assert isinstance(rows[-1], SetAside)
    assert rows[-1].where == "rows.csv, line 4"
    pq.write_table(pa.table({"question": ["a", "b"], "image": [None, {"bytes": b"x"}]}), tmp_path / "rows.parquet")
    assert _values(tmp_path / "rows.parquet") == [{"question": "a"}, {"question": "b", "image": {"bytes": b"x"}}]


def test_a_folder_is_read_file_by_file_in_the_order_of_names(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"n": 2}\n')
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n')
    (tmp_path / "readme.txt").write_text("no data")
    assert _values(tmp_path) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.txt", b"x", "unknown kind of file"),
        ("rows.parquet", b"no parquet", "not a Parquet file"),
        ("rows.csv", b"question\n\xff\xfe\n", "not UTF-8"),
        ("rows.json", b"[\xff", "not UTF-8"),
        ("rows.csv", b"question,answer,question\nq,3,r\n", "two columns called 'question'"),
    ],
)
def test_a_file_that_is_not_what_its_ending_says_is_one_sentence(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(iter_records(tmp_path / name))


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list(iter_records(tmp_path / "none.json"))
    with pytest.raises(DataError, match="holds no file"):
        list(iter_records(tmp_path))
