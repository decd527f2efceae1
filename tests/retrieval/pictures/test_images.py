import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from retrieval.errors import DataError
from retrieval.pool.images import ImageStore, fingerprint, picture_size, read_image
from tests.retrieval.conftest import draw_scene


def _save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_a_picture_turned_by_exif_is_turned_back(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 4), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert read_image(_save(image, tmp_path / "a.png", exif=exif)).size == (4, 8)


def test_transparent_points_are_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert read_image(_save(clear, tmp_path / "a.png")).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    read = read_image(_save(palette, tmp_path / "p.png", transparency=0))
    assert read.getpixel((0, 0)) == (255, 255, 255)
    assert read.getpixel((1, 0)) == (200, 100, 50)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    levels = np.array([[0, 128 << 8], [65535, 3 << 8]], dtype=np.uint16)
    read = np.asarray(read_image(_save(Image.fromarray(levels), tmp_path / "a.png")))
    assert read[..., 0].tolist() == [[0, 128], [255, 3]]
    assert (read[..., 0] == read[..., 2]).all()


def _grey(levels: np.ndarray, path: Path) -> list[int]:
    """The grey levels that are seen of a picture of one row."""
    Image.fromarray(levels[None]).save(path)
    return np.asarray(read_image(path))[0, :, 1].tolist()


def test_deep_levels_are_scaled_to_what_one_can_see(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 9)
    seen = [round(255 * level) for level in ramp]
    for number, levels in enumerate(
        (
            ramp.astype(np.float32),  # floats of 0–1
            (ramp * 255).astype(np.float32),  # floats of 0–255
            (ramp * 4095).astype(np.uint16),  # an X-ray of 12 bits
            (ramp * 65535).astype(np.uint16),
            (ramp * 70000).astype(np.int32),
            (ramp * 3000 - 1000).astype(np.float32),  # Hounsfield units
        )
    ):
        assert _grey(levels, tmp_path / f"{number}.tif") == pytest.approx(seen, abs=1)
    assert _grey(np.arange(0, 256, 51, dtype=np.uint16), tmp_path / "eight.png") == list(range(0, 256, 51))


def test_a_deep_picture_with_little_contrast_or_a_hot_pixel_can_be_seen(tmp_path: Path) -> None:
    levels = np.linspace(30_000, 31_000, 4096).astype(np.uint16)
    seen = _grey(levels, tmp_path / "dull.png")
    assert (seen[0], seen[-1]) == (0, 255)
    levels = np.linspace(0, 1000, 4096).astype(np.uint16)
    levels[7] = 65535
    assert 120 < _grey(levels, tmp_path / "hot.png")[2048] < 135


def test_floats_that_are_no_numbers_are_black_or_white(tmp_path: Path) -> None:
    levels = np.array([np.nan, -np.inf, np.inf, 0, 1], dtype=np.float32)
    assert _grey(levels, tmp_path / "a.tif") == [0, 0, 255, 0, 255]
    assert _grey(np.full(4, np.nan, dtype=np.float32), tmp_path / "b.tif") == [0] * 4


@pytest.mark.parametrize("turned", range(1, 9))
def test_every_orientation_is_undone(tmp_path: Path, turned: int) -> None:
    image = Image.new("RGB", (6, 4))
    image.putpixel((1, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = turned
    path = _save(image, tmp_path / "a.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(path))
    assert read_image(path).tobytes() == expected.tobytes()
    assert picture_size(path) == expected.size == read_image(path).size


def test_a_picture_of_49_megapixels_takes_less_than_500_megabytes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _save(Image.new("RGB", (7000, 7000), "teal"), tmp_path / "a.jpg", exif=exif)
    code = (
        "import sys, pathlib, retrieval.pool.images as images; images.read_image(pathlib.Path(sys.argv[1]))\n"
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 500e6


def test_cmyk_and_grey_and_floats_become_rgb(tmp_path: Path) -> None:
    kinds = (("a.jpg", "CMYK", (0, 255, 255, 0)), ("b.png", "L", 77), ("c.tif", "F", 77.0), ("d.png", "1", 1))
    for kind, mode, value in kinds:
        read = read_image(_save(Image.new(mode, (8, 8), value), tmp_path / kind))
        assert (read.mode, read.size) == ("RGB", (8, 8))
    assert read_image(tmp_path / "c.tif").getpixel((0, 0)) == (77, 77, 77)


def test_an_animation_is_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "red")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif").getpixel((0, 0)) == (0, 0, 255)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no picture at all", "not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_no_picture_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=f"a.png.*{reason}"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_truncated_picture_is_an_error_in_every_format(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    draw_scene(1, size=128).save(buffer, kind)
    (tmp_path / "a.bin").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(DataError, match=r"a\.bin"):
        read_image(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin"):
        fingerprint(tmp_path / "a.bin")


def test_a_missing_picture_and_a_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such image"):
        read_image(tmp_path / "none.png")
    with pytest.raises(DataError):
        read_image(tmp_path)


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than 10 pixels"):
        read_image(_save(Image.new("L", (4, 4)), tmp_path / "a.png"), max_pixels=10)
    huge = Image.new("1", (30_000, 30_000))
    with pytest.raises(DataError, match="pixels"):
        read_image(_save(huge, tmp_path / "huge.png"))


def test_the_store_keeps_one_file_for_one_content_and_survives_its_source(tmp_path: Path) -> None:
    store = ImageStore(tmp_path / "store")
    path = _save(draw_scene(1), tmp_path / "a.png")
    data = path.read_bytes()
    names = {store.add(path).name, store.add(data).name, store.add(path).name}
    path.unlink()
    assert len(names) == 1
    assert store.path(names.pop()).read_bytes() == data
    assert len([file for file in store.folder.rglob("*") if file.is_file()]) == 1


def test_the_store_copies_where_links_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    path = _save(draw_scene(1), tmp_path / "a.png")
    store = ImageStore(tmp_path / "store")
    kept = store.path(store.add(path).name)
    assert kept.read_bytes() == path.read_bytes()
    assert kept.stat().st_mode == path.stat().st_mode  # as the umask leaves it
    assert not list(store.folder.rglob("*.tmp"))
