"""Pictures of documents, drawn: pages of text, forms of one template, charts, screenshots; and copies of a picture.

The same number gives the same picture. Two of a kind are as alike as unrelated documents can be: one layout, one font.
"""

import io
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = (744, 1052)
_WORDS = (  # noqa: SIM905
    "account total the of and river stone window paper under seven market yellow engine a in council report figure "
    "measured against during harbour glass winter never each table north copper signal value between open letter"
).split()


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # type: ignore[return-value]


@cache
def _width(word: str, size: int) -> float:
    return _font(size).getlength(f"{word} ")


def _line(rng: np.random.Generator, width: int, size: int = 14) -> str:
    words: list[str] = []
    left = float(width)
    while (left := left - _width(word := _WORDS[int(rng.integers(len(_WORDS)))], size)) > 0:
        words.append(word)
    return " ".join(words)


def page(number: int, pitch: int = 20, font: int = 14) -> Image.Image:
    """A page full of text, its lines `pitch` pixels apart."""
    rng = np.random.default_rng([1, number])
    image = Image.new("L", SIZE, 255)
    pen = ImageDraw.Draw(image)
    for y in range(70, 980, pitch):
        pen.text((70, y), _line(rng, 604, font), 20, _font(font))
    return image


def form(number: int) -> Image.Image:
    """A form as filled in by one of many."""
    rng = np.random.default_rng([2, number])
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    pen.text((70, 50), "Application for a permit, part B", 0, _font(28))
    names = ("Surname", "Given name", "Street", "Town", "Born on", "Permit no.", "Valid until", "Remarks")
    for row in range(24):
        y = 120 + row * 36
        pen.rectangle((70, y, 674, y + 36), outline=(90, 90, 90))
        pen.line((250, y, 250, y + 36), (90, 90, 90))
        pen.text((78, y + 9), f"{row + 1}. {names[row % 8]}", (60, 60, 60), _font(15))
        value = f"{rng.choice(_WORDS).title()} {rng.integers(1000, 99999)}"
        pen.text((262, y + 9), value, (20, 20, 120), _font(16))
    return image


def chart(number: int) -> Image.Image:
    """A bar chart, or a line chart, on one pair of axes."""
    rng = np.random.default_rng([3, number])
    image = Image.new("RGB", (640, 480), "white")
    pen = ImageDraw.Draw(image)
    pen.text((180, 14), "Output by year (thousand tonnes)", 0, _font(18))
    for step in range(6):
        y = 430 - step * 72
        pen.line((60, y, 610, y), (215, 215, 215))
        pen.text((24, y - 8), str(step * 20), (70, 70, 70), _font(13))
    values = (430 - rng.uniform(10, 355, 12)).astype(int).tolist()
    xs = [70 + 45 * place for place in range(12)]
    for place, x in enumerate(xs):
        pen.text((x, 440), str(2000 + place), (70, 70, 70), _font(13))
    if number % 2:
        pen.line(list(zip([x + 16 for x in xs], values, strict=True)), (200, 60, 40), 3)
    else:
        for x, y in zip(xs, values, strict=True):
            pen.rectangle((x, y, x + 30, 430), (60, 110, 180))
    return image


def screenshot(number: int) -> Image.Image:
    """A window of one program with other contents: a bar, a menu, a list."""
    rng = np.random.default_rng([4, number])
    image = Image.new("RGB", (960, 600), (245, 246, 248))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, 960, 44), (38, 50, 72))
    pen.text((16, 11), "Mail  -  Inbox", "white", _font(18))
    pen.rectangle((0, 44, 190, 600), (228, 231, 237))
    for row, name in enumerate(("Inbox", "Starred", "Sent", "Drafts", "Archive", "Spam")):
        pen.text((22, 66 + 36 * row), name, (50, 60, 80), _font(16))
    for row in range(12):
        y = 56 + row * 45
        pen.ellipse((206, y + 6, 236, y + 36), tuple(rng.integers(60, 220, 3).tolist()))
        pen.text((250, y + 3), _line(rng, 180, 15), (20, 20, 30), _font(15))
        pen.text((250, y + 22), _line(rng, 620, 13), (110, 110, 120), _font(13))
        pen.line((200, y + 44, 950, y + 44), (214, 217, 224))
    return image


KINDS: dict[str, Callable[[int], Image.Image]] = {"page": page, "form": form, "chart": chart, "screenshot": screenshot}


def through(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """The picture as it is after it was written and read again."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Image.open(buffer)


def half(image: Image.Image) -> Image.Image:
    """Half as wide and high."""
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float = 0.03) -> Image.Image:
    """Without `share` of it on each side."""
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "re-encoded": lambda image: through(image, "JPEG", quality=60),
    "half-size": half,
    "cropped": cropped,
}
