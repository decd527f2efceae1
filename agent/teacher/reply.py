"""From the text of a teacher's reply to a checked value, whatever the text is.

A reply may be fenced, wrapped in prose, stand behind thoughts, be truncated, hold NaN, the same key twice or a megabyte of
nothing. What cannot be read is a sentence for the repair request and the record, never an exception.
"""

import json
import re
from bisect import bisect
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from retrieval.errors import first_line

#: Longest reply that is looked at, in characters. `max_tokens` keeps honest ones far below.
MAX_REPLY = 100_000
#: Places in a reply at which an object may begin that are tried in vain, and objects that are looked at, from the last.
MAX_STARTS, MAX_OBJECTS = 500, 200
#: What an array begins with.
_ARRAY = re.compile(r"\s*\[\s*[\[{\"\d\]]")
#: Where thoughts end and the reply begins, as the chat templates of models that reason mark it.
_THOUGHTS_END = re.compile(
    r"</(?:\w+:)?(?:think|thinking|thoughts?|reasoning|reason|reflection|analysis|scratchpad)>|\[/THINK\]|◁/think▷"
    r"|<\|end_of_thought\|>|<\|END_THINKING\|>|<\|channel\|>final(?:(?!<\|channel\|>)[^{])*?<\|message\|>|<channel\|>",
    re.IGNORECASE,
)

T = TypeVar("T", bound=BaseModel)


class Parsed(NamedTuple, Generic[T]):
    """The value, or what is wrong with the reply."""

    value: T | None
    problem: str


class _Object(NamedTuple):
    """A JSON object, and where it stands in the reply."""

    value: dict[str, Any]
    start: int
    end: int


def parse_reply(text: str, schema: type[T]) -> Parsed[T]:
    """The last JSON object in `text` that fits `schema`, of what stands behind the thoughts of a model that reasons: a draft
    among them is not its reply. Where nothing stands behind them, the reply is taken to be in them."""
    if not text.strip():
        return Parsed(None, "the reply is empty")
    if len(text) > MAX_REPLY:
        return Parsed(None, f"the reply has more than {MAX_REPLY:,} characters")
    whole = _objects(text)
    if isinstance(whole, str):
        return Parsed(None, whole)
    where, begin = "the reply holds", _behind_thoughts(text, whole[0])
    if begin and text[begin:].strip():
        whole = _objects(text[begin:])
        if isinstance(whole, str):
            return Parsed(None, whole)
    elif begin:
        where = "nothing stands behind the reply's thoughts, and they hold"
    return _fitting(*whole, where, schema)


def _behind_thoughts(text: str, objects: Sequence[_Object]) -> int:
    """Where the reply begins: behind the last mark that is no part of an object's text."""
    for mark in reversed(list(_THOUGHTS_END.finditer(text))):
        before = bisect(objects, mark.start(), key=lambda each: each.start)
        if not before or objects[before - 1].end <= mark.start():
            return mark.end()
    return 0


def _fitting(objects: Sequence[_Object], problem: str, where: str, schema: type[T]) -> Parsed[T]:
    """The last object that fits, or what is wrong with the last."""
    wrong = f"{where} no JSON object that can be read ({problem})"
    for number, each in enumerate(reversed(objects[-MAX_OBJECTS:])):
        try:
            return Parsed(schema.model_validate(each.value), "")
        except (ValidationError, RecursionError) as error:
            wrong = wrong if number else _explain(error)
    return Parsed(None, wrong)


def _objects(text: str) -> tuple[list[_Object], str] | str:
    """The objects in a text that are part of no other, and why none was read where it seemed to begin; or, where the text is
    other JSON, that it is."""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        problem = _unread(error)
    else:
        return (
            ([_Object(value, 0, len(text))], "") if isinstance(value, dict) else "the reply is JSON but not an object"
        )
    found: list[_Object] = []
    start, vain = -1 if _ARRAY.match(text) else text.find("{"), 0
    while start >= 0 and vain < MAX_STARTS:
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            problem, end, vain = _unread(error), start + 1, vain + 1
        else:
            found.append(_Object(value, start, end))
        start = text.find("{", end)
    return found, problem


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
