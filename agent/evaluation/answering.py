"""The student answers items: each answer is scored and written when it arrives, and none is asked for twice."""

import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape

from agent.chat.stream import as_done
from agent.config.schema import RunConfig
from agent.run.console import Advance, Reporter
from agent.run.context import Context
from agent.run.error_budget import check_answers, check_read
from agent.run.items import read_file
from agent.student import Request, Student, make_student
from agent.student.engine import prompt_for
from agent.teacher.batch.queue import LEAST
from agent.teacher.batch.sending import Questions
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import Judged
from agent.teacher.request import Question
from eval.answers import Answer, Evaluation, Figures, evaluate_answers, read_answer
from eval.scorers import Scorer, make_scorer
from eval.task import Item
from retrieval.errors import ConfigError, StudentError
from retrieval.storage.files import Log, forget_rows, read_jsonl, write_json


async def answer_sets(context: Context, folder: Path, number: int, adapter: Path | None) -> Evaluation:
    """Answer validation set and holdout into a round's (or control's) folder; writes evaluation.json last.

    Raises StudentError if more answers are missing than the error budget allows.
    """
    data, start = context.sets, time.monotonic()
    name = None if adapter is None else "-".join(folder.relative_to(context.folder.path).parts)
    with context.waiting("student"):
        if adapter is not None and name is not None:
            await context.student.load_adapter(name, adapter)
    sets = {"answers.jsonl": data.items, "holdout.jsonl": data.holdout}
    figures: list[Figures] = []
    try:
        for file, items in sets.items():
            if items:
                figures.append(evaluate_answers(await _answer_set(context, items, folder / file, name)))
    finally:
        if name is not None:
            await context.student.drop_adapter(name)
    place = None if adapter is None else str(adapter.relative_to(context.folder.path))
    holdout = figures[1] if len(figures) > 1 else None
    evaluation = Evaluation(number, figures[0], holdout, place, time.monotonic() - start)
    write_json(folder / "evaluation.json", evaluation.to_json())
    return evaluation


async def _answer_set(context: Context, items: Sequence[Item], path: Path, adapter: str | None) -> list[Answer]:
    with context.reporter.bar(f"{path.stem} of {len(items)} items") as advance, context.waiting("student"):
        prompt = context.config.student.rationale_prompt
        await _ask_student(context.student, items, path, adapter, prompt, context.sets.scorer, advance)
    with context.waiting("teacher"):
        await _ask_teacher(
            context.teacher,
            items,
            path,
            lambda questions, count: _ask_ahead(context, questions, count),
            context.reporter.bar,
        )
    answers = read_answers(path)
    check_answers(answers, context.config.error_budget)
    return answers


async def _ask_ahead(context: Context, questions: Questions, count: int) -> None:
    """`Context.ask_ahead`. Where so many questions may take a day, the student does not hold the GPU meanwhile."""
    if context.teacher.has_batches and count >= LEAST:
        await context.student.release()
    await context.ask_ahead(questions)


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
    await _ask_teacher(
        teacher, items, path, lambda questions, count: teacher.ask_ahead(questions), lambda what: nullcontext(advance)
    )


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
    forget_rows(path, lambda row: bool(row["kind"] == "error"))  # they get another chance
    done = {row["item"] for row in read_jsonl(path)}
    requests = [Request(item.id, prompt_for(prompt, item.prompt_text), item.images) for item in items]
    with Log(path) as log:
        async for reply in student.answer(requests, adapter, done):
            log.append(read_answer(by_id[reply.id], reply.text, scorer, reply.cut, reply.error).to_row())
            done.add(reply.id)
            advance(len(done), len(items))


async def _ask_teacher(
    teacher: Teacher,
    items: Sequence[Item],
    path: Path,
    ask_ahead: Callable[[Questions, int], Awaitable[None]],
    bar: Callable[[str], AbstractContextManager[Advance]],
) -> None:
    """Have judged what only the teacher can score; `ask_ahead` gets these questions, and how many they are, first. `bar` is
    opened while they are asked."""
    by_id = {item.id: item for item in items}
    unjudged = [answer for answer in read_answers(path) if answer.kind == "unjudged"]
    if not unjudged:
        return

    async def judge(answer: Answer) -> Answer:
        return await _judge(teacher, by_id[answer.item], answer)

    await ask_ahead(lambda: (_verdict_on(by_id[answer.item], answer) for answer in unjudged), len(unjudged))
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
    """`gaptutor evaluate`: answer a test set, outside any run; `out` keeps the answers, and must not be there.

    All of its items, or the first `limit`, whatever `data.limit` says. What the teacher judged is kept beside `out`, so that it
    is not paid twice. Returns n, right, accuracy, interval (95% Wilson), format, errors, with_steps, the scorer and why it was
    chosen, and set_aside (items that could not be read). Raises DataError if these are more than the error budget allows.
    """
    if out is not None and out.exists():
        raise ConfigError(f"{out} is there already; name another file for the answers")
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
        finally:
            await student.close()
            await teacher.close()
        answers = read_answers(path)
    check_answers(answers, config.error_budget)
    figures = evaluate_answers(answers)
    chosen = {"name": scorer.name, "why": scorer.why}
    return {**asdict(figures), "scorer": chosen, "set_aside": [asdict(each) for each in read.set_aside]}


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
