"""Tuning itself, inside the child process: model, adapter, transformers' Trainer, checkpoints, the checks before
publishing."""

import math
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from retrieval.errors import TuningError
from retrieval.storage.files import Log, iter_jsonl, read_jsonl, write_json, write_jsonl
from training.child.job import TuningJob
from training.data.batches import MicroBatches, plan_steps
from training.data.chat import IGNORED, ChatFormat
from training.data.collate import Collator
from training.data.rows import Prepared, prepare
from training.families.families import family_of, load_model, load_processor, resolve_dtype, stop_tokens, target_pattern
from training.families.fused import fuse
from training.lora.probes import write_probes
from training.lora.saving import saving

#: Rows of the log over a whole tuning, about.
ROWS = 200
#: Written into a checkpoint when it is whole; one without it is not used.
WHOLE = "whole.json"


def run(job: TuningJob, stopping: Callable[[], bool], strict: bool = True) -> bool:
    """Do the job, from its last whole checkpoint if there is one. True at the end, False if `stopping` asked to leave
    before.

    `strict`: an operation that has no deterministic form on this GPU raises RuntimeError. Raises TuningError if nothing, or less
    than the error budget allows, can be tuned on, the loss is not finite or the adapter does nothing.
    """
    if torch.cuda.is_available():  # CPU kernels give the same bits anyway
        torch.use_deterministic_algorithms(True, warn_only=not strict)
        # Nothing here reads what it has not written, so that new tensors need not be filled (benchmarks/repeats.md).
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined,unused-ignore]
    set_seed(job.seed)
    dtype = resolve_dtype(job.dtype)
    processor = load_processor(job.model, job.trust_remote_code)
    # On CPUs the backward pass of eager attention is the faster one.
    attention = "sdpa" if torch.cuda.is_available() else "eager"
    model = load_model(job.model, dtype, attention, job.trust_remote_code)
    arguments = _arguments(job, dtype)
    model.to(arguments.device).requires_grad_(False)
    family = family_of(model.config)
    chat = ChatFormat(processor, stop_tokens(model, processor))
    scratch = job.work / f"features-{arguments.process_index}.bin"
    data = prepare(job.samples, model, processor, chat, family, job.max_length, scratch, job.image_pixels, job.take)
    _check(data, job)
    trainer = _trainer(job, _adapted(model, job, target_pattern(model, family)), data, processor, arguments)
    trainer.remove_callback(PrinterCallback)
    keeper = Keeper(job, trainer, stopping)
    trainer.add_callback(keeper)
    trainer.train(resume_from_checkpoint=keeper.resume())
    keeper.log.close()
    done = trainer.state.global_step >= arguments.max_steps
    if done and trainer.is_world_process_zero():
        _finish(job, trainer.model, processor, data, arguments.max_steps)
    # Together, and before Python ends: a process group that is still there then aborts the process now and then.
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()
    return bool(done)


def _check(data: Prepared, job: TuningJob) -> None:
    if not data.samples:
        why = f"; the first: sample {data.set_aside[0].sample}: {data.set_aside[0].reason}" if data.set_aside else ""
        raise TuningError(
            f"none of the samples in {job.samples} can be tuned on ({len(data.set_aside)} set aside{why})"
        )
    total = len(data.samples) + len(data.set_aside)
    if len(data.set_aside) > job.error_budget * total:
        first = data.set_aside[0]
        raise TuningError(
            f"{len(data.set_aside)} of {total} samples cannot be tuned on, more than error_budget {job.error_budget:.0%}; the "
            f"first: sample {first.sample}: {first.reason}; mend that, or raise tuning.max_length or error_budget"
        )
    if len(data.samples) < job.processes:
        raise TuningError(
            f"{len(data.samples)} samples cannot be shared by {job.processes} processes; lower tuning.processes"
        )


def _adapted(model: Any, job: TuningJob, pattern: str) -> Any:
    # Seeded again: how many numbers loading the model drew must not decide how the adapter begins.
    set_seed(job.seed)
    config = LoraConfig(r=job.rank, lora_alpha=job.alpha, lora_dropout=job.dropout, target_modules=pattern, bias="none")
    adapted = get_peft_model(model, config)
    fuse(adapted)
    return adapted


def _arguments(job: TuningJob, dtype: torch.dtype) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(job.work),
        use_cpu=not torch.cuda.is_available(),
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        learning_rate=job.learning_rate,
        weight_decay=0.0,
        num_train_epochs=1,
        per_device_train_batch_size=job.micro,
        seed=job.seed,
        data_seed=job.seed,
        save_strategy="no",
        save_total_limit=2,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )


def _trainer(
    job: TuningJob, model: Any, data: Prepared, processor: Any, arguments: TrainingArguments
) -> "AnswerTrainer":
    plan = plan_steps([len(sample.ids) for sample in data.samples], job.epochs, job.batch_size, job.seed)
    share = len(plan[0]) // job.processes
    arguments.gradient_accumulation_steps = max(1, math.ceil(share / job.micro))
    arguments.max_steps = len(plan)
    batches = MicroBatches(plan, arguments.gradient_accumulation_steps, arguments.world_size, arguments.process_index)
    loader: Any = DataLoader(
        cast(Any, data.samples), batch_sampler=batches, collate_fn=Collator(processor, data.table, job.image_pixels)
    )
    return AnswerTrainer(job=job, loader=loader, model=model, args=arguments)


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer on our batches, with the loss on the answers' tokens only and logits only where it reads
    them."""

    def __init__(self, job: TuningJob, loader: Any, **rest: Any) -> None:
        super().__init__(**rest)
        self.job = job
        self.loader = loader
        self.lr_scheduler: Any
        self.step_loss = torch.zeros((), device=self.args.device)
        # Makes the Trainer count the answer tokens of the whole step, so that micro-batches of any size add up to
        # the same mean.
        self.model_accepts_loss_kwargs = True

    def get_train_dataloader(self) -> Any:
        """Our batches as they are: each process has its own share already."""
        return self.loader

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: it would walk through the whole model at every step."""
        return 0

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Linear warm-up over `warmup` of the steps, then half a cosine down to zero. The first step is never at
        zero."""
        if self.lr_scheduler is None:
            warm = math.ceil(self.job.warmup * num_training_steps)
            rest = max(1, num_training_steps - warm)

            def share(step: int) -> float:
                if step < warm:
                    return (step + 1) / warm
                return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / rest)))

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross entropy summed over this micro-batch's answer tokens, divided by those of the whole step over all
        processes."""
        labels = inputs.pop("labels")
        features = inputs.pop("features", None)
        if "inputs_embeds" not in inputs and features is not None:
            inputs["inputs_embeds"] = self._embed(inputs.pop("input_ids"), inputs.pop("image_mask"), features)
        reads = (labels[:, 1:] != IGNORED).any(dim=0).nonzero().flatten()
        logits = model(**inputs, logits_to_keep=reads, use_cache=False).logits
        wanted = labels[:, reads + 1]
        read = wanted != IGNORED
        loss = torch.nn.functional.cross_entropy(logits[read].float(), wanted[read], reduction="sum")
        return loss / num_items_in_batch * self.args.world_size

    @torch.no_grad()
    def _embed(self, ids: torch.Tensor, mask: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Token embeddings (samples, longest, hidden) with the images' features (rows, hidden) in the places of
        `mask`."""
        embedded: torch.Tensor = self.model.get_input_embeddings()(ids)
        embedded[mask] = features.to(embedded.dtype)
        return embedded

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with saving(self.job.work):
            super()._save_checkpoint(model, trial)

    def training_step(self, *inputs: Any, **named: Any) -> torch.Tensor:
        """As the Trainer's; the step's loss is added up for the log."""
        loss: torch.Tensor = super().training_step(*inputs, **named)
        self.step_loss += loss
        return loss


class Keeper(TrainerCallback):  # type: ignore[misc]
    """Keeps the log and the checkpoints, and stops what has gone wrong or is told to stop."""

    def __init__(self, job: TuningJob, trainer: AnswerTrainer, stopping: Callable[[], bool]) -> None:
        self.job = job
        self.trainer = trainer
        self.stopping = stopping
        self.every = max(1, trainer.args.max_steps // ROWS)
        self.seconds_before = 0.0
        self.log: Any = None

    def resume(self) -> str | None:
        """The last whole checkpoint; the log is cut back to it."""
        found = sorted(int(mark.parent.name.rsplit("-", 1)[1]) for mark in self.job.work.glob(f"checkpoint-*/{WHOLE}"))
        step = found[-1] if found else 0
        if self.trainer.is_world_process_zero():
            kept = [row for row in read_jsonl(self.job.log_path) if row["step"] <= step]
            write_jsonl(self.job.log_path, kept)
            self.log = Log(self.job.log_path)
            self.seconds_before = kept[-1]["seconds"] if kept else 0.0
        else:
            self.log = _NoLog()
        self.began = self.saved = time.monotonic()
        return str(self.job.work / f"checkpoint-{step}") if step else None

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Write a row now and then; ask for a checkpoint when it is time, or when told to leave."""
        if state.global_step % self.every == 0 or state.global_step in (1, state.max_steps):
            self._write_row(state)
        self.trainer.step_loss.zero_()
        late = time.monotonic() - self.saved >= self.job.checkpoint_minutes * 60
        stop = self.stopping()
        late, stop = self._agreed(late, stop)
        if stop and state.global_step < state.max_steps:
            control.should_training_stop = True
        if stop or (late and state.global_step < state.max_steps):
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Mark the checkpoint as whole once every process has written its part."""
        self.trainer.accelerator.wait_for_everyone()
        if self.trainer.is_world_process_zero():
            write_json(
                self.job.work / f"checkpoint-{state.global_step}" / WHOLE, {"schema": 1, "step": state.global_step}
            )
        self.saved = time.monotonic()

    def _agreed(self, late: bool, stop: bool) -> tuple[bool, bool]:
        """What the first process wants, in all processes: they save and stop together."""
        if self.trainer.args.world_size == 1:
            return late, stop
        wish = torch.tensor([late, stop], dtype=torch.int64, device=self.trainer.args.device)
        torch.distributed.broadcast(wish, 0)
        return bool(wish[0]), bool(wish[1])

    def _write_row(self, state: Any) -> None:
        loss = float(self.trainer.accelerator.reduce(self.trainer.step_loss, "mean"))
        if not math.isfinite(loss):
            raise TuningError(
                f"the loss is {loss} at step {state.global_step}; lower tuning.learning_rate or use float32"
            )
        self.log.append(
            {
                "schema": 1,
                "step": state.global_step,
                "steps": state.max_steps,
                "loss": loss,
                "lr": self.trainer.lr_scheduler.get_last_lr()[0],
                "samples": state.global_step * min(self.job.batch_size, len(self.trainer.loader.dataset)),
                "seconds": round(self.seconds_before + time.monotonic() - self.began, 3),
            }
        )


class _NoLog:
    """The log of the processes that keep none."""

    def append(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def _finish(job: TuningJob, model: PeftModel, processor: Any, data: Prepared, steps: int) -> None:
    """Check the adapter and leave it, with the result, for the parent to publish; the result is written last."""
    weights = [value for name, value in model.named_parameters() if "lora_" in name]
    if not all(bool(value.isfinite().all()) for value in weights):
        raise TuningError("the tuned adapter holds numbers that are not finite; lower tuning.learning_rate")
    if not any(bool(value.any()) for name, value in model.named_parameters() if "lora_B" in name):
        raise TuningError(
            "the tuned adapter is all zeros and would change nothing; raise tuning.learning_rate or tuning.epochs"
        )
    folder = job.work / "adapter"
    with saving(folder):
        model.save_pretrained(str(folder), safe_serialization=True)
    for extra in folder.iterdir():
        if extra.name not in ("adapter_config.json", "adapter_model.safetensors"):
            extra.unlink()
    tuned = {sample.id for sample in data.samples}
    write_probes(
        model, processor, [row for row in iter_jsonl(job.samples) if row["id"] in tuned], folder, job.image_pixels
    )
    rows = read_jsonl(job.log_path)
    result = {
        "steps": steps,
        "samples": len(data.samples),
        "set_aside": len(data.set_aside),
        "seconds": rows[-1]["seconds"],
        "loss_first": rows[0]["loss"],
        "loss_last": rows[-1]["loss"],
        "micro_batch_size": job.micro,
    }
    aside = [{"sample": one.sample, "reason": one.reason} for one in data.set_aside]
    write_json(job.work / "result.json", {"schema": 1, "result": result, "set_aside": aside})
