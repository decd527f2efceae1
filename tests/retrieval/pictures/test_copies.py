"""Copies are found and nothing else: unrelated documents of one layout are as alike as other pictures never are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Pool, overlap
from retrieval.pool.copies import Sketches, closer, for_tiles, greyed, hashes, is_copy, sketch
from retrieval.pool.images import perceptual_hash
from tests.retrieval.conftest import draw_scene
from tests.retrieval.pictures.pages import COPIES, KINDS, cropped, page, through


def found(one: Image.Image, other: Image.Image) -> bool:
    """Whether `other`, of a validation set, is found to be shown by `one`, of a pool."""
    one, other = one.convert("RGB"), other.convert("RGB")
    if np.bitwise_count(hashes(other) ^ np.uint64(perceptual_hash(one))).min() > 10:
        return False
    alike = Sketches([sketch(other)]).alike(sketch(one), np.arange(1))
    laid = [closer(greyed(one), greyed(other), placement) for _, placement in alike]
    return any(place is not None and is_copy(for_tiles(one), for_tiles(other), place) for place in laid)


def unrelated(kind: str, count: int, folder: Path) -> tuple[Pool, list[Path]]:
    """A pool of so many pictures of a kind, and as many others."""
    paths = [folder / f"{kind}-{number}.png" for number in range(2 * count)]
    for number, path in enumerate(paths):
        KINDS[kind](number).save(path)
    rows = [
        f'{{"id": "{number}", "image": "{path.name}", "question": "q", "answer": "a"}}\n'
        for number, path in enumerate(paths[:count])
    ]
    (folder / "pool.jsonl").write_text("".join(rows))
    return Pool.build(folder / "pool.jsonl", None, folder / "store"), paths


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_unrelated_documents_are_no_copies_and_copies_are_found(tmp_path: Path, kind: str, count: int) -> None:
    pool, paths = unrelated(kind, count, tmp_path)
    assert overlap(pool, paths[count:], []) == {}
    for name, change in COPIES.items():
        copies = [tmp_path / f"{name}-{number}.png" for number in range(count)]
        for original, copy in zip(paths[:count], copies, strict=True):
            change(Image.open(original)).convert("RGB").save(copy)
        assert len(overlap(pool, copies, [])) == count, name


@pytest.mark.parametrize("pitch", [12, 15, 17, 24, 30, 40])
def test_pages_are_copies_whatever_their_print(pitch: int) -> None:
    whole, unrelated = (page(number, pitch, round(0.7 * pitch)) for number in range(2))
    assert not found(whole, unrelated)
    for name, change in COPIES.items():
        copy = change(whole)
        assert found(whole, copy), name
        assert found(copy, whole), name


@pytest.mark.parametrize("share", [0.015, 0.03])
@pytest.mark.parametrize("kind", KINDS)
def test_crops_are_found_whichever_of_the_two_is_the_crop(kind: str, share: float) -> None:
    whole = KINDS[kind](3)
    assert found(cropped(whole, share), whole)
    assert found(whole, cropped(whole, share))


@pytest.mark.parametrize("sides", [(1, 0, 0, 0), (0, 1, 1, 0)])
def test_crops_of_some_sides_are_found(sides: tuple[int, int, int, int]) -> None:
    for make in KINDS.values():
        whole = make(5)
        x, y = round(0.03 * whole.width), round(0.03 * whole.height)
        left, top, right, bottom = sides
        assert found(whole.crop((left * x, top * y, whole.width - right * x, whole.height - bottom * y)), whole)


@pytest.mark.parametrize("seed", range(12))
def test_scaling_and_compression_leave_a_small_picture_a_copy(seed: int) -> None:
    image = draw_scene(seed)
    for other in (
        image.resize((128, 128), Image.Resampling.BICUBIC),
        image.resize((48, 48), Image.Resampling.BICUBIC),
        through(image, "JPEG", quality=85),
        through(image.resize((192, 192)), "JPEG", quality=75),
        through(image, "WEBP", quality=90),
    ):
        assert found(other, image)


@pytest.mark.parametrize("seed", range(40))
def test_one_object_more_is_another_picture(seed: int) -> None:
    assert not found(draw_scene(seed, 5), draw_scene(seed, 6))


def test_a_page_is_found_among_many_that_are_alike(tmp_path: Path) -> None:
    wanted = Sketches([sketch(page(number).convert("RGB")) for number in range(6)])
    copy = cropped(page(4)).convert("RGB")
    alike = wanted.alike(sketch(copy), np.arange(6))
    placements = [(place, closer(greyed(copy), greyed(page(place)), placement)) for place, placement in alike]
    assert [place for place, placement in placements if placement is not None] == [4]


def test_a_flat_picture_is_no_trouble() -> None:
    white, black = (Image.new("RGB", (300, 200), colour) for colour in ("white", "black"))
    assert found(white, white.resize((150, 100)))
    assert not found(black, page(1))
    assert found(Image.new("RGB", (1, 900)), Image.new("RGB", (1, 900)))
