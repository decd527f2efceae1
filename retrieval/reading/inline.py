"""A picture as a row has it: the name of a file, or the picture itself, as bytes or in base64."""

import base64
import binascii
import re
from typing import Any

from retrieval.reading.cells import short, text_of
from retrieval.reading.chats import UnusableError

_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,", re.IGNORECASE)
#: How PNG, JPEG, GIF, WebP, BMP, and TIFF begin in base64.
_BEGINNINGS = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0AKg")
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")
#: A shorter text is a name: the smallest of pictures takes more.
_SHORTEST = 48


def picture_of(value: Any) -> str | bytes:
    """The path of a row's picture as the row has it, or the picture's bytes. Raises UnusableError if it is neither, or an
    address."""
    if isinstance(value, dict):  # as `datasets` keeps them: what is there wins over where it once lay
        held = next((value[key] for key in ("bytes", "data", "base64") if value.get(key)), None)
        value = (
            held
            if held is not None
            else next((value[key] for key in ("path", "url", "file_name") if value.get(key)), None)
        )
    if isinstance(value, bytes):
        return value
    name = text_of(value) if isinstance(value, str) else ""
    if not name or "\0" in name:
        raise UnusableError("an image is neither a path nor a picture")
    if found := _DATA_URL.match(name):
        return _decoded(name[found.end() :])
    if re.match(r"[a-z][a-z0-9+.-]*://|data:", name, re.IGNORECASE):
        raise UnusableError(
            f"an image is an address ({short(name)}), and those are not fetched; download it and name a file"
        )
    if len(name) >= _SHORTEST and name.startswith(_BEGINNINGS) and _BASE64.fullmatch(name):
        return _decoded(name)
    return name


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise UnusableError("an image in base64 is cut off or damaged") from None
