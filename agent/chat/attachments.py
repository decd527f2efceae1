"""Pictures for the teacher: plain JPEG and PNG go as they are but for their metadata, anything else as what the student
sees, a photo (turned by its EXIF, say) as JPEG of about its size, the rest as PNG. What a file says besides its picture
(place and time of a photo, texts) stays here."""

import base64
import hashlib
import io
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from agent.chat.once import Once
from retrieval.errors import DataError
from retrieval.pool.images import TURNED, opened, orientation, picture_size, read_image

#: Longest side (pixels) of what is sent if nothing else is asked for; larger pictures are scaled down. Vision APIs
#: scale to less than this themselves.
MAX_SIDE = 4096
#: A smaller picture (pixels) goes as PNG even if it was no longer exact: a little more to send, and no text blurs twice.
_PHOTO = 512 * 512
#: Chunks of a PNG that say how to show its picture (PNG specification, third edition).
_PNG_CHUNKS = frozenset(b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP bKGD pHYs".split())
#: Application segments of a JPEG that do the same.
_JPEG_SEGMENTS = (b"JFIF\0", b"Adobe", b"ICC_PROFILE\0")
#: A marker of a JPEG; between coded pixels, FF stands before 00 or D0–D7 (ITU-T T.81, B.1.1).
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
#: What had to be encoded, each once as long as this many bytes hold it: a run asks about a picture several times.
ENCODED = Once(256 * 2**20)


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
    sent = _bare(data, most) or ENCODED.get((picture_hash(data), most), lambda: _encoded(data, most))
    kind = "png" if sent.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(sent).decode()}"


def sent_size(data: bytes, longest: int | None = None) -> tuple[int, int]:
    """Width and height (pixels) of a picture as it is sent; nothing is decoded. Raises DataError if it is none."""
    width, height = picture_size(data)
    scale = min(1.0, (longest or MAX_SIDE) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _encoded(data: bytes, most: int) -> bytes:
    """What is seen of a picture, as JPEG where the file had lost what is not seen, too, else as PNG."""
    with opened(data) as image:
        lossy = image.format in ("JPEG", "MPO", "JPEG2000", "AVIF") or (
            image.format == "WEBP" and b"VP8L" not in data[:64]
        )
        grey = image.mode == "L"
        as_before = _as_before(image)
    picture = read_image(data)
    picture.thumbnail((most, most))
    buffer = io.BytesIO()
    if not lossy or picture.width * picture.height < _PHOTO:
        picture.save(buffer, "PNG")
        return buffer.getvalue()
    picture = picture.convert("L") if grey else picture
    with suppress(OSError, ValueError, TypeError):  # tables that are read, and not written
        picture.save(buffer, "JPEG", **as_before)
        return buffer.getvalue()
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _as_before(image: Image.Image) -> dict[str, Any]:
    """How a JPEG was quantised, turned as it is turned: encoded like that again, it stays about as large and loses next to
    nothing. For other formats, a quality that does not show."""
    tables = getattr(image, "quantization", None)
    if not tables or image.mode not in ("RGB", "L"):
        return {"quality": 90}
    sampling = get_sampling(image)
    if orientation(image) in TURNED:
        tables = {
            key: [table[8 * column + row] for row in range(8) for column in range(8)] for key, table in tables.items()
        }
        sampling = 0 if sampling == 1 else sampling
    return {"qtables": tables, "subsampling": sampling}


def _bare(data: bytes, most: int) -> bytes | None:
    """A picture that every model reads alike (JPEG or PNG, RGB or grey, upright, not too large), without metadata; None for all
    others. Nothing is decoded."""
    try:
        with opened(data) as image:
            if image.mode not in ("RGB", "L") or max(image.size) > most or "transparency" in image.info:
                return None
            if image.format == "PNG":
                return data if _is_bare_png(data) else None
            plain = image.format == "JPEG" and orientation(image) == 1
    except DataError:
        return None
    return _bare_jpeg(data) if plain else None


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
