"""Skills, named by the teacher: of right answers, of the pool's samples; and which names mean one skill."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from agent.chat.stream import as_done
from agent.diagnosis.merging import Group, match_pool_skills, merge_names, plain
from agent.teacher.asked import Fault
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import NamedSkills
from agent.teacher.request import Question
from eval.answers import Answer
from eval.task import Item
from retrieval.pool.pool import Pool
from retrieval.storage.files import Log, read_jsonl

__all__ = [
    "Group",
    "Progress",
    "annotate",
    "match_pool_skills",
    "merge_names",
    "name_right_skills",
    "plain",
    "pool_questions",
    "right_questions",
]

#: Characters of a question or an answer that are shown.
MAX_SHOWN = 4000
#: Skills kept of a sample.
MAX_SKILLS = 4

Progress = Callable[[int, int], None]
#: Whether an endpoint takes a question, as far as it has shown.
Fits = Callable[[Question], bool]


class Example(NamedTuple):
    """A question with its answer, whose skills are to be named."""

    id: str
    question: str
    answer: str
    images: tuple[Path, ...]


class Named(NamedTuple):
    """The skills of an example, the most specific first; or why there are none."""

    id: str
    skills: tuple[str, ...]
    state: Literal["named", "set_aside"]
    reason: str | None = None
    fault: Fault | None = None


async def name_right_skills(
    teacher: Teacher,
    right: Sequence[tuple[Item, Answer]],
    path: Path,
    per_request: int,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Append to `path` (right.jsonl) the skills of each right answer that is not in it yet. Raises TeacherError,
    StorageError."""
    examples = list(map(_of_answer, right))
    await _name_all(teacher, examples, len(examples), path, "item", per_request, on_progress)


def right_questions(right: Sequence[tuple[Item, Answer]], per_request: int, fits: Fits) -> Iterator[Question]:
    """What `name_right_skills` asks, in a file that is not begun, of an endpoint that takes what `fits`."""
    return _questions(_batches(map(_of_answer, right), per_request), fits)


def _of_answer(pair: tuple[Item, Answer]) -> Example:
    item, answer = pair
    return Example(item.id, item.prompt_text, answer.text, item.images)


async def annotate(
    teacher: Teacher,
    pool: Pool,
    path: Path,
    per_request: int,
    on_progress: Progress = lambda done, total: None,
) -> None:
    """Append to `path` (skills.jsonl) the skills of each sample of the pool that is not in it yet.

    Requests are a fixed function of the pool's order and `per_request`, whatever is done already. Raises TeacherError,
    StorageError.
    """

    await _name_all(teacher, _of_pool(pool), len(pool), path, "sample", per_request, on_progress)


def pool_questions(pool: Pool, path: Path, per_request: int, fits: Fits) -> Iterator[Question]:
    """What `annotate` asks, of samples that are not in `path` yet, of an endpoint that takes what `fits`."""
    done = {row["sample"] for row in read_jsonl(path)}
    return _questions(_not_done(_of_pool(pool), per_request, done), fits)


def _of_pool(pool: Pool) -> Iterator[Example]:
    for sample in pool:
        answer = "\n".join(turn.answer for turn in sample.turns)
        yield Example(sample.id, sample.question, answer, tuple(pool.image_path(name) for name in sample.images))


async def _name_all(
    teacher: Teacher,
    examples: Iterable[Example],
    total: int,
    path: Path,
    label: str,
    per_request: int,
    on_progress: Progress,
) -> None:
    """Rows {label: id, "skills", "state", "reason", "fault"}, in the order in which replies come."""
    done = {row[label] for row in read_jsonl(path)}
    on_progress(len(done), total)
    waiting = _not_done(examples, per_request, done)

    async def name(batch: Sequence[Example]) -> list[Named]:
        return await name_batch(teacher, batch)

    with Log(path) as log:
        async with aclosing(as_done(waiting, name, teacher.config.concurrency, teacher.stop)) as results:
            async for named in results:
                for each in named:
                    if each.id not in done:
                        done.add(each.id)
                        row = {"schema": 1, label: each.id, "skills": list(each.skills), "state": each.state}
                        log.append({**row, "reason": each.reason, "fault": each.fault})
                on_progress(len(done), total)


def _not_done(examples: Iterable[Example], size: int, done: Set[str]) -> Iterator[list[Example]]:
    """Those of a fixed division into requests that hold one that is not done."""
    return (batch for batch in _batches(examples, size) if any(each.id not in done for each in batch))


def _batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    source = iter(examples)
    while batch := list(islice(source, size)):
        yield batch


async def name_batch(teacher: Teacher, batch: Sequence[Example]) -> list[Named]:
    """Name the skills of a few examples in one request; where that fails, of each half, down to single ones."""
    kind, data, _, images = _question(batch)
    count = len(batch)
    asked = await teacher.ask(kind, data, NamedSkills, images, lambda reply: _check(reply, count), parts=count)
    if asked.value is not None:
        skills = {each.index: tuple(dict.fromkeys(each.skills))[:MAX_SKILLS] for each in asked.value.samples}
        return [Named(each.id, skills[number], "named") for number, each in enumerate(batch, 1)]
    if asked.divisible and count > 1:
        return [named for half in _halves(batch) for named in await name_batch(teacher, half)]
    reason = f"the teacher's reply: {asked.state} ({asked.reason})"
    return [Named(each.id, (), "set_aside", reason, asked.fault) for each in batch]


def _halves(batch: Sequence[Example]) -> tuple[Sequence[Example], Sequence[Example]]:
    half = (len(batch) + 1) // 2
    return batch[:half], batch[half:]


def _questions(batches: Iterable[Sequence[Example]], fits: Fits) -> Iterator[Question]:
    """One of each, or of its halves, as `name_batch` divides what an endpoint does not take."""
    for batch in batches:
        question = _question(batch)
        if len(batch) == 1 or fits(question):
            yield question
        else:
            yield from _questions(_halves(batch), fits)


def _question(batch: Sequence[Example]) -> Question:
    return Question("skills", _data(batch), NamedSkills, [image for each in batch for image in each.images])


def _data(batch: Sequence[Example]) -> dict[str, Any]:
    samples, attached = [], 0
    for number, each in enumerate(batch, 1):
        images = list(range(attached + 1, attached + len(each.images) + 1))
        attached += len(images)
        shown = {"question": each.question[:MAX_SHOWN], "answer": each.answer[:MAX_SHOWN]}
        samples.append({"index": number, "images": images, **shown})
    return {"samples": samples}


def _check(reply: NamedSkills, count: int) -> str:
    """What is wrong with a reply about so many samples."""
    indices = [each.index for each in reply.samples]
    if sorted(indices) != list(range(1, count + 1)):
        return f"each index from 1 to {count} must be there once; the reply has {indices[:40]}"
    empty = [each.index for each in reply.samples if not each.skills]
    return f"no skill is named for index {empty[0]}" if empty else ""
