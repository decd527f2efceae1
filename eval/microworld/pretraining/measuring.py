"""How well a student answers given programs: greedy, in batches, exact match of what follows `Answer:`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from eval.microworld.dice import Dice
from eval.microworld.examples import Example, make_example
from eval.microworld.scene import Split, render
from eval.microworld.solving import Step
from eval.microworld.student import prompt_text

BATCH, NEW_TOKENS = 128, 72


class Reply(NamedTuple):
    example: Example
    text: str

    @property
    def right(self) -> bool:
        return final_answer(self.text) == self.example.solution.answer

    @property
    def first_wrong(self) -> Step | None:
        """The canonical step at which the reply first departs from the canonical rationale; None if it never does.

        This is the world's truth about which skill failed, for measurements only.
        """
        lines = self.text.split("\n")
        for i, step in enumerate(self.example.solution.steps):
            if i >= len(lines) or lines[i].strip() != f"Step {i + 1}: {step.text}":
                return step
        return None


def final_answer(text: str) -> str:
    """What follows the last `Answer:`, or the whole text where there is none."""
    return text.rpartition("Answer:")[2].strip()


@torch.inference_mode()
def generate(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, examples: Sequence[Example], steps: bool = True
) -> list[Reply]:
    """Greedy replies, in the order of the examples; those with and without a picture may be mixed."""
    replies: dict[int, Reply] = {}
    for pictured in (True, False):
        chosen = [i for i, example in enumerate(examples) if (example.scene is not None) == pictured]
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            scenes = [s for i in part if (s := examples[i].scene) is not None]
            inputs = processor(
                images=[Image.fromarray(picture) for picture in render(scenes)] if pictured else None,
                text=[prompt_text(examples[i].prompt(steps), pictured) for i in part],
                padding=True,
                return_tensors="pt",
            )
            out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
            texts = processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            replies.update({i: Reply(examples[i], text.strip()) for i, text in zip(part, texts, strict=True)})
    return [replies[i] for i in range(len(examples))]


def accuracy(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    programs: Sequence[str],
    count: int,
    seed: int,
    split: Split = "validation",
    steps: bool = True,
) -> dict[str, float]:
    """Share of right answers of each program, on `count` fresh questions each."""
    dice = Dice(np.random.default_rng((seed, 4)))
    examples = [make_example(name, dice, split) for name in programs for _ in range(count)]
    replies = generate(model, processor, examples, steps)
    return {name: sum(r.right for r in replies[i * count : (i + 1) * count]) / count for i, name in enumerate(programs)}
