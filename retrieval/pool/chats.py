"""Conversations of a user's row, in a pool or a validation set, in the wording of LLaVA and ShareGPT (`from`, `value`) or
of chat models (`role`, `content`), and the `<image>` markers of their questions. Not covered: video, audio, tool
calls."""

import itertools
import json
import re
from typing import Any

from retrieval.pool.cells import first, pictures_of, text_of, utf8

_USER = {"human", "user"}
_STUDENT = {"gpt", "assistant", "model", "chatgpt", "bing", "bard"}
_MARKER = re.compile("<image>", re.IGNORECASE)
_EDGE = re.compile(r"^(?:\s*<image>)+\s*|(?:\s*<image>)+\s*$", re.IGNORECASE)


class UnusableError(ValueError):
    """Why a row cannot be used."""


def chat_of(fields: dict[str, Any], images: list[Any]) -> list[tuple[str, str]] | None:
    """(question, answer) of each turn of a row's conversation, as `read_chat` gives them; None if it has none."""
    for key in ("conversations", "messages"):
        if (messages := first(fields, key)) is not None:
            return read_chat(messages, key, images)
    return None


def read_chat(messages: Any, key: str, images: list[Any]) -> list[tuple[str, str]]:
    """(question, answer) of each turn of a list of messages, which may be JSON text; a system message joins the first
    question. Images named inside messages are added to `images`, and a marker stands where each was.

    Raises UnusableError, which calls the list by its field's name, `key`.
    """
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError:
            raise UnusableError(f"`{key}` is no list of messages") from None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise UnusableError(f"`{key}` is no list of messages")
    return _alternate(
        [
            (
                str(message.get("from", message.get("role", ""))).lower(),
                _content(message.get("value", message.get("content")), images),
            )
            for message in messages
        ]
    )


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
    system = "\n".join(text for role, text in messages if role == "system" and text.strip())
    rest = [(role, text) for role, text in messages if role != "system"]
    if not rest:
        raise UnusableError("a conversation without messages")
    if len(rest) % 2:
        raise UnusableError("the last question has no answer")
    pairs = []
    for (asker, question), (replier, answer) in zip(rest[::2], rest[1::2], strict=True):
        if asker not in _USER or replier not in _STUDENT:
            raise UnusableError(
                f"messages should alternate between user and assistant, not {asker[:40]!r} and {replier[:40]!r}"
            )
        pairs.append((question, answer))
    return [(_instructed(pairs[0][0], system), pairs[0][1]), *pairs[1:]]


def _instructed(question: str, system: str) -> str:
    """A question with the system message before it, but behind the markers that it begins with."""
    if not system:
        return question
    leading = _EDGE.match(question)
    end = leading.end() if leading else 0
    return f"{question[:end]}{system}\n{question[end:]}"


def markers(question: str) -> int:
    """How many `<image>` markers a question has."""
    return len(_MARKER.findall(question))


def without_markers(question: str, has_images: bool, before: int = 0) -> str:
    """A question without the markers at its ends, since images come first in every prompt; one inside becomes "image
    N", since it is part of what is asked. `before` counts the markers of earlier turns. Without an image, one inside
    stays as it is; raises UnusableError if one stands at an end then."""
    if not has_images:
        if _EDGE.search(question):
            raise UnusableError("a question shows <image> but the row names no image")
        return question.strip()
    leading = _EDGE.match(question)
    numbers = itertools.count(1 + before + (markers(leading[0]) if leading else 0))
    return _MARKER.sub(lambda _: f"image {next(numbers)}", _EDGE.sub("", question)).strip()
