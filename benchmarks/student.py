"""Whether the student that ships has the skills and the gaps that the micro-world promises: `python -m benchmarks.student`.

Per question program: share of right answers to fresh questions that show digits of the validation scans. Per task: which step
skill the expert teacher, asked as the loop asks it, finds lacking in each wrong answer to the validation set (round 0's errors).

Marks: the known programs come to .95 or more on average; no gap program comes to more than .35; in three tasks or more, two or
more step skills have each a fifth or more of the errors (else a diagnosis would say no more than the question does).
The table goes to benchmarks/student.md.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from transformers import AutoProcessor, LlavaForConditionalGeneration

from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import DiagnosedError
from benchmarks.expert import png, skill_of, teacher
from eval.microworld import WEIGHTS
from eval.microworld.pretraining.measuring import Reply, accuracy, final_answer, generate
from eval.microworld.programs import GAP, KNOWN, RARE
from eval.microworld.tasks import load_task, task_examples, task_names
from retrieval.pool.rationale import parse_rationale
from retrieval.storage.files import write_text

COMMAND = "python -m benchmarks.student"
#: Marks; see above.
KNOWN_MEAN, GAP_MOST, SPLIT_SHARE, SPLIT_TASKS = 0.95, 0.35, 0.2, 3


class Task(NamedTuple):
    """A task's validation set: how many questions, and how often each step skill was lacking in the wrong answers."""

    questions: int
    lacking: Counter[str]

    @property
    def errors(self) -> int:
        return self.lacking.total()

    @property
    def is_split(self) -> bool:
        """Whether two step skills or more have each their share of the errors."""
        return sum(count >= SPLIT_SHARE * self.errors for count in self.lacking.values()) >= 2


class Student:
    """The student as the measurements ask it."""

    def __init__(self, folder: Path) -> None:
        self.model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def programs(self, names: Sequence[str], count: int, seed: int) -> dict[str, float]:
        """Share of right answers of each program, on so many questions each."""
        return accuracy(self.model, self.processor, names, count, seed)

    async def task(self, name: str, count: int | None = None) -> Task:
        """What is lacking in the wrong answers to a task's validation set, or to its first `count` questions."""
        examples = task_examples(load_task(name), "validation", count)
        wrong = [reply for reply in generate(self.model, self.processor, examples) if not reply.right]
        with TemporaryDirectory() as folder:
            asked = teacher(Path(folder))
            try:
                skills = await asyncio.gather(*(_lacking(asked, reply) for reply in wrong))
            finally:
                await asked.close()
        return Task(len(examples), Counter(skills))


async def _lacking(asked: Teacher, reply: Reply) -> str:
    """The step skill that the expert finds lacking in a wrong answer."""
    example = reply.example
    data = {
        "question": example.question,
        "gold": example.solution.answer,
        "answer": final_answer(reply.text),
        "steps": list(parse_rationale(reply.text).steps),
    }
    pictures = [png(example.scene)] if example.scene else []
    found = await asked.ask("diagnose", data, DiagnosedError, pictures)
    if found.value is None:
        raise SystemExit(f"the expert gave no reply: {found.state}, {found.reason}")
    return skill_of(found.value.skill) or found.value.skill


def marks(programs: Mapping[str, float], tasks: Mapping[str, Task]) -> dict[str, bool]:
    """Each mark in words, and whether it is met."""
    known = mean(programs[name] for name in KNOWN)
    gap = max((*GAP, *RARE), key=lambda name: programs[name])
    split = [name for name, task in tasks.items() if task.is_split]
    return {
        f"known programs {known:.3f} on average (≥ {KNOWN_MEAN})": known >= KNOWN_MEAN,
        f"gap programs {programs[gap]:.3f} at most, `{gap}` (≤ {GAP_MOST})": programs[gap] <= GAP_MOST,
        f"errors split in {len(split)} of {len(tasks)} tasks (≥ {SPLIT_TASKS})": len(split) >= SPLIT_TASKS,
    }


def page(programs: Mapping[str, float], tasks: Mapping[str, Task], command: str, count: int) -> str:
    """All tables in markdown."""
    lines = [f"# The student that ships\n\nMade by `{command}`.\n"]
    lines += [f"- {text}: {'met' if met else 'missed'}" for text, met in marks(programs, tasks).items()]
    lines += ["", f"Share of right answers, {count} questions a program:", ""]
    lines += ["| known | | gap | |", "|---|---|---|---|"]
    known, gaps = (_cells(names, programs) for names in (list(KNOWN), [*GAP, *RARE]))
    rows = max(len(known), len(gaps))
    lines += [f"| {one} | {other} |" for one, other in zip(_padded(known, rows), _padded(gaps, rows), strict=True)]
    lines += [
        "",
        "Wrong answers to the validation sets, and the step skills that the expert finds lacking in them:",
        "",
    ]
    lines += ["| task | wrong | step skills, share of the wrong answers | split |", "|---|---|---|---|"]
    for name, task in tasks.items():
        shares = ", ".join(f"{skill} {n / task.errors:.0%}" for skill, n in task.lacking.most_common())
        lines.append(f"| {name} | {task.errors} of {task.questions} | {shares} | {'yes' if task.is_split else 'no'} |")
    return "\n".join(lines) + "\n"


def _cells(names: Sequence[str], programs: Mapping[str, float]) -> list[str]:
    return [f"{name} | {programs[name]:.3f}" for name in names]


def _padded(cells: list[str], rows: int) -> list[str]:
    return cells + [" | "] * (rows - len(cells))


async def measure(given: argparse.Namespace) -> tuple[dict[str, float], dict[str, Task]]:
    """Programs and tasks."""
    student = Student(given.student)
    programs = student.programs([*KNOWN, *GAP, *RARE], given.count, given.seed)
    return programs, {name: await student.task(name) for name in task_names()}


def _options() -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, default=WEIGHTS, help="folder of a student")
    parser.add_argument("--count", type=int, default=200, help="questions of each program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args()


def main() -> int:
    """Measure, print and write the page. Exit code 1 if a mark is missed."""
    given, began = _options(), time.monotonic()
    programs, tasks = asyncio.run(measure(given))
    text = page(programs, tasks, " ".join([COMMAND, *sys.argv[1:]]), given.count)
    write_text(given.out, text)
    print(text)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(marks(programs, tasks).values()) else 1


if __name__ == "__main__":
    sys.exit(main())
