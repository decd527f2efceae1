import base64
import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import get_ident
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat
from PIL.PngImagePlugin import PngInfo

from agent.chat import attachments
from agent.chat.attachments import MAX_SIDE, data_url, sent_size
from agent.chat.once import Once
from agent.config.schema import TeacherConfig
from agent.teacher.prompts.own import load_prompts
from agent.teacher.prompts.replies import SameSkills
from agent.teacher.request import ChatRequest, Question
from retrieval.errors import DataError
from retrieval.pool.images import read_image


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


def photo(kind: str = "JPEG", **options: Any) -> bytes:
    """A picture with the detail of a photo, as a phone writes it: turned by its EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    rough = Image.effect_noise((80, 60), 90).resize((1200, 896), Image.Resampling.BICUBIC)
    fine = Image.effect_noise((1200, 896), 16)
    return encoded(Image.merge("RGB", (rough, fine, Image.blend(rough, fine, 0.5))), kind, exif=exif, **options)


@pytest.mark.parametrize(
    "options", [{"quality": 85}, {"quality": 95, "subsampling": 0}, {"quality": 60}, {"subsampling": 1}]
)
def test_a_turned_photo_is_sent_about_as_large_as_it_is(options: dict[str, Any]) -> None:
    data = photo(**options)
    head, content, image = sent(data)
    assert head == "data:image/jpeg;base64"
    assert image.size == sent_size(data) == (896, 1200)
    assert len(content) < 1.15 * len(data) + 2000
    gaps = ImageChops.difference(image, read_image(data))
    assert max(ImageStat.Stat(gaps).mean) < 1.5, "encoded as it was, it loses next to nothing"


def test_a_turned_grey_photo_stays_grey() -> None:
    data = encoded(Image.open(io.BytesIO(photo())).convert("L"), "JPEG", exif=Image.open(io.BytesIO(photo())).getexif())
    _, content, image = sent(data)
    assert (image.mode, image.size) == ("L", (896, 1200))
    assert len(content) < 1.15 * len(data) + 2000


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_photos_in_other_formats_go_as_jpeg(kind: str) -> None:
    head, content, image = sent(photo(kind, **({"speed": 10} if kind == "AVIF" else {})))
    assert (head, image.size) == ("data:image/jpeg;base64", (896, 1200))
    assert len(content) < 1_000_000


def test_what_was_exact_stays_exact_however_large() -> None:
    data = photo("WEBP", lossless=True)
    head, _, image = sent(data)
    assert head == "data:image/png;base64"
    assert image.tobytes() == read_image(data).tobytes()


def test_a_picture_is_encoded_once_for_all_who_ask_at_one_time_or_later(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    encode = attachments._encoded
    monkeypatch.setattr(attachments, "_encoded", lambda data, most: made.append(most) or encode(data, most))
    data = photo(quality=71)
    with ThreadPoolExecutor(4) as threads:
        urls = set(threads.map(lambda _: data_url(data), range(12)))
    assert len(urls | {data_url(data)}) == 1
    assert made == [MAX_SIDE]
    data_url(data, 300)
    assert made == [MAX_SIDE, 300]


def test_what_is_kept_is_bounded_and_what_failed_is_tried_again() -> None:
    once, made = Once(10), list[str]()

    def make(name: str) -> bytes:
        made.append(name)
        return name.encode() * 4

    for name in "abcab":
        assert once.get(name, lambda name=name: make(name)) == name.encode() * 4
    assert made == ["a", "b", "c", "a", "b"], "the oldest had gone"
    assert once.get("b", lambda: make("b")) == b"bbbb"
    assert len(made) == 5
    with pytest.raises(ZeroDivisionError):
        once.get("bad", lambda: bytes(1 // 0))
    assert once.get("bad", lambda: b"good") == b"good"


async def test_the_event_loop_goes_on_while_a_photo_is_encoded(tmp_path: Path) -> None:
    config, prompts = TeacherConfig(model="m", base_url="http://localhost"), load_prompts(None)
    (tmp_path / "photo.jpg").write_bytes(photo(quality=73))
    request = ChatRequest(Question("diagnose", {}, SameSkills, [tmp_path / "photo.jpg"]), config, prompts)
    threads: list[int] = []
    request.messages = lambda: threads.append(get_ident()) or []  # type: ignore[method-assign]
    await request.encoded()
    assert threads != [get_ident()]
