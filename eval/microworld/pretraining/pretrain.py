"""The recipe of the student: `python -m eval.microworld.pretraining.pretrain --out FOLDER`.

Stage 1 (`seeing`): the tower and projector learn to name what each cell holds. Stage 2: the language model and the
projector learn questions and captions (`mixture`), the tower frozen. bf16 autocast, eager attention, compiled: about
500 samples/s on two cores with AMX. A checkpoint that loads with `from_pretrained` is written every few minutes with a
quick measurement beside it.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from eval.microworld.mixture import SHAPES, Batch, all_texts, streamed
from eval.microworld.pretraining.measuring import accuracy
from eval.microworld.pretraining.optimizer import MuonAdamW, schedule
from eval.microworld.pretraining.seeing import tower_features, train_tower
from eval.microworld.programs import GAP, KNOWN, RARE, TEXT_KNOWN
from eval.microworld.student import IMAGE_TOKENS, make_model, make_processor, save_student, train_tokenizer
from retrieval.storage.files import publish_folder

IMAGE_AT = 3  # tokens before the picture's: "USER", ":" and a space (checked by a test against the tokenizer)
Log = Callable[[dict[str, object]], None]


@dataclass(frozen=True)
class Recipe:
    out: Path
    """Folder for the student (`student`) and, on the way there, its checkpoints."""
    samples: int = 420_000
    """Questions and captions of stage 2."""
    tower_steps: int = 800
    """Batches of 128 scenes in stage 1."""
    lr: float = 2e-3
    seed: int = 0
    save_minutes: float = 3.0
    measure_minutes: float = 5.0
    measured: int = 24
    """Questions of each program in a quick measurement; 0 for none."""
    compiled: bool = True


def loss_of(model: LlavaForConditionalGeneration, ids: Tensor, answer: Tensor, features: Tensor) -> Tensor:
    """Mean cross-entropy over answer tokens. features: [n, 16, 128], unread where ids hold no image."""
    language, length = model.model.language_model, ids.shape[1]
    seen = model.model.multi_modal_projector(features)
    seen = nn.functional.pad(seen, (0, 0, IMAGE_AT, length - IMAGE_AT - IMAGE_TOKENS))
    words = language.embed_tokens(ids)
    embedded = torch.where((ids == model.config.image_token_index)[..., None], seen.to(words.dtype), words)
    hidden = language(inputs_embeds=embedded, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden)[:, :-1].float()
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    wanted = answer[:, 1:].flatten()
    return (losses * wanted).sum() / wanted.sum()


class Trainer:
    """Stage 2: one step a batch, checkpoints and measurements by the clock."""

    def __init__(
        self, recipe: Recipe, model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, log: Log
    ) -> None:
        self.recipe, self.model, self.tokenizer, self.log = recipe, model, tokenizer, log
        self.processor = make_processor(tokenizer)
        model.model.vision_tower.requires_grad_(False)
        self.optimizer = MuonAdamW([model.model.multi_modal_projector, model.model.language_model], recipe.lr)
        self.steps = recipe.samples // 59  # batches hold 59 samples on average; the schedule follows samples, see run
        torch._dynamo.config.recompile_limit = 64  # one a batch shape, of two functions
        see, loss = partial(tower_features, model), partial(loss_of, model)
        self.see = torch.compile(see, dynamic=False) if recipe.compiled else see
        self.loss = torch.compile(loss, dynamic=False) if recipe.compiled else loss

    def step(self, batch: Batch, factor: float) -> float:
        ids, answer = torch.from_numpy(batch.ids), torch.from_numpy(batch.answer)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                features = self.see(torch.from_numpy(batch.pictures))
            loss = self.loss(ids, answer, features)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step(factor)
        return float(loss.item())

    def run(self) -> None:
        start = saved = measured = time.monotonic()
        seen, running = 0, 0.0
        for step, batch in enumerate(streamed(self.tokenizer, self.recipe.samples, self.recipe.seed)):
            loss = self.step(batch, self._factor(step, seen))
            seen += len(batch.ids)
            running = loss if step == 0 else 0.99 * running + 0.01 * loss
            now = time.monotonic()
            if step % 100 == 0:
                speed = seen / (now - start)
                self.log({"step": step, "samples": seen, "loss": round(running, 4), "per_second": round(speed)})
            if now - saved > 60 * self.recipe.save_minutes:
                saved = now
                self.save("latest")
            if now - measured > 60 * self.recipe.measure_minutes:
                measured = now
                self.measure(seen)
        self.save("student")
        self.measure(seen)

    def _factor(self, step: int, seen: int) -> float:
        """The schedule runs over samples, as batches differ in size; the warm-up over steps."""
        return schedule(step, self.steps) if step < 40 else schedule(max(40, int(seen / 59)), self.steps)

    def save(self, name: str) -> None:
        """Writes a loadable student to out/name, in place of an older one; it is there whole or not at all."""
        with publish_folder(self.recipe.out / name) as scratch:
            save_student(self.model, self.tokenizer, scratch)

    def measure(self, seen: int) -> None:
        if not self.recipe.measured:
            return
        self.model.eval()
        with torch.autocast("cpu", torch.bfloat16):
            names = [*KNOWN, *GAP, *RARE, *TEXT_KNOWN]
            found = accuracy(self.model, self.processor, names, self.recipe.measured, self.recipe.seed)
        self.model.train()
        known = sum(found[name] for name in KNOWN) / len(KNOWN)
        rounded = {name: round(value, 2) for name, value in found.items()}
        gaps = {name: rounded.pop(name) for name in (*GAP, *RARE)}
        self.log({"samples": seen, "known": round(known, 4), "gaps": gaps, **rounded})


def pretrain(recipe: Recipe, log: Log) -> LlavaForConditionalGeneration:
    """Runs both stages and saves to `recipe.out` / "student"."""
    recipe.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(all_texts(300, recipe.seed))
    model = make_model(tokenizer, recipe.seed)
    log({"recipe": {k: str(v) for k, v in asdict(recipe).items()}, "vocabulary": len(tokenizer), "shapes": SHAPES})
    train_tower(model, recipe.tower_steps, recipe.seed, log)
    Trainer(recipe, model, tokenizer, log).run()
    return model


def print_line(record: dict[str, object]) -> None:
    print(json.dumps({"time": time.strftime("%H:%M:%S"), **record}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=Recipe.samples)
    parser.add_argument("--tower-steps", type=int, default=Recipe.tower_steps)
    parser.add_argument("--lr", type=float, default=Recipe.lr)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    pretrain(Recipe(**vars(parser.parse_args())), print_line)


if __name__ == "__main__":
    main()
