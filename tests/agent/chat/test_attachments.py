import base64
import io
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from agent.chat.attachments import MAX_SIDE, data_url, sent_size
from retrieval.errors import DataError


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sent(data: bytes, longest: int | None = None) -> tuple[str, bytes, Image.Image]:
    head, _, body = data_url(data, longest).partition(",")
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


def described(kind: str) -> bytes:
    """A picture that says who took it, in every way that its format has."""
    image = Image.effect_noise((64, 48), 40).convert("RGB")
    exif = Image.Exif()
    exif[0x8825] = {1: "CANARY north"}
    if kind == "JPEG":
        return encoded(image, kind, exif=exif, xmp=b"<x>CANARY</x>", comment=b"CANARY", progressive=True) + b"CANARY"
    texts = PngInfo()
    texts.add_text("Author", "CANARY")
    texts.add_itxt("XML:com.adobe.xmp", "<x>CANARY</x>")
    return encoded(image, kind, exif=exif, pnginfo=texts)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_what_a_file_says_besides_its_picture_is_not_sent(kind: str) -> None:
    data = described(kind)
    head, content, image = sent(data)
    assert b"CANARY" in data
    assert b"CANARY" not in content
    assert head == f"data:image/{kind.lower()};base64"
    assert not {"exif", "xmp", "comment", "Author"} & set(image.info)
    assert image.tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()


def test_texts_behind_the_pixels_of_a_png_are_not_sent() -> None:
    data = encoded(Image.new("L", (9, 7)), "PNG")
    text = b"Comment\0CANARY"
    chunk = len(text).to_bytes(4) + b"tEXt" + text + zlib.crc32(b"tEXt" + text).to_bytes(4)
    for told in (data[:-12] + chunk + data[-12:], data + b"CANARY"):
        assert b"CANARY" not in sent(told)[1]


def test_a_colour_profile_stays_with_its_picture() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("PNG", "JPEG"):
        data = encoded(Image.new("RGB", (9, 7), "red"), kind, icc_profile=profile)
        assert sent(data)[1] == data


def test_a_large_picture_is_scaled_down() -> None:
    assert max(sent(encoded(Image.new("L", (MAX_SIDE * 2, 10)), "PNG"))[2].size) == MAX_SIDE


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"<svg/>", b"\x00" * 1000])
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(DataError):
        data_url(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_size_that_is_asked_for_is_the_longest_side(kind: str) -> None:
    data = encoded(Image.effect_noise((64, 48), 40).convert("RGB"), kind)
    assert sent(data, 32)[2].size == (32, 24)
    assert sent_size(data, 32) == (32, 24)
    assert sent(data, 64)[1] == data, "one that is small enough goes as it is"
