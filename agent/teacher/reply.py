"""From the text of a teacher's reply to a checked value, whatever the text is.

A reply may be fenced, wrapped in prose, truncated, hold NaN, the same key twice or a megabyte of nothing. What cannot
be read is a sentence for the repair request and the record, never an exception.
"""

import json
import re
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from retrieval.errors import first_line

#: Longest reply that is looked at, in characters. `max_tokens` keeps honest ones far below.
MAX_REPLY = 100_000
#: Places in a reply at which an object may begin that are tried.
MAX_STARTS = 20
_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)```", re.DOTALL)

T = TypeVar("T", bound=BaseModel)


class Parsed(NamedTuple, Generic[T]):
    """The value, or what is wrong with the reply."""

    value: T | None
    problem: str


def parse_reply(text: str, schema: type[T]) -> Parsed[T]:
    """Find the JSON object in `text` and check it against `schema`."""
    if not text.strip():
        return Parsed(None, "the reply is empty")
    if len(text) > MAX_REPLY:
        return Parsed(None, f"the reply has more than {MAX_REPLY:,} characters")
    found, problem = _find_object(text)
    if found is None:
        return Parsed(None, problem)
    try:
        return Parsed(schema.model_validate(found), "")
    except (ValidationError, RecursionError) as error:
        return Parsed(None, _explain(error))


def _find_object(text: str) -> tuple[dict[str, Any] | None, str]:
    """The first candidate that reads as an object: the whole text, a fenced block, an object within prose."""
    problem = ""
    for candidate in [text, *_FENCE.findall(text)][:MAX_STARTS]:
        try:
            value = _DECODER.decode(candidate)
        except (ValueError, RecursionError) as error:
            problem = problem or _unread(error)
        else:
            if isinstance(value, dict):
                return value, ""
            problem = "the reply is JSON but not an object"
    start = -1 if text.lstrip().startswith("[") else text.find("{")
    for _ in range(MAX_STARTS):
        if start < 0:
            break
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            problem = _unread(error)
            end = start + 1
        else:
            return value, ""
        start = text.find("{", end)
    return None, f"the reply holds no JSON object that can be read ({problem})"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_no_constant)


def _unread(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else first_line(error)[:200]


def _explain(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    parts = [
        f"{'.'.join(str(p)[:40] for p in e['loc']) or 'the object'}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors(include_input=False, include_url=False)[:5]
    ]
    return "; ".join(parts)[:500]
