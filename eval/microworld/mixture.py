"""What the student is pretrained on: a stream of batches of questions, captions and text-only samples.

The gaps are held as a *number* of samples in all, not as a share, so that longer training does not close them: of each
gap program `WHOLE_SAMPLES` whole ones and `FORM_SAMPLES` that show its form alone, at random places of the stream. Rare
shapes are not shown at all, in pictures or words.
Batches are made of samples of like length, so little is spent on padding, and have a few fixed shapes, so that they
compile.
"""

import multiprocessing as mp
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from eval.microworld.dice import Dice
from eval.microworld.examples import make_caption, make_example
from eval.microworld.programs import GAP, KNOWN, PROGRAMS, TEXT_KNOWN
from eval.microworld.scene import SIDE_PX, Scene, render
from eval.microworld.solving import Step
from eval.microworld.student import IMAGE, IMAGE_TOKENS, prompt_text, reply_text

# Longest sample (tokens) and how many samples of it make a batch: about 3,500 tokens each, 64 samples on average.
SHAPES = ((40, 88), (56, 64), (64, 56), (72, 48), (88, 40))
BUFFER = 6144  # samples sorted by length at a time
CAPTIONS_FIRST, CAPTIONS_LATER, CAPTIONS_UNTIL = 0.35, 0.12, 0.15  # shares before and after a part of the stream
TEXT_ONLY, DIRECT = 0.03, 0.2  # shares of samples without a picture, and answered without steps
FORM_SAMPLES, WHOLE_SAMPLES = 200, 8
GAP_STEPS = {
    "add",
    "subtract",
    "smallest",
    "parity",
    "fewer",
    "go_up",
    "go_down",
    "mirror",
    "find_column",
    "find_small",
    "odd_one_out",
}
HARD = {  # programs seen twice as often: two or more places to look at
    "empty_at",
    "count_color",
    "left_of",
    "right_of",
    "exists",
    "same_shape",
    "more_color",
    "row_most",
    "largest",
    "largest_row",
    "count_row",
    "count_shape",
}


class Sample(NamedTuple):
    scene: Scene | None
    prompt: str
    reply: str
    unread: tuple[tuple[int, int], ...] = ()  # parts of the reply (characters) that the loss does not read


class Batch(NamedTuple):
    """ids int64 [n, length], padded on the right; answer bool [n, length], True where the loss reads; pictures uint8
    [n, 64, 64, 3], black for text-only samples."""

    ids: NDArray[np.int64]
    answer: NDArray[np.bool_]
    pictures: NDArray[np.uint8]


def sample_of(program: str, dice: Dice) -> Sample:
    example = make_example(program, dice, "train")
    steps = not dice.chance(DIRECT)
    return Sample(example.scene, example.prompt(steps), example.reply(steps))


def form_of(program: str, dice: Dice) -> Sample:
    """A gap program's sample that shows its form alone: the results of its gap steps are not read by the loss."""
    example = make_example(program, dice, "train")
    unread, start = [], 0
    for number, step in enumerate(example.solution.steps, 1):
        start += len(f"Step {number}: ")
        if step.skill in GAP_STEPS:
            unread += [(start + a, start + b) for a, b in result_spans(step)]
        start += len(step.text) + 1
    return Sample(example.scene, example.prompt(True), example.reply(True), tuple(unread))


def result_spans(step: Step) -> list[tuple[int, int]]:
    """Where in a gap step's text its result stands: what follows "is", "are" or "at", and a choice made by the first word."""
    spans = []
    if found := re.search(r" (is the|is|are|at) ", step.text):
        spans.append((found.end() - 1, len(step.text)))
    if step.skill == "fewer" or step.text.startswith("no"):
        spans.append((0, step.text.index(" ")))
    return spans


def samples(total: int, seed: int) -> Iterator[Sample]:
    """A stream of `total` samples, the same for the same seed."""
    rng = np.random.default_rng(seed)
    dice = Dice(rng.spawn(1)[0])
    kinds = ((form_of, FORM_SAMPLES), (sample_of, WHOLE_SAMPLES))
    gaps = [(make, name) for make, count in kinds for name in GAP for _ in range(count)]
    places = rng.permutation(total)[: len(gaps)].tolist()
    gap_at = dict(zip(places, gaps, strict=False))
    weights = {name: 2.0 if name in HARD else 1.0 for name in KNOWN}
    for index in range(total):
        captions = CAPTIONS_FIRST if index < CAPTIONS_UNTIL * total else CAPTIONS_LATER
        if index in gap_at:
            make, name = gap_at[index]
            yield make(name, dice)
        elif dice.chance(captions):
            yield Sample(*make_caption(dice, "train"))
        elif dice.chance(TEXT_ONLY / (1 - captions)):
            yield sample_of(dice.pick(tuple(TEXT_KNOWN)), dice)
        else:
            yield sample_of(dice.weighted(weights), dice)


def all_texts(count: int, seed: int) -> Iterator[str]:
    """Texts of every program, gaps and rare shapes too, for the tokenizer: all words become one token."""
    dice = Dice(seed)
    for _ in range(count):
        for name in PROGRAMS:
            example = make_example(name, dice, "train")
            steps = not dice.chance(DIRECT)
            yield prompt_text(example.prompt(steps), example.scene is not None) + reply_text(example.reply(steps))
        _, prompt, reply = make_caption(dice, "train")
        yield prompt_text(prompt, True) + reply_text(reply)


class _Row(NamedTuple):
    ids: list[int]
    answer: list[bool]  # whether the loss reads this token
    scene: Scene | None


def _encode(tokenizer: PreTrainedTokenizerFast, chunk: list[Sample]) -> Iterator[_Row]:
    prompts = [prompt_text(s.prompt, s.scene is not None).replace(IMAGE, IMAGE * IMAGE_TOKENS) for s in chunk]
    heads = tokenizer(prompts)["input_ids"]
    tails = tokenizer([reply_text(s.reply) for s in chunk], return_offsets_mapping=True)
    for sample, head, tail, offsets in zip(chunk, heads, tails["input_ids"], tails["offset_mapping"], strict=True):
        shift = 1  # reply_text puts a space before the reply
        spans = [(a + shift, b + shift) for a, b in sample.unread]
        read = [not any(start < b and end > a for a, b in spans) for start, end in offsets]
        yield _Row(head + tail, [False] * len(head) + read, sample.scene)


def _batch(rows: list[_Row], length: int, pad: int) -> Batch:
    ids = np.full((len(rows), length), pad, dtype=np.int64)
    answer = np.zeros((len(rows), length), dtype=np.bool_)
    pictures = np.zeros((len(rows), SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = row.ids
        answer[i, : len(row.ids)] = row.answer
    shown = [i for i, row in enumerate(rows) if row.scene is not None]
    pictures[shown] = render([row.scene for row in rows if row.scene is not None])
    return Batch(ids, answer, pictures)


def batches(tokenizer: PreTrainedTokenizerFast, total: int, seed: int) -> Iterator[Batch]:
    """The stream in batches; samples that fill no batch at the end are left out."""
    stream = samples(total, seed)
    rng = np.random.default_rng((seed, 1))
    waiting: dict[int, list[_Row]] = {length: [] for length, _ in SHAPES}
    while chunk := [sample for _, sample in zip(range(BUFFER), stream, strict=False)]:
        for row in _encode(tokenizer, chunk):
            waiting[next(length for length, _ in SHAPES if len(row.ids) <= length)].append(row)
        ready = []
        for length, size in SHAPES:
            rows = waiting[length]
            while len(rows) >= size:
                ready.append(_batch(rows[:size], length, tokenizer.pad_token_id))
                del rows[:size]
        yield from (ready[i] for i in rng.permutation(len(ready)))


def _produce(queue: "mp.Queue[Batch | None]", tokenizer: PreTrainedTokenizerFast, total: int, seed: int) -> None:
    try:
        for batch in batches(tokenizer, total, seed):
            queue.put(batch)
    finally:
        queue.put(None)


def streamed(tokenizer: PreTrainedTokenizerFast, total: int, seed: int) -> Iterator[Batch]:
    """`batches`, made in a child process while the caller trains. Raises RuntimeError if that process fails."""
    context = mp.get_context("spawn")
    queue: mp.Queue[Batch | None] = context.Queue(maxsize=256)
    worker = context.Process(target=_produce, args=(queue, tokenizer, total, seed), daemon=True)
    worker.start()
    try:
        while (batch := queue.get()) is not None:
            yield batch
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"the process that makes the training data ended with code {worker.exitcode}")
    finally:
        worker.terminate()
