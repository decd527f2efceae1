"""Images: read as the models need them, fingerprinted, and kept by the hash of their content.

A picture is what its first frame shows once turned the way its EXIF says, on white where it is transparent, as 8-bit
RGB; deeper levels are scaled to what one can see. Whatever a decoder raises is a DataError that names the file. Not
covered: colour profiles other than sRGB, SVG and other drawings (set aside as no image).
"""

import hashlib
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import imagehash
import numpy as np
from PIL import Image, UnidentifiedImageError

from retrieval.errors import DataError, first_line

Image.init()
_WANTED = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
#: Formats that are opened, where Pillow has them. Left out on purpose: those that run other programs, such as EPS.
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}
# Pillow warns of what it read around, say a damaged EXIF; what it could not read is an error here.
warnings.filterwarnings("ignore", module=r"PIL\.")

#: Larger pictures are refused: of most formats, reading one more could take over 500 MB.
MAX_PIXELS = 50_000_000
#: Pixels that are converted at a time, where a whole picture in between would double what it takes.
_STRIP = 1 << 20
_ORIENTATION = 0x0112
#: What undoes each EXIF orientation (EXIF 3.0, tag 274).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Orientations in which width and height change places.
TURNED = (5, 6, 7, 8)


class Fingerprint(NamedTuple):
    """What is kept of an image: its name in the store (SHA-256 of the file + suffix) and its 64-bit perceptual hash."""

    name: str
    phash: int


def read_image(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as 8-bit RGB, without metadata. Raises DataError naming the file if it is missing, truncated, no
    image, or too large."""
    with opened(source, max_pixels) as image:
        image.load()
        return _as_seen(image)


def picture_size(source: Path | bytes) -> tuple[int, int]:
    """Width and height (pixels) of a picture once it is upright; nothing is decoded. Raises DataError."""
    with opened(source) as image:
        width, height = image.size
        return (height, width) if orientation(image) in TURNED else (width, height)


def scaled_down(image: Image.Image, pixels: int | None) -> Image.Image:
    """The image with no more than so many pixels, its sides in their proportion; as it is if it has no more, or if None."""
    if pixels is None or image.width * image.height <= pixels:
        return image
    scale = (pixels / (image.width * image.height)) ** 0.5
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.LANCZOS)


@contextmanager
def opened(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """A picture's file with its header read, to be decoded in here: decoders raise whatever comes to them (a bad number in
    the EXIF, `struct.error`; a damaged AVIF, `RuntimeError`), and all of it is a DataError that names the file."""
    label = str(source) if isinstance(source, Path) else "embedded image"
    try:
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            raise DataError(f"{label}: not a file")  # a pipe would be waited for
        if (isinstance(source, Path) and source.stat().st_size == 0) or source == b"":
            raise DataError(f"{label}: the image file is empty")
        with Image.open(source if isinstance(source, Path) else BytesIO(source), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width} × {image.height}"
                raise DataError(f"{label}: {size} is more than {max_pixels:,} pixels; make it smaller")
            if not image.width * image.height:
                raise DataError(f"{label}: the image has no pixels")
            yield image
    except DataError:  # a ValueError too
        raise
    except FileNotFoundError:
        raise DataError(f"{label}: there is no such image") from None
    except Image.DecompressionBombError:
        raise DataError(f"{label}: the image has more than {max_pixels:,} pixels; make it smaller") from None
    except UnidentifiedImageError:
        raise DataError(f"{label}: not an image{_known_by_name(source)}") from None
    except MemoryError:
        raise DataError(f"{label}: there is not enough memory to decode it; make it smaller") from None
    except Exception as error:
        raise DataError(f"{label}: the image is truncated or damaged ({first_line(error)})") from None


def _known_by_name(source: Path | bytes) -> str:
    """What phones write and Pillow does not read is said by name (ISO/IEC 23008-12: the brands of HEIF files)."""
    head = source[:12] if isinstance(source, bytes) else source.read_bytes()[:12]
    heic = head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")
    return " that is read here (HEIC); save it as JPEG or PNG" if heic else ""


def orientation(image: Image.Image) -> int:
    """How a picture is turned by its EXIF, 1 to 8; 1 where that cannot be read, since the picture can."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return found if found in _UPRIGHT else 1


def _as_seen(image: Image.Image) -> Image.Image:
    """A decoded picture as models are shown it; no more than two copies are held at a time."""
    turned = orientation(image)
    seen = image
    if image.mode.startswith(("I", "F")):
        seen = _to_eight_bits(image)
    elif image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        seen = _on_white(image)
    elif image.mode != "RGB":
        seen = image.convert("RGB")
    if seen is not image:
        image.close()  # gives its pixels back
    if seen.mode != "RGB":
        seen = seen.convert("RGB")
    seen.info.clear()  # whoever turns it by its EXIF does so no second time
    return _turned(seen, _UPRIGHT[turned]) if turned in _UPRIGHT else seen


def _turned(image: Image.Image, how: Image.Transpose) -> Image.Image:
    """An RGB picture turned, a band at a time: Pillow holds one of three bytes a pixel in four."""
    bands = list(image.split())
    image.close()
    return Image.merge("RGB", [bands.pop(0).transpose(how) for _ in "RGB"])


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, (255, 255, 255))
    for box in _strips(image):
        part = image.crop(box).convert("RGBA")
        white.paste(part, box, part)
    return white


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Deep integers and floats as 8-bit grey."""
    black, white = _seen_range(image)
    grey = Image.new("L", image.size)
    for box in _strips(image):
        levels = np.nan_to_num(np.asarray(image.crop(box), dtype=np.float32), nan=black, posinf=white, neginf=black)
        scaled = np.rint(np.clip((levels - black) * np.float32(255 / (white - black)), 0, 255))
        grey.paste(Image.fromarray(scaled.astype(np.uint8)), box)
    return grey


def _seen_range(image: Image.Image) -> tuple[float, float]:
    """Levels that become black and white: those of the depth that the picture uses (floats of 0–1, 8 bits in a deep file,
    the 12 of an X-ray in 16), or, where nearly all of it lies within an eighth of that, the range in which it does."""
    low, high, some = np.inf, -np.inf, [np.zeros(0)]
    for box in _strips(image):
        levels = np.asarray(image.crop(box))
        levels = levels[np.isfinite(levels)]
        if levels.size:
            low, high = min(low, float(levels.min())), max(high, float(levels.max()))
            some.append(levels[::16].astype(np.float64))
    if low >= 0 and high <= 1 and image.mode == "F":
        return 0.0, 1.0
    if not low <= high or (low >= 0 and high <= 255):
        return 0.0, 255.0
    black, white = low, high
    if low >= 0:
        black, white = 0.0, next((2.0**bits - 1 for bits in (10, 12, 14, 16) if high < 2**bits), high)
    near, far = np.percentile(np.concatenate(some), (0.5, 99.5)).tolist()
    return (near, far) if 0 < far - near < (white - black) / 8 else (black, max(white, black + 1))


class ImageStore:
    """Images in a folder, by the hash of their content: the same picture file is kept once.

    Files are linked, not copied, where the file system allows: a pool of a terabyte is not stored twice. So an image
    that is later edited *in place* changes here too; one replaced by a new file does not. One image is not forced to
    disk by itself; whoever vouches for many does so once for all of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the image of that name lies."""
        return self.folder / name[:2] / name

    def add(self, source: Path | bytes) -> Fingerprint:
        """Check, fingerprint and keep one image; safe to repeat and to run in threads.

        Raises DataError if it cannot be read whole, OSError if it cannot be stored.
        """
        kind, phash = _inspect(source)
        name = _name(source, kind)
        if not self.path(name).exists():
            self._keep(source, self.path(name))
        return Fingerprint(name, phash)

    def _keep(self, source: Path | bytes, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(source, Path):
            try:
                os.link(source.resolve(), target)
                return
            except FileExistsError:
                return
            except OSError:
                pass  # another device, or a file system without links: copy
        scratch = target.parent / f".{target.name}.{uuid4().hex[:8]}.tmp"  # tempfile's are for their owner alone
        try:
            with open(scratch, "xb") as file:
                if isinstance(source, bytes):
                    file.write(source)
                else:
                    with open(source, "rb") as original:
                        shutil.copyfileobj(original, file)
            os.replace(scratch, target)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def _file_hash(path: Path) -> "hashlib._Hash":
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256")


def fingerprint(source: Path | bytes) -> Fingerprint:
    """Name and perceptual hash of an image that is not stored. Raises DataError."""
    kind, phash = _inspect(source)
    return Fingerprint(_name(source, kind), phash)


def file_name(source: Path | bytes) -> str:
    """The name alone. Raises DataError."""
    with opened(source) as image:
        kind = image.format or "PNG"
    return _name(source, kind)


def _name(source: Path | bytes, kind: str) -> str:
    data = hashlib.sha256(source) if isinstance(source, bytes) else _file_hash(source)
    return data.hexdigest() + _SUFFIXES.get(kind, f".{kind.lower()}")


def _inspect(source: Path | bytes) -> tuple[str, int]:
    """Format and perceptual hash. The whole file is decoded, JPEGs at an eighth of their size, which still reads
    every byte."""
    with opened(source) as image:
        kind = image.format or "PNG"
        image.draft("RGB", (128, 128))
        image.load()
        return kind, perceptual_hash(_as_seen(image))


def perceptual_hash(image: Image.Image) -> int:
    """64-bit hash of the low frequencies of an RGB image (imagehash.phash); alike pictures differ in few bits."""
    bits = imagehash.phash(image).hash.ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
