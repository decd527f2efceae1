"""What reading, sending and comparing pictures takes.

    python -m benchmarks.pictures            # all three
    python -m benchmarks.pictures copies     # or one: copies, memory, sending

`copies`: of each kind of document, as many in a pool as are validated on (`--count`), none related; then copies of them.
Pairs are those that the hashes call near; seconds hold decoding. `memory`: peak (MiB) of a process that reads one picture
of 49 megapixels, 98 of them the process itself. `sending`: a photo of 12 megapixels, turned by its EXIF.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agent.chat.attachments import data_url
from retrieval import Pool, overlap
from retrieval.pool.copies import MAX_BITS, hashes
from retrieval.pool.images import read_image
from tests.retrieval.pictures.pages import COPIES, KINDS


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=("copies", "memory", "sending", []), default=[])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read_image(options.read)
        print(_peak())
        return
    with tempfile.TemporaryDirectory() as folder:
        for what in options.what or ("copies", "memory", "sending"):
            found = {"copies": copies, "memory": memory, "sending": sending}[what](Path(folder), options.count)
            print(json.dumps({what: found}, indent=2))


def copies(folder: Path, count: int) -> dict[str, Any]:
    """Of each kind: unrelated pictures excluded, copies found, near pairs a second."""
    return {kind: _copies_of(kind, folder / kind, count) for kind in KINDS}


def _copies_of(kind: str, folder: Path, count: int) -> dict[str, Any]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(2 * count)]
    for number, path in enumerate(paths):
        KINDS[kind](number).save(path)
    mine, others = paths[:count], paths[count:]
    rows = ({"id": path.stem, "image": path.name, "question": "q", "answer": "a"} for path in mine)
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pool = Pool.build(folder / "pool.jsonl", None, folder / "store")
    wanted = np.array([hashes(read_image(path)) for path in others])
    prints = np.array([one.phash for _, some, _ in pool.fingerprints() for one in some], dtype=np.uint64)
    near = int((np.bitwise_count(wanted[None] ^ prints[:, None, None]).min(2) <= MAX_BITS).sum())
    start = time.perf_counter()
    excluded = len(overlap(pool, others, []))
    seconds = time.perf_counter() - start
    found = {}
    for name, change in COPIES.items():
        changed = [folder / f"{name}-{path.name}" for path in mine]
        for path, copy in zip(mine, changed, strict=True):
            change(Image.open(path)).convert("RGB").save(copy)
        found[name] = len(overlap(pool, changed, []))
    return {
        "unrelated excluded": f"{excluded} of {count}",
        "copies found": {name: f"{some} of {count}" for name, some in found.items()},
        "near pairs": near,
        "seconds": round(seconds, 2),
        "near pairs a second": round(near / seconds),
    }


def memory(folder: Path, count: int) -> dict[str, int]:
    """Peak memory (MiB) of reading 49 megapixels, by format."""
    small = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((7000, 7000), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    see_through = image.copy()
    see_through.putalpha(Image.linear_gradient("L").resize(image.size))
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 16)
    files: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.jpg": (image, {}),
        "turned.jpg": (image, {"exif": turned}),
        "progressive, 4:4:4.jpg": (image, {"progressive": True, "subsampling": 0}),
        "CMYK.jpg": (image.convert("CMYK"), {}),
        "turned.png": (image, {"exif": turned, "compress_level": 1}),
        "transparent.png": (see_through, {"compress_level": 1}),
        "16 bit.png": (deep, {"compress_level": 1}),
        "float.tif": (Image.fromarray(np.asarray(deep).astype(np.float32)), {}),
        "palette.gif": (image.quantize(64, method=Image.Quantize.FASTOCTREE), {}),
        "photo.avif": (image, {"speed": 10}),
        "photo.webp": (image, {"method": 0}),
        "photo.jp2": (image, {"irreversible": True, "quality_layers": [40]}),
    }
    peaks = {}
    for name, (picture, how) in files.items():
        picture.save(folder / name, **how)
        command = [sys.executable, "-m", "benchmarks.pictures", "--read", str(folder / name)]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return peaks


def _peak() -> int:
    """The most that this process held (MiB, resident)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def sending(folder: Path, count: int) -> dict[str, Any]:
    """A turned photo: its size and what is sent of it (bytes), seconds for the first time and the next."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grain = [Image.effect_noise((4000, 3000), 12), Image.effect_noise((200, 150), 90).resize((4000, 3000))]
    buffer = io.BytesIO()
    Image.merge("RGB", (*grain, Image.blend(*grain, 0.5))).save(buffer, "JPEG", quality=88, exif=exif)
    data, times = buffer.getvalue(), []
    for _ in range(2):
        start = time.perf_counter()
        url = data_url(data)
        times.append(round(time.perf_counter() - start, 3))
    return {"bytes": len(data), "sent": len(url) * 3 // 4, "seconds": times}


if __name__ == "__main__":
    main()
