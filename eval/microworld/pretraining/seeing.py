"""First stage of pretraining: the tower and projector learn to name each cell's kind, colour and size.

Throw-away heads read the projector's output, so what the language model gets is known to be there. Without this stage
it barely learns to see. Rare shapes are not among the kinds and never drawn.
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from eval.microworld.canvas import Canvas
from eval.microworld.dice import Dice
from eval.microworld.pretraining.optimizer import MuonAdamW, schedule
from eval.microworld.scene import COLORS, COMMON_SHAPES, DIGITS, SIZES, Scene, Split, render

KINDS = ("", *COMMON_SHAPES, *DIGITS)
TINTS = ("", *COLORS)
EXTENTS = ("", *SIZES)
BATCH, LEARNING_RATE = 128, 2e-3
DIGIT_WEIGHT = 2.0


def pixels(pictures: Tensor) -> Tensor:
    """uint8 [n, 64, 64, 3] to what the processor makes of it: float [n, 3, 64, 64] in -1..1."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def tower_features(model: LlavaForConditionalGeneration, pictures: Tensor) -> Tensor:
    """[n, 16, 128], before the projector."""
    out = model.model.vision_tower(pixels(pictures), output_hidden_states=True)
    features: Tensor = out.hidden_states[-1][:, 1:]
    return features


def _scenes(dice: Dice, split: Split, count: int) -> tuple[list[Scene], Tensor]:
    """Scenes and their labels: int64 [count, 16, 3] (kind, colour, size; 0 where there is none)."""
    scenes, labels = [], np.zeros((count, 16, 3), dtype=np.int64)
    for i in range(count):
        canvas = Canvas(dice, split)
        canvas.fill(4, 14)
        scene = canvas.scene()
        for cell, thing in scene.things.items():
            labels[i, cell] = KINDS.index(thing.kind), TINTS.index(thing.color), EXTENTS.index(thing.size)
        scenes.append(scene)
    return scenes, torch.from_numpy(labels)


def train_tower(
    model: LlavaForConditionalGeneration, steps: int, seed: int, log: Callable[[dict[str, object]], None]
) -> None:
    """Trains `vision_tower` and `multi_modal_projector` in place."""
    start = time.monotonic()
    dice = Dice(np.random.default_rng((seed, 2)))
    heads = nn.ModuleList(nn.Linear(256, len(names)) for names in (KINDS, TINTS, EXTENTS))
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    optimizer = MuonAdamW([tower, projector, heads], LEARNING_RATE)
    for step in range(steps):
        scenes, labels = _scenes(dice, "train", BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            seen = projector(tower_features(model, torch.from_numpy(render(scenes))))
            logits = [head(seen).float().flatten(0, 1) for head in heads]
        losses = [nn.functional.cross_entropy(x, labels[..., i].flatten()) for i, x in enumerate(logits)]
        loss = DIGIT_WEIGHT * losses[0] + losses[1] + losses[2]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(schedule(step, steps))
        if step % 200 == 199:
            log({"stage": 1, "step": step + 1, "loss": loss.item(), "seconds": time.monotonic() - start})
    log({"stage": 1, **_accuracy(model, heads, seed), "seconds": time.monotonic() - start})


@torch.no_grad()
def _accuracy(model: LlavaForConditionalGeneration, heads: nn.ModuleList, seed: int) -> dict[str, object]:
    """On validation scans: the share of cells whose kind, colour and size is named, and of digits that are read."""
    scenes, labels = _scenes(Dice(np.random.default_rng((seed, 3))), "validation", 1024)
    with torch.autocast("cpu", torch.bfloat16):
        seen = model.model.multi_modal_projector(tower_features(model, torch.from_numpy(render(scenes))))
    right = [(head(seen.float()).argmax(-1) == labels[..., i]).float() for i, head in enumerate(heads)]
    digits = labels[..., 0] > len(COMMON_SHAPES)
    names = ("kind", "color", "size")
    accuracy = {name: round(x.mean().item(), 4) for name, x in zip(names, right, strict=True)}
    return {**accuracy, "digit": round(right[0][digits].mean().item(), 4)}
