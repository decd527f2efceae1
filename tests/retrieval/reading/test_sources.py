"""Files as hubs, spreadsheets and other tools leave them."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.errors import DataError
from retrieval.reading.records import Record, SetAside, iter_records
from retrieval.reading.sources import image_folder, record_files

ROWS: list[dict[str, Any]] = [{"question": f"Which, {n}?", "answer": "lid", "image": f"{n}.png"} for n in range(3)]


def values(path: Path) -> list[dict[str, Any]]:
    found = list(iter_records(path))
    assert all(isinstance(each, Record) for each in found), found
    return [each.value for each in found if isinstance(each, Record)]


def table(path: Path, delimiter: str, encoding: str = "utf-8") -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    path.write_bytes(text.getvalue().encode(encoding))


def arrow_stream(path: Path) -> None:
    whole = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, whole.schema) as writer:
        writer.write_table(whole)


def arrow_file(path: Path) -> None:
    whole = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, whole.schema) as writer:
        writer.write_table(whole)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


FORMS: dict[str, Callable[[Path], object]] = {
    "array.json": lambda path: path.write_text(json.dumps(ROWS)),
    "array.jsonl": lambda path: path.write_text(json.dumps(ROWS, indent=1)),
    "lines.json": lambda path: path.write_text(lines(ROWS)),
    "lines.ndjson": lambda path: path.write_text(lines(ROWS)),
    "utf16.jsonl": lambda path: path.write_text(lines(ROWS), encoding="utf-16"),
    "around.json": lambda path: path.write_text(json.dumps({"info": {"year": 2}, "data": ROWS})),
    "two lists.json": lambda path: path.write_text(json.dumps({"licenses": [{"id": 1}], "questions": ROWS})),
    "columns.json": lambda path: path.write_text(json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]})),
    "pandas.json": lambda path: path.write_text(
        json.dumps({name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]})
    ),
    "comma.csv": lambda path: table(path, ","),
    "semicolon.csv": lambda path: table(path, ";"),
    "tab.csv": lambda path: table(path, "\t"),
    "tab.tsv": lambda path: table(path, "\t"),
    "spreadsheet.csv": lambda path: table(path, "\t", "utf-16"),
    "marked.csv": lambda path: table(path, ",", "utf-8-sig"),
    "stream.arrow": arrow_stream,
    "file.arrow": arrow_file,
    "rows.parquet": lambda path: pq.write_table(pa.Table.from_pylist(ROWS), path),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_same_rows_are_read_from_every_form(tmp_path: Path, name: str) -> None:
    FORMS[name](tmp_path / name)
    assert values(tmp_path / name) == ROWS


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["items.json", "items.jsonl"])
def test_items_by_their_ids(tmp_path: Path, name: str, indent: int | None) -> None:
    (tmp_path / name).write_text(json.dumps({f"q{n}": row for n, row in enumerate(ROWS)}, indent=indent))
    assert values(tmp_path / name) == [{"id": f"q{n}", **row} for n, row in enumerate(ROWS)]


def test_one_item_alone(tmp_path: Path) -> None:
    (tmp_path / "item.json").write_text(json.dumps(ROWS[0], indent=2))
    assert values(tmp_path / "item.json") == ROWS[:1]


def test_lists_of_which_any_may_be_meant_are_refused_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text(json.dumps({"easy": ROWS, "hard": ROWS}))
    with pytest.raises(DataError, match=r"several lists \('easy', 'hard'\); write the one"):
        list(iter_records(tmp_path / "two.json"))


def test_spaces_behind_commas_and_capitals_in_the_heading(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('id, Image , question\n1, a.png, "Which, then?"\n')
    assert values(tmp_path / "rows.csv") == [{"id": "1", "Image": "a.png", "question": "Which, then?"}]


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(lines(ROWS) if name.endswith("jsonl") else "{}")
    return folder


def test_what_datasets_write_beside_the_data_is_not_data(tmp_path: Path) -> None:
    folder = write(tmp_path, "dataset_info.json", "state.json", "data.jsonl", ".hidden.jsonl")
    assert record_files(folder) == [folder / "data.jsonl"]


def test_a_clone_of_a_hub_is_read_in_the_folder_that_holds_the_data(tmp_path: Path) -> None:
    clone = write(tmp_path, "dataset_infos.json", "data/train-0.jsonl", "data/train-1.jsonl", ".git/x.jsonl")
    assert record_files(clone) == [clone / "data" / "train-0.jsonl", clone / "data" / "train-1.jsonl"]
    assert image_folder(clone, None) == clone


def test_an_image_folder_names_what_lies_beside_its_metadata(tmp_path: Path) -> None:
    folder = write(tmp_path, "train/metadata.jsonl")
    assert record_files(folder) == [folder / "train" / "metadata.jsonl"]
    assert image_folder(folder, None) == folder / "train"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ("train-0.jsonl", "train-1.jsonl", "test-0.jsonl"),
            r"several splits \(test, train\); name one, for .*/test-0.jsonl",
        ),
        (
            ("data/validation.jsonl", "data/test-0.jsonl", "data/test-1.jsonl"),
            r"splits .* for instance .*/data/test\*.jsonl",
        ),
        (
            ("train/metadata.jsonl", "test/metadata.jsonl"),
            r"several data sets \(test, train\); name one of these folders",
        ),
        (("picture.png",), "holds no file ending in .json"),
    ],
)
def test_what_would_be_mixed_is_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError, match=words):
        record_files(write(tmp_path, *names))


def test_a_pattern_names_some_of_the_files(tmp_path: Path) -> None:
    write(tmp_path, "train-0.jsonl", "train-1.jsonl", "test-0.jsonl")
    assert record_files(tmp_path / "train*.jsonl") == [tmp_path / "train-0.jsonl", tmp_path / "train-1.jsonl"]
    with pytest.raises(DataError, match=r"no file ending in .* is called"):
        record_files(tmp_path / "none*.jsonl")


def test_a_broken_line_of_a_file_of_lines_costs_only_itself(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"question": \n' + lines(ROWS).encode() + b"\xff\n")
    found = list(iter_records(tmp_path / "rows.jsonl"))
    assert [each.where for each in found if isinstance(each, SetAside)] == ["rows.jsonl, line 1", "rows.jsonl, line 5"]
    assert len(found) == 5
