"""The student answers items: each answer is scored and written when it arrives, and none is asked for twice."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from agent.chat.stream import as_done
from agent.config.schema import RunConfig
from agent.run.console import Advance, Reporter
from agent.run.context import Context
from agent.run.error_budget import check_answers, check_read, check_verdicts, lacks_answer, lacks_verdict
from agent.run.items import read_file
from agent.student import Request, Student, make_student
from agent.student.engine import prompt_for
from agent.teacher.batch.queue import LEAST
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from eval.answers import Answer, Evaluation, evaluate_answers, read_answer
from eval.scorers import Scorer, make_scorer
from eval.task import Item
from retrieval.errors import ConfigError, StudentError
from retrieval.storage.files import (
    Log,
    digest,
    file_digest,
    forget_rows,
    read_jsonl,
    read_text,
    write_json,
    write_text,
)


async def answer_sets(context: Context, folder: Path, number: int, adapter: Path | None) -> Evaluation:
    """Answer validation set and holdout into a round's (or control's) folder; writes evaluation.json last.

    Raises StudentError if more answers are missing than the error budget allows.
    """
    data, start = context.sets, time.monotonic()
    name = None if adapter is None else "-".join(folder.relative_to(context.folder.path).parts)
    with context.waiting("student"):
        if adapter is not None and name is not None:
            await context.student.load_adapter(name, adapter)
    named = {"answers.jsonl": data.items, "holdout.jsonl": data.holdout}
    sets = {folder / file: items for file, items in named.items() if items}
    try:
        answers = await _answer_all(context, sets, name)
    finally:
        if name is not None:
            await context.student.drop_adapter(name)
    figures = [evaluate_answers(each) for each in answers]
    place = None if adapter is None else str(adapter.relative_to(context.folder.path))
    holdout = figures[1] if len(figures) > 1 else None
    evaluation = Evaluation(number, figures[0], holdout, place, time.monotonic() - start)
    write_json(folder / "evaluation.json", evaluation.to_json())
    return evaluation


async def _answer_all(context: Context, sets: Mapping[Path, Sequence[Item]], adapter: str | None) -> list[list[Answer]]:
    """The answers of each set, which goes into the file that it is named by. What the teacher judges of all of them goes into one
    batch. Raises StudentError and TeacherError if too much is missing."""
    budget, prompt = context.config.error_budget, context.config.student.rationale_prompt
    for path, items in sets.items():
        with context.reporter.bar(f"{path.stem} of {len(items)} items") as advance, context.waiting("student"):
            await _ask_student(context.student, items, path, adapter, prompt, context.sets.scorer, advance)
        check_answers(read_answers(path), budget)
    with context.waiting("teacher"):
        await _ask_ahead(context, [_unjudged(items, path) for path, items in sets.items()])
        for path, items in sets.items():
            await _ask_teacher(context.teacher, items, path, context.reporter.bar)
    found = {path: read_answers(path) for path in sets}
    for path, answers in found.items():
        check_verdicts(context.teacher, answers, budget, path)
    return list(found.values())


async def _ask_ahead(context: Context, unjudged: Sequence[Sequence[tuple[Item, Answer]]]) -> None:
    """`Context.ask_ahead` for verdicts. Where so many may take a day, the student does not hold the GPU meanwhile."""
    pairs = [pair for each in unjudged for pair in each]
    if not pairs:
        return
    if context.teacher.has_batches and len(pairs) >= LEAST:
        await context.student.release()
    await context.ask_ahead(lambda: (_verdict_on(item, answer) for item, answer in pairs))


async def answer_items(
    student: Student,
    items: Sequence[Item],
    path: Path,
    adapter: str | None,
    prompt: str,
    scorer: Scorer,
    teacher: Teacher,
    advance: Advance,
) -> None:
    """Append to `path` the answers that are not in it yet, each when it arrives.

    Those that only the teacher can score are written unjudged, and once more with its verdict: the last row of an item counts.
    """
    await _ask_student(student, items, path, adapter, prompt, scorer, advance)
    await _ask_teacher(teacher, items, path, lambda what: nullcontext(advance))


async def _ask_student(
    student: Student,
    items: Sequence[Item],
    path: Path,
    adapter: str | None,
    prompt: str,
    scorer: Scorer,
    advance: Advance,
) -> None:
    by_id = {item.id: item for item in items}
    forget_rows(path, lambda row: lacks_answer(Answer.from_row(row)))  # they get another chance
    done = {row["item"] for row in read_jsonl(path)}
    requests = [Request(item.id, prompt_for(prompt, item.prompt_text), item.images) for item in items]
    with Log(path) as log:
        async for reply in student.answer(requests, adapter, done):
            log.append(read_answer(by_id[reply.id], reply.text, scorer, reply.cut, reply.error).to_row())
            done.add(reply.id)
            advance(len(done), len(items))


def _unjudged(items: Sequence[Item], path: Path) -> list[tuple[Item, Answer]]:
    """What only the teacher can score, and has not; what an earlier attempt got no verdict on gets another chance."""
    by_id = {item.id: item for item in items}
    answers = read_answers(path)
    return [(by_id[each.item], each) for each in answers if each.kind == "unjudged" or lacks_verdict(each)]


async def _ask_teacher(
    teacher: Teacher, items: Sequence[Item], path: Path, bar: Callable[[str], AbstractContextManager[Advance]]
) -> None:
    """Have judged what only the teacher can score. `bar` is opened meanwhile."""
    unjudged = _unjudged(items, path)
    if not unjudged:
        return

    async def judge(pair: tuple[Item, Answer]) -> Answer:
        return await _judge(teacher, *pair)

    with Log(path) as log, bar(f"verdicts on {len(unjudged)} answers") as advance:
        async with aclosing(as_done(unjudged, judge, teacher.config.concurrency, teacher.stop)) as verdicts:
            judged = 0
            async for answer in verdicts:
                log.append(answer.to_row())
                judged += 1
                advance(judged, len(unjudged))


async def _judge(teacher: Teacher, item: Item, answer: Answer) -> Answer:
    asked = await teacher.ask("judge", _verdict_on(item, answer).data, Judged)
    verdict = asked.value.correct if asked.value else None
    return answer.judged(verdict, f"the teacher gave no verdict ({asked.state}: {asked.reason})")


def _verdict_on(item: Item, answer: Answer) -> Question:
    return Question("judge", {"question": item.prompt_text, "gold": list(item.answers), "answer": answer.final}, Judged)


def read_answers(path: Path) -> list[Answer]:
    """The answers in a file, in the order of item ids; of several rows of an item, the last."""
    rows = {row["item"]: row for row in read_jsonl(path)}
    return [Answer.from_row(rows[item]) for item in sorted(rows)]


async def evaluate_file(
    config: RunConfig, items: Path, adapter: Path | None, out: Path | None, reporter: Reporter, limit: int | None = None
) -> dict[str, Any]:
    """`gaptutor evaluate`: answer a test set, outside any run; `out` keeps the answers, and must not be there, unless they are
    those of an attempt at the same that did not come to its end, which goes on.

    All of its items, or the first `limit`, whatever `data.limit` says. What the teacher judged is kept beside `out`, so that it
    is not paid twice. Returns n, right, accuracy, interval (95% Wilson), format, errors, with_steps, the scorer and why it was
    chosen, and set_aside (items that could not be read). Raises DataError if these are more than the error budget allows.
    """
    note = None if out is None else _note_begun(config, items, adapter, out, limit)
    read = read_file(config, items, limit)
    check_read(items, read, config.error_budget)
    scorer = make_scorer(config.data.scorer, read.items, config.data.tolerance)
    with _scratch() as scratch:
        student = make_student(config.student, scratch, lambda line: reporter.say(f"  {escape(line)}"))
        journal = out.with_suffix(".teacher.jsonl") if out else scratch / "teacher.jsonl"
        # Directly, since someone waits for the figures.
        directly = config.teacher.model_copy(update={"batch": False})
        teacher = Teacher(directly, journal, say=lambda line: reporter.say(f"  {escape(line)}"))
        reporter.notes = (teacher.traffic.standing, student.standing)
        path = out or scratch / "answers.jsonl"
        try:
            if adapter is not None:
                await student.load_adapter("evaluated", adapter)
            with reporter.bar(f"{len(read.items)} items") as advance:
                name = "evaluated" if adapter else None
                prompt = config.student.rationale_prompt
                await answer_items(student, read.items, path, name, prompt, scorer, teacher, advance)
            answers = read_answers(path)
            check_answers(answers, config.error_budget)
            check_verdicts(teacher, answers, config.error_budget, path)
        finally:
            await student.close()
            await teacher.close()
    if note is not None:
        note.unlink(missing_ok=True)
    figures = evaluate_answers(answers)
    chosen = {"name": scorer.name, "why": scorer.why}
    return {**asdict(figures), "scorer": chosen, "set_aside": [asdict(each) for each in read.set_aside]}


def _note_begun(config: RunConfig, items: Path, adapter: Path | None, out: Path, limit: int | None) -> Path:
    """Note beside `out` what its answers are of, until they are whole. Raises ConfigError if `out` holds others."""
    note = out.with_name(f".{out.name}.begun.json")
    student = config.student.model_dump(
        mode="json", include={"model", "rationale_prompt", "max_new_tokens", "image_pixels"}
    )
    weights = sorted(adapter.glob("adapter_*")) if adapter else []
    asked = [student, config.data.scorer, config.data.tolerance, str(config.data.images), config.teacher.model, limit]
    # A set that is not there is told of by whoever reads it.
    held = [file_digest(path) for path in (items, *weights) if path.is_file()]
    begun = {"schema": 1, "of": digest([asked, held, adapter is None])}
    if out.exists():
        if not note.exists():
            raise ConfigError(f"{out} is there already; name another file for the answers")
        if read_text(note) != json.dumps(begun):
            raise ConfigError(
                f"{out} was begun with another student, adapter, test set or scorer and is not finished; go on with those, or "
                "name another file for the answers"
            )
    write_text(note, json.dumps(begun))
    return note


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder that goes at the end, unless the student failed: what it says then may name a log in there."""
    folder, failed = Path(tempfile.mkdtemp(prefix="gaptutor-")), False
    try:
        yield folder
    except StudentError:
        failed = True
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)
