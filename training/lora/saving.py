"""What torch, safetensors and transformers say of a disk that takes no more, as the StorageError that it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from retrieval.errors import GaptutorError, first_line
from retrieval.storage.files import storage_errors


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """For a block that does nothing but write weights to `path`: torch's own writer reports a full disk as a RuntimeError
    about its position, safetensors' as an error of its own. Raises StorageError."""
    with storage_errors(path):
        try:
            yield
        except (torch.OutOfMemoryError, GaptutorError):  # RuntimeErrors too
            raise
        except (RuntimeError, SafetensorError) as error:
            raise OSError(first_line(error)) from error
