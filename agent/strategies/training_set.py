"""A training set: the union of what rounds selected, as rows under the prompts that they are trained with, and its tuning."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.config.schema import StudentConfig
from agent.run.context import Context
from agent.strategies.rehearsal import own_rationales
from agent.student.engine import prompt_for
from retrieval.pool.pool import Pool
from retrieval.pool.rationale import parse_rationale
from retrieval.pool.sample import Sample
from retrieval.storage.files import read_jsonl, write_jsonl
from training.child.job import TuningJob, TuningResult
from training.child.job import tune as run_tuning


def union(context: Context, number: int) -> list[str]:
    """Ids of all samples selected in rounds 1 to `number`, in the order of their selection."""
    return [
        row["sample"]
        for earlier in range(1, number + 1)
        for row in read_jsonl(context.folder.round(earlier) / "selection.jsonl")
    ]


def rationales_until(context: Context, number: int) -> dict[str, str]:
    """The student's own right rationales that rounds 1 to `number` wrote, by sample."""
    found: dict[str, str] = {}
    for earlier in range(1, number + 1):
        found |= own_rationales(context.folder.round(earlier) / "rationales.jsonl")
    return found


async def tune_on(
    context: Context, ids: Sequence[str], folder: Path, rationales: dict[str, str], take: int | None = None
) -> TuningResult:
    """Tune an adapter on samples of the pool into `folder`/adapter; `rationales` are the student's own, by sample. With `take`,
    on the first so many that can be tuned on.

    Raises TuningError; there is then no adapter. Raises StorageError, RunError where the same tuning may go on later, and
    StoppedError, with a checkpoint saved, when a stop is asked for.
    """
    data, config = context.data, context.config
    rows = [training_row(context, data.pool, data.pool.get(each), rationales.get(each)) for each in ids]
    write_jsonl(folder / "samples.jsonl", rows)
    await context.student.release()
    job = TuningJob(
        model=config.student.model,
        samples=folder / "samples.jsonl",
        out=folder / "adapter",
        seed=config.seed,
        trust_remote_code=config.student.trust_remote_code,
        image_pixels=config.student.image_pixels,
        error_budget=config.error_budget,
        take=take,
        **config.tuning.model_dump(),
    )
    with context.reporter.bar(f"tuning on {len(rows)} samples") as advance, context.waiting("tuning"):
        return await context.stop.cut_short(run_tuning(job, lambda progress: advance(progress.step, progress.steps)))


def training_row(context: Context, pool: Pool, sample: Sample, rationale: str | None) -> dict[str, Any]:
    """A sample as it is trained: each answer with steps under the rationale prompt, each without under the direct prompt."""
    answers = [turn.answer for turn in sample.turns]
    if rationale is not None:
        answers[-1] = rationale
    turns = [
        [prompt_for(_prompt(context.config.student, answer), turn.question), answer]
        for turn, answer in zip(sample.turns, answers, strict=True)
    ]
    return {"id": sample.id, "turns": turns, "images": [str(pool.image_path(image)) for image in sample.images]}


def _prompt(student: StudentConfig, answer: str) -> str:
    return student.rationale_prompt if parse_rationale(answer).whole else student.direct_prompt
