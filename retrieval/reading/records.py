"""Records out of files: JSON, JSONL, CSV, Parquet and Arrow, one at a time, so that a file may be larger than memory; only a file
that is one JSON object is read whole.

A broken line is a `SetAside` row and reading goes on; a JSON array that breaks off cannot be read past the break, so
that is an error. Not covered: compressed files, text in other encodings than UTF-8 and UTF-16.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from retrieval.errors import DataError, first_line
from retrieval.reading.names import CHAT, QUESTION, folded
from retrieval.reading.sources import record_files

#: Characters of a JSON array read at one time.
_CHUNK = 1 << 20
#: A single element of a JSON array is never longer than this (characters); past it the array is broken.
_LONGEST = 1 << 27
#: Characters of a reason: a path may be a whole file.
_LONGEST_REASON = 500
#: Fields by which a record is told from what stands around it.
_TELLING = {folded(name) for name in (*CHAT, *QUESTION, "answer", "answers")}

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
    """A row that could not be used: its id ("" if it has none), where it stands, and why, in one sentence, on one line whatever
    it quotes."""

    id: str
    where: str
    reason: str

    def __post_init__(self) -> None:
        line = " ".join(self.reason.split())
        object.__setattr__(self, "reason", line if len(line) <= _LONGEST_REASON else line[: _LONGEST_REASON - 1] + "…")


def iter_records(path: Path) -> Iterator[Record | SetAside]:
    """The records of a file, or of all files of a folder in the order of their names.

    Raises DataError if there is no such file, its ending is none that is read, or it is not what its ending says.
    """
    for file in record_files(path):
        try:
            yield from _iter_file(file)
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or first_line(error)}") from None
        except UnicodeError:
            raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None


def _iter_file(path: Path) -> Iterator[Record | SetAside]:
    match path.suffix.lower():
        case ".parquet":
            return _iter_table(path, _parquet_batches(path))
        case ".arrow":
            return _iter_table(path, _arrow_batches(path))
        case ".csv" | ".tsv" as suffix:
            return _iter_csv(path, "\t" if suffix == ".tsv" else None)
    # What a JSON file holds shows in it: endings are mixed up a good deal.
    if _first_character(path) == "[":
        return _iter_array(path)
    if (whole := _read_whole(path)) is not None:
        return iter(whole)
    return _iter_lines(path)


def _encoding(path: Path) -> str:
    """UTF-8, unless the file begins with the mark of UTF-16, as spreadsheets write it."""
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _record(where: str, value: Any) -> Record | SetAside:
    if isinstance(value, dict):
        return Record(where, value)
    return SetAside("", where, f"not a JSON object but {_WORDS[type(value)]}")


def _iter_lines(path: Path) -> Iterator[Record | SetAside]:
    if _encoding(path) == "utf-16":
        with open(path, encoding="utf-16") as text:
            yield from _read_lines(path, (line.encode() for line in text))
    else:
        with open(path, "rb") as file:
            yield from _read_lines(path, file)


def _read_lines(path: Path, lines: Iterable[bytes]) -> Iterator[Record | SetAside]:
    for number, line in enumerate(lines, 1):
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
    with open(path, encoding=_encoding(path), errors="replace") as file:
        while chunk := file.read(4096):
            if text := chunk.lstrip():
                return text[0]
    return ""


def _read_whole(path: Path) -> list[Record | SetAside] | None:
    """Records of a file that is one JSON object: around a list ({"data": […]}), items by their ids, a table by its columns, or a
    single record. None if it is no such thing. Raises DataError if it holds several lists, of which any may be meant."""
    lines = path.suffix.lower() != ".json"
    with open(path, encoding=_encoding(path)) as file:
        try:
            if lines and _is_json(file.readline()) and file.readline().strip():
                return None  # and perhaps more than fits into memory
            file.seek(0)
            whole = _DECODER.decode(file.read().strip())
        except UnicodeDecodeError:
            if not lines:
                raise
            return None
        except (ValueError, RecursionError):
            return None
    if not isinstance(whole, dict) or not whole:
        return None
    if _looks_like_sample(whole) and not _columns(whole):
        return None if lines else [Record(path.name, whole)]
    lists = {
        name: part for name, part in whole.items() if isinstance(part, list) and any(isinstance(p, dict) for p in part)
    }
    telling = {name: part for name, part in lists.items() if _looks_like_sample(_first_object(part))}
    lists = telling if telling or lines else lists
    if len(lists) > 1:
        names = ", ".join(map(repr, lists))
        raise DataError(f"{path} holds several lists ({names}); write the one with the questions to a file of its own")
    for part in lists.values():
        return [_record(f"{path.name}, element {number}", value) for number, value in enumerate(part, 1)]
    if columns := _columns(whole):
        rows = list(dict.fromkeys(key for column in columns.values() for key in column))
        return [
            Record(f"{path.name}, row {key}", {name: column[key] for name, column in columns.items() if key in column})
            for key in rows
        ]
    parts = list(whole.values())
    if all(isinstance(part, dict) for part in parts) and (not lines or any(map(_looks_like_sample, parts))):
        return [Record(f"{path.name}, {name!r}", {"id": name, **part}) for name, part in whole.items()]
    return None


def _is_json(line: str) -> bool:
    try:
        _DECODER.decode(line.strip())
    except (ValueError, RecursionError):
        return False
    return True


def _columns(whole: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A table by its columns, as pandas writes it: each a list, or an object by row; {} if this is none."""
    parts = list(whole.values())
    if not _looks_like_sample(whole):
        return {}
    if all(isinstance(part, dict) and not _looks_like_sample(part) for part in parts):
        return whole
    lengths = {len(part) for part in parts if isinstance(part, list)}
    if (
        all(isinstance(part, list) for part in parts)
        and len(lengths) == 1
        and not isinstance(_first_object(parts[0]), dict)
    ):
        return {name: {str(place): cell for place, cell in enumerate(part, 1)} for name, part in whole.items()}
    return {}


def _first_object(parts: list[Any]) -> Any:
    return next((part for part in parts if isinstance(part, dict)), None)


def _looks_like_sample(value: Any) -> bool:
    return isinstance(value, dict) and any(folded(str(key)) in _TELLING for key in value)


def _iter_array(path: Path) -> Iterator[Record | SetAside]:
    """Elements of a JSON array, holding no more than one element and a chunk of text in memory."""
    with open(path, encoding=_encoding(path)) as file:
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


def _iter_csv(path: Path, delimiter: str | None) -> Iterator[Record | SetAside]:
    csv.field_size_limit(_LONGEST)  # a picture may stand in a cell
    with open(path, encoding=_encoding(path), newline="") as file:
        heading = file.readline()
        file.seek(0)
        # Where a comma divides decimals, spreadsheets put semicolons between the columns.
        delimiter = delimiter or max(",;\t", key=heading.count)
        reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=delimiter != "\t")
        try:
            names = [name.strip() for name in reader.fieldnames or []]
            twice = next((name for name in names if name and names.count(name) > 1), None)
            if twice is not None:
                raise DataError(f"{path} has two columns called {twice!r}; give each a name of its own")
            reader.fieldnames = names
            for row in reader:
                where = f"{path.name}, line {reader.line_num}"
                if None in row:
                    yield SetAside("", where, "more fields than the heading has columns")
                else:
                    yield Record(where, {key: value for key, value in row.items() if value not in (None, "")})
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: not CSV ({error})") from None


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    yield from pq.ParquetFile(path).iter_batches(batch_size=256)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of an Arrow stream, as `save_to_disk` writes it, or an Arrow file."""
    with pa.OSFile(str(path)) as file:  # not mapped: what a damaged one points to beyond its end would end the process
        try:
            batches: Iterable[pa.RecordBatch] = pa.ipc.open_stream(file)
        except pa.ArrowException:
            whole = pa.ipc.open_file(file)
            batches = (whole.get_batch(place) for place in range(whole.num_record_batches))
        for batch in batches:
            batch.validate(full=True)
            for start in range(0, len(batch), 256):
                yield batch.slice(start, 256)


def _iter_table(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[Record | SetAside]:
    try:
        number = 0
        for batch in batches:
            for value in batch.to_pylist():
                number += 1
                yield Record(f"{path.name}, row {number}", {k: v for k, v in value.items() if v is not None})
    except pa.ArrowException as error:
        kind = "a Parquet" if path.suffix.lower() == ".parquet" else "an Arrow"
        raise DataError(f"{path} is not {kind} file ({first_line(error)})") from None
