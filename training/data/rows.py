"""From a file of samples to tensors: what one tuning is made of, read, rendered, tokenised, and seen by the vision
tower."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from retrieval.errors import DataError, first_line
from retrieval.pool.images import read_image, scaled_down
from retrieval.storage.files import iter_jsonl
from training.child.memory import in_halves
from training.data.batches import Encoded
from training.data.chat import IGNORED, ChatFormat, special_tokens_missing
from training.families.families import Family
from training.features.table import FeatureTable, image_features

#: Images that go through the vision tower together.
SEEN_TOGETHER = 64


@dataclass(frozen=True, slots=True)
class SetAside:
    """A sample that was not tuned on, and why."""

    sample: str
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The samples of a tuning in file order, those set aside, and the feature table if the family allows one."""

    samples: list[Encoded]
    set_aside: list[SetAside]
    table: FeatureTable | None


def prepare(
    path: Path,
    model: Any,
    processor: Any,
    chat: ChatFormat,
    family: Family,
    max_length: int,
    scratch: Path,
    image_pixels: int | None = None,
    take: int | None = None,
) -> Prepared:
    """Encode the samples of a JSONL file; rows are {"id", "turns": [[prompt, answer], …], "images": [absolute paths]}.

    A sample whose image cannot be read, that is longer than `max_length` tokens or that the template cannot hold is
    set aside. With `take`, the samples are the first so many that are not, and those after them are not looked at.
    """
    encoder = _Encoder(processor, chat, max_length, image_pixels)
    table = FeatureTable(scratch, model.get_input_embeddings().weight.shape[1], model.dtype) if family.plain else None
    samples: list[Encoded] = []
    waiting: list[tuple[Encoded, dict[str, Any]]] = []
    for row in iter_jsonl(path):
        if take is not None and len(samples) + len(waiting) == take:
            break
        encoded = encoder.encode(row)
        if encoded is None:
            continue
        waiting.append(encoded)
        if len(waiting) == SEEN_TOGETHER:
            samples += _see(waiting, model, table)
            waiting = []
    samples += _see(waiting, model, table)
    if table is not None:
        table.seal()
    return Prepared(samples, encoder.set_aside, table)


class _Encoder:
    def __init__(self, processor: Any, chat: ChatFormat, max_length: int, image_pixels: int | None) -> None:
        self.processor = processor
        self.chat = chat
        self.max_length = max_length
        self.image_pixels = image_pixels
        self.set_aside: list[SetAside] = []

    def encode(self, row: dict[str, Any]) -> tuple[Encoded, dict[str, Any]] | None:
        """A sample and what the processor made of its images; None if it is set aside."""
        try:
            return self._encode(row)
        except DataError as error:
            self.set_aside.append(SetAside(str(row["id"]), str(error)))
            return None

    def _encode(self, row: dict[str, Any]) -> tuple[Encoded, dict[str, Any]]:
        paths = tuple(Path(name) for name in row["images"])
        spoken = self.chat.speak([(prompt, answer) for prompt, answer in row["turns"]], len(paths))
        pictures = [scaled_down(read_image(path), self.image_pixels) for path in paths]
        inputs = process(self.processor, [spoken.text], [pictures])
        ids = inputs["input_ids"][0]
        if len(ids) > self.max_length:
            cure = "; student.image_pixels scales its images down" if paths else ""
            raise DataError(f"it has {len(ids)} tokens, more than tuning.max_length = {self.max_length}{cure}")
        labels = torch.tensor(self.chat.labels(spoken, ids.tolist()))
        if bool((labels == IGNORED).all()):
            raise DataError("its answer is empty")
        return Encoded(str(row["id"]), spoken.text, paths, ids, labels), inputs


def process(
    processor: Any, texts: Sequence[str], pictures: Sequence[Sequence[Any]], said: Sequence[int] | None = None
) -> dict[str, Any]:
    """The processor's tensors for rendered texts (padded as its tokenizer is set to) and the images of each. `said` counts
    the tokens at the end of each that are the model's own words, which matters where it sees its prompt whole.

    Raises DataError where images and image tokens do not match.
    """
    try:
        inputs = dict(
            processor(
                text=list(texts),
                images=[list(some) for some in pictures] if any(pictures) else None,
                add_special_tokens=special_tokens_missing(processor, texts[0]),
                padding=len(texts) > 1,
                padding_side=processor.tokenizer.padding_side,  # some have a side of their own otherwise
                return_tensors="pt",
            )
        )
    except (ValueError, IndexError, StopIteration, TypeError) as error:
        raise DataError(f"the model's processor cannot take it: {first_line(error)}") from error
    inputs.pop("labels", None)  # of PaliGemma's, for a way of tuning that is not ours
    if getattr(processor, "prompt_seen_whole", False):
        inputs["token_type_ids"] = _own_words(inputs["attention_mask"], said or [0] * len(texts))
    return inputs


def _own_words(mask: torch.Tensor, said: Sequence[int]) -> torch.Tensor:
    """1 for the last `said[i]` tokens of row i that are no padding, 0 elsewhere (rows, length)."""
    to_end = mask.flip(-1).cumsum(-1).flip(-1)
    return ((to_end <= torch.tensor(said)[:, None]) & mask.bool()).to(mask.dtype)


def _see(waiting: list[tuple[Encoded, dict[str, Any]]], model: Any, table: FeatureTable | None) -> Iterator[Encoded]:
    """Fill in where each sample's features lie, its images having gone through the tower together with the others'."""
    if table is None:
        yield from (encoded for encoded, _ in waiting)
        return
    seeing = [inputs["pixel_values"] for _, inputs in waiting if "pixel_values" in inputs]
    seen = in_halves(seeing, lambda part: image_features(model, {"pixel_values": torch.cat(list(part))}))
    features = iter(seen)
    for encoded, _ in waiting:
        rows = [next(features) for _ in encoded.images]
        yield replace(encoded, features=table.append(torch.cat(rows))) if rows else encoded
