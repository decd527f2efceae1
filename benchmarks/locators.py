"""How often each locator finds the step whose correction turns the answer, on the micro-world.

    python -m benchmarks.locators [--tasks …] [--errors N]    # writes benchmarks/locators.md
    python -m benchmarks.locators --speed                     # the student as judge: one error a call, and together

The truth of a wrong answer is an intervention: for k = 1, 2, … the right steps up to and including k are given to the
student as the beginning of its answer, and it goes on from there; the first k (among the steps that it wrote) with
which it ends on the right answer is the step to be found. Answers without one are left out and counted. The expert's
own check of steps is not that truth.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

from agent.chat.stream import all_done
from agent.cli.microworld import SETTINGS
from agent.config.schema import DiagnosisConfig, StudentConfig, TeacherConfig
from agent.diagnosis.locate import make_locator
from agent.diagnosis.switch import StudentJudge, switchable
from agent.student import Request, Student
from agent.student.embedded import EmbeddedStudent
from agent.teacher.client import Teacher
from eval.answers import Answer, read_answer
from eval.microworld import WEIGHTS
from eval.microworld.expert import make_app
from eval.microworld.export import write_items
from eval.microworld.tasks import load_task, task_examples, task_names
from eval.scorers import make_scorer
from eval.statistics import wilson
from eval.task import Item, load_items
from retrieval.pool.rationale import write_rationale
from retrieval.storage.files import write_text

HERE = Path(__file__).parent
PROMPT = SETTINGS["student"]["rationale_prompt"]
#: Experts by the share (per cent) of their verdicts that is flipped; a teacher's `app` names an attribute of this module.
expert_0, expert_15, expert_30 = make_app(), make_app(wrong=0.15), make_app(wrong=0.30)
FLIPPED = (0, 15, 30)
#: Locator and judge, how they are called, and the paper's share (per cent) where it has one.
LOCATORS = (
    ("answer_switch", "student", "answer_switch, student", None),
    ("answer_switch", "teacher", "answer_switch, teacher", 65),
    ("per_step", "student", "per_step", 28),
    ("single_pass", "student", "single_pass", None),
    ("random_step", "student", "random_step", 7),
)
REFERENCE_MATCHING = 59
SEED = 0


@dataclass(frozen=True)
class Error:
    """A wrong answer with steps, and the right ones."""

    item: Item
    answer: Answer
    right: tuple[str, ...]


class Counts(NamedTuple):
    """Wrong answers of all tasks: all of them, those without steps or a final answer, those that no step turns."""

    wrong: int
    bare: int
    unturned: int


class Found(NamedTuple):
    """What a locator came to on `of` errors: steps that are the truth, diagnoses by state, and what it asked for."""

    right: int
    of: int
    not_located: int
    set_aside: int
    requests: float
    tokens: float


async def wrong_answers(student: Student, task: str, folder: Path, most: int | None) -> tuple[list[Error], int]:
    """The first `most` wrong answers to a task's validation set that have steps, and how many wrong ones there were."""
    items = load_items(write_items(load_task(task), "validation", folder / task)).items
    examples = task_examples(load_task(task), "validation")
    right = {
        item.id: tuple(step.text for step in each.solution.steps) for item, each in zip(items, examples, strict=True)
    }
    answers = await _answers(student, items, [_request(item, item.id, "") for item in items])
    wrong = [(item, answers[item.id]) for item in items if not answers[item.id].correct]
    errors = [Error(item, answer, right[item.id]) for item, answer in wrong if switchable(answer)]
    return errors[:most], len(wrong)


async def turning_steps(student: Student, errors: Sequence[Error]) -> dict[str, int]:
    """The first step (1-based) of each item whose correction turns its answer; items without one are not in it."""
    requests = [
        _request(error.item, f"{error.item.id}/{count}", write_rationale(error.right[:count]) + "\n")
        for error in errors
        for count in range(1, min(len(error.answer.steps), len(error.right)) + 1)
    ]
    answers = await _answers(student, [error.item for error in errors], requests)
    found: dict[str, int] = {}
    for request in requests:
        item, _, count = request.id.rpartition("/")
        if answers[request.id].correct:
            found.setdefault(item, int(count))
    return found


def _request(item: Item, name: str, prefix: str) -> Request:
    return Request(name, PROMPT.replace("{question}", item.prompt_text), item.images, prefix)


async def _answers(student: Student, items: Sequence[Item], requests: Sequence[Request]) -> dict[str, Answer]:
    """Scored answers by the ids of requests, which are those of items or begin with them; the prefix counts as said."""
    by_id, prefixes = {item.id: item for item in items}, {request.id: request.prefix for request in requests}
    scorer = make_scorer("exact", list(items), 0.0)
    return {
        reply.id: read_answer(by_id[reply.id.partition("/")[0]], prefixes[reply.id] + reply.text, scorer, reply.cut)
        async for reply in student.answer(requests)
    }


async def measure(
    student: Student, errors: Sequence[Error], truth: dict[str, int], locator: str, judge: str, flipped: int
) -> Found:
    """Run a locator over the errors with an expert of whose verdicts so many per cent are flipped."""
    config = DiagnosisConfig.model_validate({"locator": locator, "judge": judge})
    endpoint = TeacherConfig(model="expert", app=f"benchmarks.locators:expert_{flipped}")
    with TemporaryDirectory() as folder:
        teacher = Teacher(endpoint, Path(folder) / "journal.jsonl")
        try:
            pairs = [(error.item, error.answer) for error in errors]
            locate = make_locator(config, teacher, student, PROMPT, None, SEED, pairs)
            found = await all_done(pairs, lambda pair: locate(1, *pair), endpoint.concurrency)
            usage = teacher.usage()
        finally:
            await teacher.close()
    right = sum(each.step == truth[each.item] for each in found)
    states = [each.state for each in found]
    count = max(len(found), 1)
    lost = states.count("not_located"), states.count("set_aside")
    return Found(right, len(found), *lost, usage.calls / count, usage.tokens / count)


def row(label: str, paper: int | None, found: Sequence[Found]) -> str:
    """A locator's row of the table: a share for each expert, and what it takes with the first."""
    shares = []
    for each in found:
        low, high = wilson(each.right, each.of)
        shares.append(f"{100 * each.right / max(each.of, 1):.1f} ({100 * low:.1f}–{100 * high:.1f})")
    told = f"{found[0].not_located} | {found[0].requests:.1f} | {found[0].tokens:,.0f}"
    return f"| {label} | {' | '.join(shares)} | {told} | {f'{paper}%' if paper else '–'} |"


def page(command: str, rows: Sequence[str], counts: Counts, turned: int) -> str:
    """The page of the table."""
    head = f"{' | '.join(f'{share}% flipped' for share in FLIPPED)} | not located | requests | tokens | paper |"
    return "\n".join(
        [
            "# Finding the step whose correction turns the answer",
            "",
            f"`{command}`",
            "",
            f"Wrong answers of the shipped student to the validation sets: {counts.wrong}. Left out: {counts.bare} without",
            f"steps or a final answer (or past `--errors`), {counts.unturned} that no corrected step turns. Measured: {turned}.",
            "Shares in per cent with 95% Wilson intervals, with the expert as it is and with 15% and 30% of its verdicts",
            "flipped; requests and tokens are per item, with the expert as it is, naming the skill included.",
            "",
            f"| locator | {head}",
            f"|---|{'---|' * (len(FLIPPED) + 4)}",
            *rows,
            "",
            "The paper's figures are of its own data and models; matching with a reference rationale, not built here, comes",
            f"to {REFERENCE_MATCHING}% there.",
            "A rule-based expert favours asking for verdicts: see [docs/teacher.md](../docs/teacher.md#which-one-to-take).",
            "",
        ]
    )


async def gather_errors(
    student: Student, tasks: Sequence[str], folder: Path, most: int | None
) -> tuple[list[Error], int]:
    """The errors of all tasks, under ids of their own, and how many wrong answers there were."""
    errors, wrong = [], 0
    for task in tasks:
        some, count = await wrong_answers(student, task, folder, most)
        errors += some
        wrong += count
    return errors, wrong


async def locators(tasks: Sequence[str], most: int | None, command: str) -> str:
    """The whole page."""
    student = _student()
    with TemporaryDirectory() as folder:
        try:
            errors, wrong = await gather_errors(student, tasks, Path(folder), most)
            truth = await turning_steps(student, errors)
            kept = [error for error in errors if error.item.id in truth]
            rows = []
            for locator, judge, label, paper in LOCATORS:
                found = [await measure(student, kept, truth, locator, judge, flipped) for flipped in FLIPPED]
                rows.append(row(label, paper, found))
                print(rows[-1], flush=True)
        finally:
            await student.close()
    counts = Counts(wrong, wrong - len(errors), len(errors) - len(kept))
    return page(command, rows, counts, len(kept))


async def speed(tasks: Sequence[str], most: int | None, pairs: int = 3) -> str:
    """Errors a second that the student judges, one call an error and together, in alternated pairs after a warm-up."""
    student = _student()
    with TemporaryDirectory() as folder:
        try:
            errors = [(e.item, e.answer) for e in (await gather_errors(student, tasks, Path(folder), most))[0]]
            rates: dict[str, list[float]] = {"one by one": [], "together": []}
            for number in range(pairs + 1):
                for way, known in (("one by one", []), ("together", errors)):
                    judge = StudentJudge(student, PROMPT, None, known)
                    start = time.perf_counter()
                    await all_done(errors, lambda error, judge=judge: judge(*error), 16)
                    if number:
                        rates[way].append(len(errors) / (time.perf_counter() - start))
        finally:
            await student.close()
    return f"{len(errors)} errors; items a second (median of {pairs}): " + ", ".join(
        f"{way} {median(found):.1f}" for way, found in rates.items()
    )


def _student() -> Student:
    return EmbeddedStudent(StudentConfig.model_validate({**SETTINGS["student"], "model": str(WEIGHTS)}))


def main() -> None:
    """Measure, print, and write benchmarks/locators.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=task_names())
    parser.add_argument("--errors", type=int, help="at most so many errors of each task")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "locators.md")
    given = parser.parse_args()
    if given.speed:
        print(asyncio.run(speed(given.tasks, given.errors)))
        return
    command = "python -m benchmarks.locators" + (f" --errors {given.errors}" if given.errors else "")
    command += "" if given.tasks == task_names() else f" --tasks {' '.join(given.tasks)}"
    text = asyncio.run(locators(given.tasks, given.errors, command))
    write_text(given.out, text)
    print(text)


if __name__ == "__main__":
    main()
