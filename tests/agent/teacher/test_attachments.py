import base64
import io
from typing import Any

import pytest
from PIL import Image

from agent.teacher.attachments import MAX_SIDE, data_url
from retrieval.errors import DataError


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sent(data: bytes) -> tuple[str, bytes, Image.Image]:
    head, _, body = data_url(data).partition(",")
    content = base64.b64decode(body)
    return head, content, Image.open(io.BytesIO(content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_plain_pictures_go_as_they_are(kind: str, mode: str) -> None:
    data = encoded(Image.new(mode, (9, 7), 100 if mode == "L" else (9, 99, 199)), kind)
    head, content, _ = sent(data)
    assert content == data
    assert head == f"data:image/{kind.lower()};base64"


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.new("RGB", (9, 7)), "WEBP"),
        encoded(Image.new("RGB", (9, 7)), "GIF"),
        encoded(Image.new("RGB", (9, 7)), "BMP"),
        encoded(Image.new("RGB", (9, 7)), "TIFF"),
        encoded(Image.new("CMYK", (9, 7)), "JPEG"),
        encoded(Image.new("RGBA", (9, 7), (1, 2, 3, 0)), "PNG"),
        encoded(Image.new("I;16", (9, 7)), "PNG"),
        encoded(Image.new("P", (9, 7)), "PNG"),
    ],
    ids=["webp", "gif", "bmp", "tiff", "cmyk", "transparent", "16 bit", "palette"],
)
def test_anything_else_goes_as_the_student_sees_it(data: bytes) -> None:
    head, _, image = sent(data)
    assert head == "data:image/png;base64"
    assert (image.mode, image.size) == ("RGB", (9, 7))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_turned_picture_is_sent_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert sent(encoded(Image.new("RGB", (9, 7)), kind, exif=exif))[2].size == (7, 9)


def test_a_large_picture_is_scaled_down() -> None:
    assert max(sent(encoded(Image.new("L", (MAX_SIDE * 2, 10)), "PNG"))[2].size) == MAX_SIDE


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"\x00" * 1000])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(DataError):
        data_url(data)
