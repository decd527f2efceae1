"""Keep the student writing steps: where tuning has made it stop, its own right rationales join the rehearsal.

Most pools answer in a word. A student tuned on such samples may answer in a word too, and the next round has no steps to
diagnose. The rationales come from the student as it was before any tuning, on samples of the pool whose answer it gets right.
"""

from collections.abc import Sequence
from pathlib import Path

from agent.run.context import Context
from agent.student import Request, prompt_for
from eval.answers import Evaluation
from eval.scorers import make_scorer
from eval.task import Item
from retrieval.pool.pool import Pool
from retrieval.pool.rationale import parse_rationale
from retrieval.storage.files import Log, read_jsonl, read_object

#: Below this share of answers with two steps or more, the student is helped to keep writing them.
LEAST_WITH_STEPS = 0.9


def steps_are_lost(context: Context, number: int) -> bool:
    """Whether too few of a round's answers have steps."""
    found = Evaluation.from_json(read_object(context.folder.round(number) / "evaluation.json"))
    return found.validation.with_steps < LEAST_WITH_STEPS


def without_steps(pool: Pool, ids: Sequence[str]) -> list[str]:
    """Those of the samples that rationales are written for: of one turn, and no steps."""
    samples = (pool.get(each) for each in ids)
    return [sample.id for sample in samples if len(sample.turns) == 1 and not sample.has_steps]


async def write_own_rationales(context: Context, ids: Sequence[str], path: Path) -> None:
    """Write to `path` what the untuned student says to each of these samples that has one turn and no steps, and whether that
    is right. A kill costs one batch.
    """
    pool = context.data.pool
    samples = [pool.get(each) for each in without_steps(pool, ids)]
    gold = {s.id: s.turns[0].answer for s in samples}
    prompt = context.config.student.rationale_prompt
    requests = [
        Request(s.id, prompt_for(prompt, s.question), tuple(pool.image_path(image) for image in s.images))
        for s in samples
    ]
    done = {row["sample"] for row in read_jsonl(path)}
    with Log(path) as log, context.reporter.bar("the student's own rationales") as advance, context.waiting("student"):
        async for reply in context.student.answer(requests, None, done):
            log.append(
                {"schema": 1, "sample": reply.id, "text": reply.text, "right": _right(reply.text, gold[reply.id])}
            )
            done.add(reply.id)
            advance(len(done), len(requests))


def own_rationales(path: Path) -> dict[str, str]:
    """Right rationales by sample; {} where none were needed."""
    return {row["sample"]: row["text"] for row in read_jsonl(path) if row["right"]}


def _right(text: str, gold: str) -> bool:
    rationale = parse_rationale(text)
    if rationale.final is None or not rationale.whole:
        return False
    item = Item("", "", (gold,))
    return bool(make_scorer("exact", [item], 0.0).score(item, rationale.final))
