"""Images: read as the models need them, fingerprinted, and kept by the hash of their content.

A picture is what its first frame shows once turned the way its EXIF says, on white where it is transparent, as 8-bit
RGB. Not covered: colour profiles other than sRGB, SVG and other drawings (set aside as no image).
"""

import hashlib
import os
import shutil
import stat
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from retrieval.errors import DataError

Image.init()
_WANTED = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
#: Formats that are opened, where Pillow has them. Left out on purpose: those that run other programs, such as EPS.
FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif"}

#: Larger pictures are refused: decoding one more would take over 500 MB.
MAX_PIXELS = 50_000_000

#: Side (pixels) at which two pictures are compared when one may be a copy of the other.
_SIDE = 24
#: They are copies if no point differs by more than the first, and the mean by no more than the second (levels of
#: 255). Measured on synthetic scenes of 64 × 64: scaled 0.5–5.25 times or JPEG at quality 60 and above, at most 26 and
#: 3.0; with one object of another shape or colour, 29 or more in 95% of cases and 69 in half of them. An error on the
#: generous side costs one sample of the pool, one on the other side an honest score.
_POINT_LIMIT, _MEAN_LIMIT = 28.0, 4.0


class Fingerprint(NamedTuple):
    """What is kept of an image: its name in the store (SHA-256 of the file + suffix) and its 64-bit perceptual hash."""

    name: str
    phash: int


def read_image(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as 8-bit RGB. Raises DataError naming the file if it is missing, truncated, no image, or too
    large."""
    with _open(source, max_pixels) as image:
        try:
            image.load()
            return _normalise(image)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise DataError(f"{_label(source)}: the image is truncated or damaged ({error})") from None


def scaled_down(image: Image.Image, pixels: int | None) -> Image.Image:
    """The image with no more than so many pixels, its sides in their proportion; as it is if it has no more, or if None."""
    if pixels is None or image.width * image.height <= pixels:
        return image
    scale = (pixels / (image.width * image.height)) ** 0.5
    return image.resize((max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.LANCZOS)


def _label(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "embedded image"


def _open(source: Path | bytes, max_pixels: int) -> Image.Image:
    label = _label(source)
    try:
        if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
            raise DataError(f"{label}: not a file")  # a pipe would be waited for
        if (isinstance(source, Path) and source.stat().st_size == 0) or source == b"":
            raise DataError(f"{label}: the image file is empty")
        image = Image.open(source if isinstance(source, Path) else BytesIO(source), formats=FORMATS)
    except DataError:  # a ValueError too
        raise
    except FileNotFoundError:
        raise DataError(f"{label}: there is no such image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{label}: the image has more than {max_pixels:,} pixels; make it smaller") from None
    except (OSError, ValueError, SyntaxError) as error:
        reason = "not an image" if "cannot identify" in str(error) else str(error)
        raise DataError(f"{label}: {reason}") from None
    if image.width * image.height > max_pixels:
        size = f"{image.width} × {image.height}"
        image.close()
        raise DataError(f"{label}: {size} is more than {max_pixels:,} pixels; make it smaller")
    return image


def _normalise(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _to_eight_bits(image).convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    levels = np.asarray(image)
    if levels.dtype.kind == "f":
        return Image.fromarray(np.clip(np.nan_to_num(levels), 0, 255).astype(np.uint8))
    if image.mode != "I" or levels.max(initial=0) > 255:
        levels = levels >> 8
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


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
        data = hashlib.sha256(source) if isinstance(source, bytes) else _file_hash(source)
        name = data.hexdigest() + _SUFFIXES.get(kind, f".{kind.lower()}")
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
    data = hashlib.sha256(source) if isinstance(source, bytes) else _file_hash(source)
    return Fingerprint(data.hexdigest() + _SUFFIXES.get(kind, f".{kind.lower()}"), phash)


def _inspect(source: Path | bytes) -> tuple[str, int]:
    """Format and perceptual hash. The whole file is decoded, JPEGs at an eighth of their size, which still reads
    every byte."""
    with _open(source, MAX_PIXELS) as image:
        kind = image.format or "PNG"
        try:
            image.draft("RGB", (128, 128))
            image.load()
            small = _normalise(image)
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise DataError(f"{_label(source)}: the image is truncated or damaged ({error})") from None
    return kind, perceptual_hash(small)


def perceptual_hash(image: Image.Image) -> int:
    """64-bit hash of the low frequencies of an RGB image (imagehash.phash); alike pictures differ in few bits."""
    bits = imagehash.phash(image).hash.ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def thumbnail(image: Image.Image) -> NDArray[np.int16]:
    """What `are_copies` compares: shape (24, 24, 3), levels 0–255, smoothed so that sharp edges survive another
    scaling."""
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), dtype=np.int16)


def are_copies(one: NDArray[np.int16], other: NDArray[np.int16]) -> bool:
    """Whether two thumbnails show the same picture, up to scaling and compression.

    Those change every point a little; another object changes some point a lot. So the worst point decides, and the mean
    keeps apart pictures that are merely both dull.
    """
    gaps = np.abs(one - other).mean(axis=2)
    return bool(gaps.max() <= _POINT_LIMIT and gaps.mean() <= _MEAN_LIMIT)
