"""Pictures for the teacher: plain JPEG and PNG go as they are but for their metadata, anything else as the PNG of what
the student sees. What a file says besides its picture (place and time of a photo, texts) stays here."""

import base64
import hashlib
import io
import re
from pathlib import Path

from PIL import Image

from retrieval.errors import DataError
from retrieval.pool.images import read_image

#: Longest side (pixels) of what is sent if nothing else is asked for; larger pictures are scaled down. Vision APIs
#: scale to less than this themselves.
MAX_SIDE = 4096
_ORIENTATION = 0x0112
#: Chunks of a PNG that say how to show its picture (PNG specification, third edition).
_PNG_CHUNKS = frozenset(b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP bKGD pHYs".split())
#: Application segments of a JPEG that do the same.
_JPEG_SEGMENTS = (b"JFIF\0", b"Adobe", b"ICC_PROFILE\0")
#: A marker of a JPEG; between coded pixels, FF stands before 00 or D0–D7 (ITU-T T.81, B.1.1).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
#: What Pillow raises for bytes that are no picture.
_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)


def read_picture(picture: Path | bytes) -> bytes:
    """A picture's bytes. Raises DataError if the file cannot be read."""
    if isinstance(picture, bytes):
        return picture
    try:
        return picture.read_bytes()
    except OSError as error:
        raise DataError(f"image {picture} cannot be read: {error.strerror}") from None


def picture_hash(data: bytes) -> str:
    """Hex SHA-256 of the bytes as the user has them."""
    return hashlib.sha256(data).hexdigest()


def data_url(data: bytes, longest: int | None = None) -> str:
    """A picture as a base64 data URL, without metadata, its longest side at most `longest` pixels. Raises DataError if
    it is none."""
    most = longest or MAX_SIDE
    bare = _bare(data, most)
    if bare is None:
        picture = read_image(data)
        picture.info.clear()
        picture.thumbnail((most, most))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        bare = "image/png", buffer.getvalue()
    kind, data = bare
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sent_size(data: bytes, longest: int | None = None) -> tuple[int, int]:
    """Width and height (pixels) of a picture as it is sent; nothing is decoded. Raises DataError if it is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except _BROKEN as error:
        raise DataError(f"embedded image: not a picture ({error})") from None
    scale = min(1.0, (longest or MAX_SIDE) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _bare(data: bytes, most: int) -> tuple[str, bytes] | None:
    """MIME type and bytes, without metadata, of a picture that every model reads alike: JPEG or PNG, RGB or grey,
    upright, not too large. None for all others. Nothing is decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if image.mode not in ("RGB", "L") or max(image.size) > most or "transparency" in image.info:
                return None
            if image.format == "PNG":
                return ("image/png", data) if _is_bare_png(data) else None
            upright = image.getexif().get(_ORIENTATION, 1) == 1
    except _BROKEN:
        return None
    found = _bare_jpeg(data) if upright else None
    return None if found is None else ("image/jpeg", found)


def _is_bare_png(data: bytes) -> bool:
    """Whether a PNG holds nothing but the picture: no texts, no EXIF, no time, nothing behind its end."""
    start = 8
    while start + 12 <= len(data):
        kind = data[start + 4 : start + 8]
        start += 12 + int.from_bytes(data[start : start + 4])  # length, kind, content, check sum
        if kind == b"IEND":
            return start == len(data)
        if kind not in _PNG_CHUNKS:
            return False
    return False


def _bare_jpeg(data: bytes) -> bytes | None:
    """A JPEG without its metadata and what stands behind its end, the coded picture untouched: as a PNG, a photo would
    be several times as large. None if it does not end as a JPEG should."""
    kept, start = [data[:2]], 2
    while found := _JPEG_MARKER.search(data, start):
        marker, content = found.start(), found.end() + 2
        kept.append(data[start:marker])  # coded pixels
        if found[0] == b"\xff\xd9":
            return b"".join([*kept, found[0]])
        start = found.end() + int.from_bytes(data[found.end() : content])
        said = 0xE0 <= found[0][1] <= 0xEF or found[0][1] == 0xFE  # an application's segment, or a comment
        if not said or data.startswith(_JPEG_SEGMENTS, content):
            kept.append(data[marker:start])
    return None
