"""The teacher names the skills of the pool's samples, once for all runs."""

from pathlib import Path

from rich.markup import escape

from agent.diagnosis.skills import annotate, pool_questions
from agent.run.context import Context
from agent.run.error_budget import check_teacher
from agent.run.folder import POOL_COSTS
from agent.teacher.asked import Lost
from agent.teacher.client import Teacher
from retrieval.errors import DataError
from retrieval.pool.pool import Pool
from retrieval.storage.files import clear_scratch, forget_rows, read_jsonl


async def annotate_pool(context: Context, pool: Pool, folder: Path) -> dict[str, list[str]]:
    """Skills of every sample that the teacher could name them for, from skills.jsonl; those missing are asked for.

    Raises BudgetError, and TeacherError if more samples are set aside than the error budget allows.
    """
    path = folder / "skills.jsonl"
    clear_scratch(folder)
    try:
        read_jsonl(path)
    except DataError as error:  # what was paid for is in the journal
        context.reporter.say(
            f"  [yellow]the names of the pool's skills are written again: {escape(str(error))}[/yellow]"
        )
        path.unlink()
    forget_rows(path, lambda row: bool(row["state"] == "set_aside"))  # they get another chance
    context.teacher.load()  # what this run spent before counts first
    teacher = Teacher(
        context.config.teacher,
        folder / "teacher.jsonl",
        scope=f"pool for {context.folder.id}",
        budget=context.teacher.budget,
        costs=context.folder.path / POOL_COSTS,
        prompts=context.teacher.prompts,
        learned=context.teacher.learned,
        say=context.teacher.say,
        stop=context.stop,
        traffic=context.teacher.traffic,
    )
    size = context.config.diagnosis.per_request
    try:
        # A set of texts did not show it a picture; the pool is the larger part of the bill.
        left = pool_questions(pool, path, size, teacher.fits)
        if not teacher.has_seen and any(question.images for question in left):
            await teacher.check_sees()
        await context.ask_ahead(lambda: pool_questions(pool, path, size, teacher.fits), teacher)
        with context.reporter.bar("naming the pool's skills") as advance:
            await annotate(teacher, pool, path, size, advance)
    finally:
        await teacher.close()
        this_run = teacher.paid()._asdict()
        context.folder.status(annotation={**teacher.usage()._asdict(), "this_run": this_run})
    rows = read_jsonl(path)
    lost = [Lost(row.get("fault"), str(row.get("reason"))) for row in rows if row["state"] == "set_aside"]
    check_teacher(teacher, lost, len(rows), context.config.error_budget, path)
    return {row["sample"]: row["skills"] for row in rows if row["state"] == "named"}
