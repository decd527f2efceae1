"""Writing the world's data where there is no room."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eval.microworld.export import write_items
from eval.microworld.pool import make_pool
from eval.microworld.tasks import load_task
from retrieval.errors import StorageError
from tests.full_disk import room_for


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: write_items(load_task("arithmetic"), "validation", folder, 2),
        lambda folder: make_pool(folder, 8, 0),
    ],
    ids=["items", "pool"],
)
def test_pictures_for_which_there_is_no_room_are_one_sentence(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*images: .*; make room"), room_for(100):
        write(tmp_path)
    assert write(tmp_path).exists()
