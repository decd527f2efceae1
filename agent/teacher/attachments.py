"""Pictures for the teacher: plain JPEG and PNG go as they are, anything else as the PNG of what the student sees."""

import base64
import hashlib
import io
from pathlib import Path

from PIL import Image

from retrieval.errors import DataError
from retrieval.images import read_image

#: Longest side (pixels) of what is sent; larger pictures are scaled down. Vision APIs scale to less than this
#: themselves.
MAX_SIDE = 4096
_ORIENTATION = 0x0112
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


def data_url(data: bytes) -> str:
    """A picture as a base64 data URL. Raises DataError if it is none."""
    kind = _plain_kind(data)
    if kind is None:
        picture = read_image(data)
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        data, kind = buffer.getvalue(), "image/png"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _plain_kind(data: bytes) -> str | None:
    """The MIME type of a picture that every model reads alike: JPEG or PNG, RGB or grey, upright, not too large."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            plain = image.mode in ("RGB", "L") and max(image.size) <= MAX_SIDE and "transparency" not in image.info
            # Asking a PNG for its EXIF decodes all of it, so it is asked only if it has some.
            upright = "exif" not in image.info or image.getexif().get(_ORIENTATION, 1) == 1
            return Image.MIME[image.format or ""] if plain and upright else None
    except _BROKEN:
        return None
