"""What a chat request asks of the expert: its kind, its data and its pictures.

The kind is the name of the JSON schema asked for; without structured outputs it is told by the keys of the data. The
pictures are data URLs; the data is a JSON object in a text part of the user's message."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

KINDS = ("diagnose", "name_gap", "skills", "same_skill", "judge", "step_right", "choose")


class RequestError(ValueError):
    """The expert cannot make sense of this request; the message is for whoever sent it."""


class Asked(NamedTuple):
    """`kind` is one of KINDS, or "talk" for plain text without data. `images` are data URLs in order."""

    kind: str
    data: Mapping[str, Any]
    images: tuple[str, ...]
    letters: int  # characters of all text, for a rough count of tokens


def read_request(body: Any) -> Asked:
    """Raises RequestError."""
    if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
        raise RequestError("the body must be a JSON object with a list of messages")
    texts: list[str] = []
    images: list[str] = []
    letters = 0
    for message in body["messages"]:
        if not isinstance(message, dict):
            raise RequestError("each message must be an object with role and content")
        said, shown = _parts(message.get("content"))
        letters += sum(map(len, said))
        if message.get("role") == "user":
            texts += said
            images += shown
    data = next((found for text in texts if (found := _object(text)) is not None), None)
    if data is None:
        if "response_format" in body:
            raise RequestError("the user's message holds no JSON object; the expert answers questions about one")
        return Asked("talk", {}, tuple(images), letters)
    return Asked(_kind(body, data), data, tuple(images), letters)


def _parts(content: Any) -> tuple[list[str], list[str]]:
    """Texts and image URLs of a message."""
    if isinstance(content, str):
        return [content], []
    texts, images = [], []
    for part in content if isinstance(content, list) else []:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and isinstance(part.get("image_url"), dict):
            images.append(str(part["image_url"].get("url", "")))
    return texts, images


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _kind(body: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    shape = body.get("response_format")
    schema = shape.get("json_schema") if isinstance(shape, dict) else None
    name = schema.get("name") if isinstance(schema, dict) else None
    return name if isinstance(name, str) and name in KINDS else _kind_of(data)


def _kind_of(data: Mapping[str, Any]) -> str:
    keys = set(data)
    for kind, needed in (
        ("skills", {"samples"}),
        ("same_skill", {"skill", "candidates"}),
        ("choose", {"question", "options"}),
        ("name_gap", {"question", "steps", "wrong_step"}),
        ("step_right", {"question", "gold", "steps", "step"}),
        ("diagnose", {"question", "gold", "steps"}),
        ("judge", {"question", "gold", "answer"}),
    ):
        if needed <= keys:
            return kind
    raise RequestError(
        f"unknown kind of question (keys {', '.join(sorted(map(str, keys))[:10])}); known: {', '.join(KINDS)}"
    )


def image_bytes(url: str) -> bytes:
    """The bytes behind a data URL. Raises RequestError."""
    head, comma, payload = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise RequestError("images must be base64 data URLs; the expert fetches nothing")
    try:
        return base64.b64decode(payload, validate=True)
    except binascii.Error as error:
        raise RequestError(f"an image's data URL is not base64: {error}") from None


def field(data: Mapping[str, Any], key: str, kind: type) -> Any:
    """A field of the data. Raises RequestError if it is missing or of another type."""
    value = data.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RequestError(f"`{key}` must be of type {kind.__name__}")
    return value


def text_list(data: Mapping[str, Any], key: str) -> list[str]:
    """A list of texts. Raises RequestError."""
    value = field(data, key, list)
    if not all(isinstance(text, str) for text in value):
        raise RequestError(f"`{key}` must be a list of texts")
    return list(value)
