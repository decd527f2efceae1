"""A fresh adapter is tuned from the base on all that the run has selected so far."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.config import StudentConfig
from agent.context import Context
from agent.node import Update, node
from agent.nodes.decide import note_figures, stop_failed
from agent.rehearsal import own_rationales
from agent.state import State
from retrieval.errors import TuningError
from retrieval.files import read_jsonl, write_jsonl
from retrieval.pool import Pool
from retrieval.rationale import parse_rationale
from retrieval.sample import Sample
from training.job import TuningJob, TuningResult
from training.job import tune as run_tuning


@node(inputs=("selection.jsonl",), outputs=("samples.jsonl", "adapter", "tuning.jsonl"))
async def tune(context: Context, state: State) -> Update:
    """Tune on the union of the selections of rounds 1 to now. A failed tuning ends the loop; the best adapter stays."""
    number = state["round"]
    folder = context.folder.round(number)
    try:
        result = await tune_on(context, union(context, number), folder, _rationales(context, number))
    except TuningError as error:
        return stop_failed(context, "tuning_failed", error, number)
    note_figures(context, round=number, arm="targeted", **asdict(result))
    return {}


def union(context: Context, number: int) -> list[str]:
    """Ids of all samples selected in rounds 1 to `number`, in the order of their selection."""
    return [
        row["sample"]
        for earlier in range(1, number + 1)
        for row in read_jsonl(context.folder.round(earlier) / "selection.jsonl")
    ]


def _rationales(context: Context, number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for earlier in range(1, number + 1):
        found |= own_rationales(context.folder.round(earlier) / "rationales.jsonl")
    return found


async def tune_on(context: Context, ids: Sequence[str], folder: Path, rationales: dict[str, str]) -> TuningResult:
    """Tune an adapter on samples of the pool into `folder`/adapter; `rationales` are the student's own, by sample.

    Raises TuningError; there is then no adapter. Raises StorageError, RunError where the same tuning may go on later.
    """
    data, config = await context.ready(), context.config
    rows = [training_row(context, data.pool, data.pool.get(each), rationales.get(each)) for each in ids]
    write_jsonl(folder / "samples.jsonl", rows)
    await context.student.release()
    job = TuningJob(
        model=config.student.model,
        samples=folder / "samples.jsonl",
        out=folder / "adapter",
        seed=config.seed,
        trust_remote_code=config.student.trust_remote_code,
        **config.tuning.model_dump(),
    )
    with context.reporter.bar(f"tuning on {len(rows)} samples") as advance, context.waiting("tuning"):
        return await run_tuning(job, lambda progress: advance(progress.step, progress.steps))


def training_row(context: Context, pool: Pool, sample: Sample, rationale: str | None) -> dict[str, Any]:
    """A sample as it is trained: each answer with steps under the rationale prompt, each without under the direct prompt."""
    answers = [turn.answer for turn in sample.turns]
    if rationale is not None:
        answers[-1] = rationale
    turns = [
        [_prompt(context.config.student, answer).replace("{question}", turn.question), answer]
        for turn, answer in zip(sample.turns, answers, strict=True)
    ]
    return {"id": sample.id, "turns": turns, "images": [str(pool.image_path(image)) for image in sample.images]}


def _prompt(student: StudentConfig, answer: str) -> str:
    return student.rationale_prompt if len(parse_rationale(answer).steps) >= 2 else student.direct_prompt
