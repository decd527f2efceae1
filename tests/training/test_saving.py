"""A full disk, as those say it who write weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from retrieval.errors import StorageError
from tests.full_disk import room_for
from training.lora.saving import saving

TENSORS = {"weight": torch.zeros(50_000)}


@pytest.mark.parametrize("save", [save_file, torch.save], ids=["safetensors", "torch"])
def test_a_disk_that_takes_no_more_weights_is_a_storage_error(
    tmp_path: Path, save: Callable[[dict[str, torch.Tensor], Path], object]
) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*weights: .*make room"), room_for(10_000):  # noqa: SIM117
        with saving(tmp_path / "weights"):
            save(TENSORS, tmp_path / "weights")


def test_memory_that_runs_out_while_weights_are_written_stays_that(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError), saving(tmp_path):
        raise torch.OutOfMemoryError("no room")
