"""Conversations of a user's row, in a pool or a validation set, in the wording of LLaVA and ShareGPT (`from`, `value`) or
of chat models (`role`, `content`), and the `<image>` markers of their questions. Not covered: video, audio, tool
calls."""

import itertools
import json
import re
from typing import Any

from retrieval.reading.cells import one_or_list, pictures_of, text_of, utf8
from retrieval.reading.names import CHAT, SYSTEM, Row, other_medium

_USER = {"human", "user"}
_STUDENT = {"gpt", "assistant", "model", "chatgpt", "bing", "bard"}
_SYSTEM = {"system", "developer"}
_TOOLS = {"tool", "function", "function_call", "observation", "tool_call", "tool_response"}
#: A place for a picture; MMMU numbers its own.
_MARKER = re.compile(r"<image(?:[ _]?(\d{1,2}))?>", re.IGNORECASE)
_RUN = rf"(?:\s*{_MARKER.pattern})+"
_LEADING = re.compile(_RUN + r"\s*", re.IGNORECASE)
_TRAILING = re.compile(_RUN + r"\s*\Z", re.IGNORECASE)
#: What begins a question rather than going on with a sentence.
_ASKS = re.compile(r"(?:what|which|whose|who|whom|when|where|why|how)\b", re.IGNORECASE)
_ENDED = tuple(".?!:;。？！：…")


class UnusableError(ValueError):
    """Why a row cannot be used."""


def chat_of(row: Row, images: list[Any]) -> list[tuple[str, str]] | None:
    """(question, answer) of each turn of a row's conversation, as `read_chat` gives them; None if it has none."""
    if (key := row.named(*CHAT)) is None:
        return None
    return read_chat(row.fields[key], key, images, row.first(*SYSTEM))


def read_chat(messages: Any, key: str, images: list[Any], system: Any = None) -> list[tuple[str, str]]:
    """(question, answer) of each turn of a list of messages, which may be JSON text; a system message joins the first
    question, and what the assistant says before it is asked anything is left out. Images named inside messages are added to
    `images`, and a marker stands where each was.

    Raises UnusableError, which calls the list by its field's name, `key`.
    """
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError:
            raise UnusableError(f"`{key}` is no list of messages") from None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise UnusableError(f"`{key}` is no list of messages")
    read = [
        (
            str(message.get("from", message.get("role", ""))).lower(),
            _content(message.get("value", message.get("content")), images),
        )
        for message in messages
    ]
    return _alternate([("system", message_text(system)), *read] if system is not None else read)


def with_earlier(pair: tuple[str, str], history: Any, system: Any) -> list[tuple[str, str]]:
    """A turn behind those of a row's `history` ([[question, answer], …]), the first told the row's system message.

    Raises UnusableError if `history` is something else.
    """
    earlier = one_or_list(history)
    if not all(isinstance(turn, list | tuple) and len(turn) == 2 for turn in earlier):
        raise UnusableError("`history` is no list of questions with their answers")
    turns = [*((message_text(question), message_text(answer)) for question, answer in earlier), pair]
    said = message_text(system) if system is not None else ""
    return [(_instructed(turns[0][0], said), turns[0][1]), *turns[1:]]


def _content(content: Any, images: list[Any]) -> str:
    """Text of a message whose content is a text or a list of parts, with a marker where a part is an image."""
    if not isinstance(content, list):
        return message_text(content)
    texts = []
    for part in content:
        pictures = pictures_of(part) if isinstance(part, dict) else None
        if pictures is not None:
            images += pictures
            texts.append("<image>")
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and (medium := other_medium(part.get("type"))):
            raise UnusableError(f"it shows {medium}, and only pictures are read")
        else:
            raise UnusableError("a part of a message is neither text nor an image")
    return "\n".join(texts)


def message_text(content: Any) -> str:
    """A message as text. Raises UnusableError if it is neither text nor a number."""
    if isinstance(content, str):
        return utf8(content)
    if isinstance(content, bool | int | float) and (text := text_of(content)):
        return text
    raise UnusableError("a message has no text")


def _alternate(messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    system = "\n".join(text for role, text in messages if role in _SYSTEM and text.strip())
    rest = [(role, text) for role, text in messages if role not in _SYSTEM]
    rest = list(itertools.dropwhile(lambda message: message[0] in _STUDENT, rest))
    if not rest:
        raise UnusableError("a conversation in which nothing is asked")
    for number, (role, _) in enumerate(rest):
        if role in _TOOLS:
            raise UnusableError("it has a message of a tool, and tool calls are not read")
        if role not in _USER | _STUDENT:
            raise UnusableError(f"a message is of {role[:40]!r}; user and assistant are known")
        if number and (role in _USER) == (rest[number - 1][0] in _USER):
            whose = "the user" if role in _USER else "the assistant"
            raise UnusableError(f"two messages of {whose} follow each other; user and assistant should take turns")
    if len(rest) % 2:
        raise UnusableError("the last question has no answer")
    pairs = [(question, answer) for (_, question), (_, answer) in zip(rest[::2], rest[1::2], strict=True)]
    return [(_instructed(pairs[0][0], system), pairs[0][1]), *pairs[1:]]


def _instructed(question: str, system: str) -> str:
    """A question with the system message before it, but behind the markers that it begins with."""
    if not system:
        return question
    end = _set_off(question)[0]
    return f"{question[:end]}{system}\n{question[end:]}"


def markers(question: str) -> int:
    """How many places for pictures a question has that are not numbered."""
    return sum(not found[1] for found in _MARKER.finditer(question))


def without_markers(question: str, has_images: bool, before: int = 0) -> str:
    """A question without the `<image>` markers that are set off from its words, since images come first in every prompt; one
    that is part of a sentence becomes "image N", since it is part of what is asked. `before` counts the markers of earlier
    turns. Without an image, one in the middle stays as it is; raises UnusableError if one stands at an end then."""
    question = question.strip()
    start, end = _set_off(question)
    if not has_images:
        if _LEADING.match(question) or _TRAILING.search(question):
            raise UnusableError("a question shows <image> but the row names no image")
        return question
    numbers = itertools.count(1 + before + markers(question[:start]))
    return _MARKER.sub(lambda found: f"image {found[1] or next(numbers)}", question[start:end]).strip()


def _set_off(question: str) -> tuple[int, int]:
    """Where the words of a question begin and end, its markers at either end left out that are no part of a sentence.

    Set off is what stands on a line of its own. On the line of the words, a marker is part of the sentence if that has others
    inside it, goes on in lower case behind it, or has not ended before it.
    """
    leading, trailing = _LEADING.match(question), _TRAILING.search(question)
    start, end = leading.end() if leading else 0, trailing.start() if trailing else len(question)
    if start >= end:  # nothing but markers
        return (start, start) if leading else (0, len(question))
    words = question[start:end]
    inside = _MARKER.search(words) is not None
    if leading and "\n" not in _space_behind(leading[0]) and (inside or _goes_on(leading[0], words)):
        start = leading[0].rfind("\n") + 1
    if trailing and "\n" not in _space_before(trailing[0]):
        apart = words.rstrip().endswith(_ENDED) and not inside
        if not apart and (inside or _space_before(trailing[0])):
            end = len(question)
    return start, end


def _space_behind(run: str) -> str:
    return run[len(run.rstrip()) :]


def _space_before(run: str) -> str:
    return run[: len(run) - len(run.lstrip())]


def _goes_on(run: str, words: str) -> bool:
    """Whether words behind a marker go on with a sentence that it begins."""
    if not _space_behind(run):
        return words[0] in ",;:)'’"
    return words[0].islower() and not _ASKS.match(words)
