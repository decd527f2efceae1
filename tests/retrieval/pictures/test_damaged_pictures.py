"""Nothing that a decoder can raise ends a run: damaged pictures are rows, told from sound ones."""

import io
import json
import random
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from agent.chat.attachments import data_url, sent_size
from eval.task import load_items
from retrieval import Pool
from retrieval.errors import DataError
from retrieval.pool.images import fingerprint, read_image
from tests.retrieval.conftest import draw_scene

# What Pillow reads around it warns of, and pytest brings back.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000")


def sound(kind: str) -> bytes:
    """A picture with an EXIF, where its format has one."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A], exif[0x010E] = 6, 72.0, "a phone"
    buffer = io.BytesIO()
    draw_scene(1, size=48).save(buffer, kind, **({} if kind in ("GIF", "BMP", "JPEG2000") else {"exif": exif}))
    return buffer.getvalue()


def damaged(kind: str, seed: int) -> bytes:
    """Some bytes of a picture changed, taken out or put in, most of them near its head."""
    rng, data = random.Random(f"{kind} {seed}"), bytearray(sound(kind))
    for _ in range(rng.choice((1, 2, 4, 16))):
        place = rng.randrange(len(data) if rng.random() < 0.4 else min(len(data), 160))
        match rng.randrange(4):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[place : place + rng.choice((1, 4, 40))]
            case 3:
                data[place:place] = rng.randbytes(rng.choice((1, 4, 40)))
        if not data:
            break
    return bytes(data)


FUZZED = [(kind, seed) for kind in FORMATS for seed in range(25)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 damaged pictures, in a file of items that is a pool as well."""
    folder = tmp_path_factory.mktemp("damaged")
    rows = [{"id": "sound", "image": "sound.png", "question": "What is it?", "answer": "a scene"}]
    (folder / "sound.png").write_bytes(sound("PNG"))
    for kind, seed in FUZZED:
        (folder / f"{kind}-{seed}").write_bytes(damaged(kind, seed))
        rows.append({"id": f"{kind}-{seed}", "image": f"{kind}-{seed}", "question": "What is it?", "answer": "a scene"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_damaged_pictures_are_items_or_set_aside(folder: Path) -> None:
    read = load_items(folder / "rows.jsonl")
    assert len(read.items) + len(read.set_aside) == len(FUZZED) + 1
    assert read.items[0].id == "sound"
    assert all(each.reason for each in read.set_aside)
    assert len(read.set_aside) > 50, "else nothing was tried"


def test_damaged_pictures_of_a_pool_are_samples_or_set_aside(folder: Path, tmp_path: Path) -> None:
    pool = Pool.build(folder / "rows.jsonl", None, tmp_path / "store")
    assert len(pool) + pool.set_aside_count == len(FUZZED) + 1
    assert all(each.reason for each in pool.set_aside)


def test_damaged_pictures_are_sent_or_said_to_be_none(folder: Path) -> None:
    for kind, seed in FUZZED:
        data = (folder / f"{kind}-{seed}").read_bytes()
        for use in (data_url, sent_size, fingerprint):
            with suppress(DataError):
                use(data)


@pytest.mark.slow
def test_a_great_many_damaged_pictures_are_pictures_or_data_errors() -> None:
    for kind in FORMATS:
        for seed in range(25, 2000):
            with suppress(DataError):
                assert read_image(damaged(kind, seed)).mode == "RGB"


def bad_rational(tag: int) -> bytes:
    """A turned JPEG whose EXIF says -1/0, which Pillow reads and cannot write again."""
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2)
    exif += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", tag, 10, 1, 38) + struct.pack("<I", 0)
    exif += struct.pack("<ii", -1, 0)
    buffer = io.BytesIO()
    draw_scene(1, size=48).resize((48, 32)).save(buffer, "JPEG")
    return b"\xff\xd8\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + buffer.getvalue()[2:]


@pytest.mark.parametrize("tag", [0x011A, 0x9201, 0x9204])
def test_a_phones_picture_with_an_exif_value_that_cannot_be_written_is_turned(tag: int) -> None:
    assert read_image(bad_rational(tag)).size == (32, 48)
    assert sent_size(bad_rational(tag)) == (32, 48)
    assert "exif" not in read_image(bad_rational(tag)).info, "or a processor would turn it again"


def test_a_picture_without_pixels_is_said_to_have_none() -> None:
    header = struct.pack(">4sIIBBBBB", b"IHDR", 0, 9, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    for data in (png + bytes(40), b"P6 0 4 255\n"):
        with pytest.raises(DataError):
            read_image(data)


def test_a_picture_that_pillow_does_not_read_is_called_by_its_name() -> None:
    with pytest.raises(DataError, match=r"HEIC.*save it as JPEG"):
        read_image(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 154, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    with pytest.raises(DataError, match="pixels; make it smaller"):
        read_image(header + bytes(100))
