"""What the frozen vision tower and projector make of each sample's images, computed once and kept in a file.

The file is mapped into memory, so that the system keeps what fits and a large selection does not fill the machine.
"""

from pathlib import Path
from typing import Any

import torch


class FeatureTable:
    """Rows of image features (rows, hidden) in the model's dtype. Append all, then `seal`, then read."""

    def __init__(self, path: Path, hidden: int, dtype: torch.dtype) -> None:
        self.path = path
        self.hidden = hidden
        self.dtype = dtype
        self.rows = 0
        self._file = open(path, "wb")  # noqa: SIM115 - closed by seal()
        self._data = torch.empty(0, hidden, dtype=dtype)

    def append(self, features: torch.Tensor) -> tuple[int, int]:
        """Add rows (n, hidden) and say where they lie: first row and n. Raises OSError if there is no room."""
        rows = features.to("cpu", self.dtype).contiguous()
        self._file.write(rows.view(torch.uint8).numpy().tobytes())
        first, self.rows = self.rows, self.rows + len(rows)
        return first, len(rows)

    def seal(self) -> None:
        """No more rows; they can be read now."""
        self._file.close()
        if self.rows:
            size = self.rows * self.hidden
            self._data = torch.from_file(str(self.path), size=size, dtype=self.dtype).view(self.rows, self.hidden)

    def read(self, place: tuple[int, int]) -> torch.Tensor:
        """The rows at a place that `append` gave."""
        first, count = place
        return self._data[first : first + count]


@torch.inference_mode()
def image_features(model: Any, inputs: dict[str, Any]) -> list[torch.Tensor]:
    """Features of each image (tokens, hidden) from what the processor made of them (LLaVA's way of asking)."""
    pixels = inputs["pixel_values"].to(model.device, model.dtype)
    features = model.get_image_features(pixel_values=pixels, return_dict=True).pooler_output
    return list(features)
