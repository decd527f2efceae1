"""The teacher finds the wrong step in each wrong rationale and names the skill that is missing."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from itertools import chain

from agent.chat.stream import as_done
from agent.diagnosis.diagnosis import Diagnosis
from agent.diagnosis.gaps import find_gaps, write_form
from agent.diagnosis.locate import make_locator, questions_about
from agent.diagnosis.skills import name_right_skills, right_questions
from agent.evaluation.answering import read_answers
from agent.loop.node import Update, node
from agent.loop.notes import stop_failed
from agent.loop.state import State
from agent.run.context import Context
from agent.run.error_budget import check_teacher
from agent.teacher.asked import Lost
from eval.answers import Answer
from eval.task import Item
from retrieval.errors import AdapterError
from retrieval.storage.files import Log, forget_rows, read_jsonl, write_json


@node(
    inputs=("../../items.jsonl", "../{before}/answers.jsonl"), outputs=("diagnoses.jsonl", "right.jsonl", "gaps.json")
)
async def diagnose(context: Context, state: State) -> Update:
    """Diagnose the errors of the latest adapter, name the skills of right answers, and merge the names into gaps."""
    data, number = context.data, state["round"]
    items = {item.id: item for item in data.items}
    answers = read_answers(context.folder.round(number - 1) / "answers.jsonl")
    errors = _draw(context, [a for a in answers if a.kind in ("wrong", "format")], number, "errors")
    right = _draw(context, [a for a in answers if a.kind == "right"], number, "right")
    await _ask_ahead(context, number, errors, right, items)
    try:
        diagnoses = await diagnose_all(context, number, errors, items)
    except AdapterError as error:  # it was served when it answered, and is not now that it is to judge
        return stop_failed(context, "adapter_refused", error, number)
    named = await _name_right(context, number, right, items)
    gaps = await find_gaps(context, number, diagnoses, named)
    counts = Counter[str](diagnosis.state for diagnosis in diagnoses)
    counts.update(diagnosis.fault for diagnosis in diagnoses if diagnosis.fault)
    counts.update({"errors": len(errors), "format": sum(a.kind == "format" for a in errors)})
    write_json(context.folder.round(number) / "gaps.json", write_form(gaps, counts))
    return {"stop_reason": None if gaps.gaps else "no_gaps"}


def _draw(context: Context, answers: Sequence[Answer], number: int, what: str) -> list[Answer]:
    """At most as many as the configuration says, drawn by the run's seed, in the order of item ids."""
    limits = {"errors": context.config.diagnosis.max_errors, "right": context.config.diagnosis.right_answers}
    limit = limits[what]
    if limit is None or len(answers) <= limit:
        return list(answers)
    chosen = random.Random(f"{context.config.seed}/{number}/{what}").sample(list(answers), limit)
    return sorted(chosen, key=lambda answer: answer.item)


async def _ask_ahead(
    context: Context, number: int, errors: Sequence[Answer], right: Sequence[Answer], items: Mapping[str, Item]
) -> None:
    """Put what can wait to the teacher in batches, errors and right answers together, if batches are wanted."""
    how, seed = context.config.diagnosis, context.config.seed
    wrong = [(items[answer.item], answer) for answer in errors]
    had = [(items[answer.item], answer) for answer in right]
    fits = context.teacher.fits
    with context.waiting("teacher"):
        await context.ask_ahead(
            lambda: chain(questions_about(how, seed, wrong), right_questions(had, how.per_request, fits))
        )


async def diagnose_all(
    context: Context, number: int, errors: Sequence[Answer], items: Mapping[str, Item]
) -> list[Diagnosis]:
    """One request an error, several at a time; those of a killed attempt are not asked for again."""
    path = context.folder.round(number) / "diagnoses.jsonl"
    forget_rows(path, lambda row: bool(row["state"] == "set_aside"))  # they get another chance
    done = {row["item"] for row in read_jsonl(path)}
    waiting = [answer for answer in errors if answer.item not in done]
    config, adapter = context.config, await _load_latest(context, number)
    locate = make_locator(
        config.diagnosis,
        context.teacher,
        context.student,
        config.student.rationale_prompt,
        adapter,
        config.seed,
        [(items[answer.item], answer) for answer in errors],
    )

    async def one(answer: Answer) -> Diagnosis:
        return await locate(number, items[answer.item], answer)

    with Log(path) as log, context.reporter.bar("diagnoses") as advance, context.waiting("teacher"):
        async with aclosing(as_done(waiting, one, config.teacher.concurrency, context.stop)) as results:
            async for diagnosis in results:
                log.append(diagnosis.to_row())
                done.add(diagnosis.item)
                advance(len(done), len(errors))
    if adapter is not None:
        await context.student.drop_adapter(adapter)
    diagnoses = sorted((Diagnosis.from_row(row) for row in read_jsonl(path)), key=lambda diagnosis: diagnosis.id)
    lost = [Lost(each.fault, str(each.reason)) for each in diagnoses if each.state == "set_aside"]
    check_teacher(context.teacher, lost, len(diagnoses), context.config.error_budget, path)
    return diagnoses


async def _load_latest(context: Context, number: int) -> str | None:
    """The name of the adapter that gave the answers, loaded if the student is to judge with it."""
    how = context.config.diagnosis
    if (how.locator, how.judge) != ("answer_switch", "student") or number == 1:
        return None
    name = f"judge-{number - 1:02d}"
    with context.waiting("student"):
        await context.student.load_adapter(name, context.folder.round(number - 1) / "adapter")
    return name


async def _name_right(
    context: Context, number: int, right: Sequence[Answer], items: Mapping[str, Item]
) -> dict[str, list[str]]:
    """The skills that right answers show, by item id."""
    path = context.folder.round(number) / "right.jsonl"
    forget_rows(path, lambda row: bool(row["state"] == "set_aside"))
    pairs = [(items[answer.item], answer) for answer in right]
    with context.reporter.bar("skills of right answers") as advance, context.waiting("teacher"):
        await name_right_skills(context.teacher, pairs, path, context.config.diagnosis.per_request, advance)
    rows = sorted(read_jsonl(path), key=lambda row: str(row["item"]))
    lost = [Lost(row.get("fault"), str(row.get("reason"))) for row in rows if row["state"] == "set_aside"]
    check_teacher(context.teacher, lost, len(rows), context.config.error_budget, path)
    return {row["item"]: row["skills"] for row in rows}
