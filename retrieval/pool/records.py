"""Records out of files: JSON, JSONL, CSV and Parquet, one at a time, so that a file may be larger than memory.

A broken line is a `SetAside` row and reading goes on; a JSON array that breaks off cannot be read past the break, so
that is an error. Not covered: compressed files, CSV in other encodings than UTF-8.
"""

import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.errors import DataError, first_line

#: File name endings that are read, in lower case.
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")

#: Characters of a JSON array read at one time.
_CHUNK = 1 << 20
#: A single element of a JSON array is never longer than this (characters); past it the array is broken.
_LONGEST = 1 << 27


_WORDS = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
}


def _whole(digits: str) -> int | str:
    """A whole number; one of more digits than Python reads stays a text."""
    return int(digits) if len(digits) <= (sys.get_int_max_str_digits() or len(digits)) else digits


_DECODER = json.JSONDecoder(parse_int=_whole)


class Record(NamedTuple):
    """One record as it stood in the file; `where` names file and line (or row) for messages."""

    where: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that could not be used: its id ("" if it has none), where it stands, and why, in one sentence."""

    id: str
    where: str
    reason: str


def iter_records(path: Path) -> Iterator[Record | SetAside]:
    """The records of a file, or of all files of a folder in the order of their names.

    Raises DataError if there is no such file, its ending is none of SUFFIXES, or it is not what its ending says.
    """
    for file in record_files(path):
        try:
            yield from _iter_file(file)
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None


def record_files(path: Path) -> list[Path]:
    """The files that `iter_records` reads. Raises DataError if there are none."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())
        if not files:
            raise DataError(f"{path} holds no file ending in {', '.join(SUFFIXES)}")
        return files
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder; write what comes through it to a file")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; use one ending in {', '.join(SUFFIXES)}")
    return [path]


def _iter_file(path: Path) -> Iterator[Record | SetAside]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _iter_parquet(path)
    if suffix in (".csv", ".tsv"):
        return _iter_csv(path, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json" and _first_character(path) == "[":
        return _iter_array(path)
    if suffix == ".json" and (wrapped := _read_wrapped(path)) is not None:
        return iter(wrapped)
    return _iter_lines(path)


def _record(where: str, value: Any) -> Record | SetAside:
    if isinstance(value, dict):
        return Record(where, value)
    return SetAside("", where, f"not a JSON object but {_WORDS[type(value)]}")


def _iter_lines(path: Path) -> Iterator[Record | SetAside]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path.name}, line {number}"
            if not (line := line.removeprefix(b"\xef\xbb\xbf").strip()):
                continue
            try:
                yield _record(where, _DECODER.decode(line.decode("utf-8")))
            except UnicodeDecodeError:
                yield SetAside("", where, "not UTF-8 text")
            except (ValueError, RecursionError) as error:
                yield SetAside("", where, f"not JSON ({getattr(error, 'msg', error)})")


def _first_character(path: Path) -> str:
    with open(path, encoding="utf-8-sig") as file:
        while chunk := file.read(4096):
            if text := chunk.lstrip():
                return text[0]
    return ""


def _read_wrapped(path: Path) -> list[Record | SetAside] | None:
    """Records of a file that is one object around a list ({"data": […]}), None if it is no such thing."""
    try:
        whole = _DECODER.decode(path.read_text(encoding="utf-8-sig").strip())
    except (ValueError, RecursionError):
        return None
    lists = [value for value in whole.values() if isinstance(value, list)] if isinstance(whole, dict) else []
    if len(lists) != 1 or not any(isinstance(value, dict) for value in lists[0]) or _looks_like_sample(whole):
        return None
    return [_record(f"{path.name}, element {number}", value) for number, value in enumerate(lists[0], 1)]


def _looks_like_sample(value: dict[str, Any]) -> bool:
    return any(key in value for key in ("conversations", "messages", "question", "prompt"))


def _iter_array(path: Path) -> Iterator[Record | SetAside]:
    """Elements of a JSON array, holding no more than one element and a chunk of text in memory."""
    with open(path, encoding="utf-8-sig") as file:
        text, number, ended = file.read(_CHUNK).lstrip()[1:], 0, False
        while True:
            text = text.lstrip()
            if text.startswith("]"):
                return
            try:
                value, end = _next_element(text, number > 0)
                if end == len(text) and not ended:
                    raise json.JSONDecodeError("a number may go on", text, end)
            except (json.JSONDecodeError, RecursionError) as error:
                more = file.read(max(_CHUNK, len(text)))
                if ended or len(text) > _LONGEST:
                    reason = getattr(error, "msg", "nested too deeply")
                    raise DataError(f"{path}, element {number + 1} of the array: not JSON ({reason})") from None
                text, ended = text + more, not more
                continue
            text, number = text[end:], number + 1
            yield _record(f"{path.name}, element {number}", value)


def _next_element(text: str, after_another: bool) -> tuple[Any, int]:
    """The element that `text` begins with, past the comma if there must be one, and where it ends."""
    if not after_another:
        return _DECODER.raw_decode(text)
    if not text.startswith(","):
        raise json.JSONDecodeError("there should be a comma", text, 0)
    return _DECODER.raw_decode(text, len(text) - len(text[1:].lstrip()))


def _iter_csv(path: Path, delimiter: str) -> Iterator[Record | SetAside]:
    csv.field_size_limit(1 << 24)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        try:
            heading = reader.fieldnames or []
            if delimiter == "," and len(heading) == 1 and ";" in heading[0]:
                raise DataError(f"{path} is divided by semicolons; save it with commas")
            for row in reader:
                where = f"{path.name}, line {reader.line_num}"
                if None in row:
                    yield SetAside("", where, "more fields than the heading has columns")
                else:
                    yield Record(where, {key: value for key, value in row.items() if value not in (None, "")})
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def _iter_parquet(path: Path) -> Iterator[Record | SetAside]:
    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=256):
            for value in batch.to_pylist():
                number += 1
                yield Record(f"{path.name}, row {number}", {k: v for k, v in value.items() if v is not None})
    except pa.ArrowException as error:
        raise DataError(f"{path} is not a Parquet file ({first_line(error)})") from None
