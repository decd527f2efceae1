"""A micro-batch as tensors, on features computed ahead or through the model's processor."""

from collections.abc import Sequence
from typing import Any

import torch

from retrieval.pool.images import read_image, scaled_down
from training.data.batches import Encoded, pad, pad_labels
from training.data.chat import IGNORED
from training.data.rows import process
from training.features.table import FeatureTable


class Collator:
    """Pads on the right, where causal attention never looks back from an answer: known families need no attention
    mask."""

    def __init__(self, processor: Any, table: FeatureTable | None, image_pixels: int | None = None) -> None:
        self.processor = processor
        self.image_pixels = image_pixels
        self.table = table
        self.fill = processor.tokenizer.pad_token_id
        processor.tokenizer.padding_side = "right"

    def __call__(self, samples: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """Labels (samples, longest), and either ids, image mask and features, or all that the processor makes."""
        labels = pad_labels(samples)
        if self.table is None:
            pictures = [
                [scaled_down(read_image(path), self.image_pixels) for path in sample.images] for sample in samples
            ]
            said = [len(sample.labels) - int((sample.labels != IGNORED).int().argmax()) for sample in samples]
            return {**process(self.processor, [sample.text for sample in samples], pictures, said), "labels": labels}
        ids = pad([sample.ids for sample in samples], self.fill)
        features = torch.cat([self.table.read(sample.features) for sample in samples])
        return {
            "input_ids": ids,
            "image_mask": ids == self.processor.image_token_id,
            "features": features,
            "labels": labels,
        }
