"""How good and how fast the expert teacher is, measured against the micro-world's truth, which it never sees.

    python benchmarks/expert.py                       # recognition, steps, skills, names, speed
    python benchmarks/expert.py --student FOLDER      # and on the wrong answers of a student

Scenes hold validation digits, which the expert's reader has not learnt from. A student's wrong answers are compared
at the first step that departs from the canonical rationale; the expert's own step check knows more forms of a right
step, so 1 is not to be expected."""

import argparse
import asyncio
import io
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from agent.config.schema import TeacherConfig
from agent.teacher.client import Teacher
from agent.teacher.prompts.replies import DiagnosedError, NamedSkills
from eval.microworld.dice import Dice
from eval.microworld.examples import Example, make_example
from eval.microworld.expert.check import check, solve
from eval.microworld.expert.meaning import same_skill
from eval.microworld.expert.phrasing import phrasings
from eval.microworld.expert.recognise import Seen, decode, recognise
from eval.microworld.expert.teacher import step_skills
from eval.microworld.pretraining.measuring import Reply, final_answer, generate
from eval.microworld.programs import PROGRAMS
from eval.microworld.questions import parse
from eval.microworld.scene import RARE_SHAPES, Scene, Split, render
from eval.microworld.solving import Solution, Step
from retrieval.pool.rationale import parse_rationale

PER_REQUEST = 16


def examples(count: int, seed: int, split: Split) -> list[Example]:
    """So many examples of every program."""
    dice = Dice(seed)
    return [make_example(name, dice, split) for _ in range(count) for name in PROGRAMS]


def png(scene: Scene) -> bytes:
    """A scene's picture as a user would have it."""
    buffer = io.BytesIO()
    Image.fromarray(render([scene])[0]).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def show(what: str, right: int, of: int) -> None:
    """One line of the table."""
    print(f"{what:<58} {right / max(of, 1):7.4f}  of {of:,}")


def see(pictures: Sequence[bytes]) -> list[Seen]:
    """Recognise in batches of a request's size."""
    found: list[Seen] = []
    for start in range(0, len(pictures), PER_REQUEST):
        found += recognise(np.stack([decode(picture) for picture in pictures[start : start + PER_REQUEST]]))
    return found


def measure_recognition(scenes: Sequence[Scene], split: str) -> None:
    """Cells, colours, shapes, sizes and digits."""
    pictures = [png(scene) for scene in scenes]
    see(pictures[:PER_REQUEST])
    start = time.process_time()
    seen = see(pictures)
    seconds = time.process_time() - start
    right: Counter[str] = Counter()
    of: Counter[str] = Counter()
    for truth, found in zip(scenes, seen, strict=True):
        of["scenes, wholly"] += 1
        right["scenes, wholly"] += _facts(truth) == _facts(found.scene)
        for cell in range(16):
            thing, other = truth.things.get(cell), found.scene.things.get(cell)
            of["occupied cells"] += 1
            right["occupied cells"] += (thing is None) == (other is None)
            if thing is None or other is None:
                continue
            kind = "digits" if thing.is_digit else "rare shapes" if thing.kind in RARE_SHAPES else "common shapes"
            of["colours"], of[kind] = of["colours"] + 1, of[kind] + 1
            right["colours"] += thing.color == other.color
            right[kind] += thing.kind == other.kind
            of["sizes"] += not thing.is_digit
            right["sizes"] += not thing.is_digit and thing.size == other.size
    for what in of:
        show(f"recognition ({split}): {what}", right[what], of[what])
    print(f"recognition: {1000 * seconds / len(scenes):.2f} ms of processor time a picture, PNG decoding included")


def _facts(scene: Scene) -> dict[int, tuple[str, str, str]]:
    return {cell: (thing.kind, thing.color, thing.size) for cell, thing in scene.things.items()}


def corrupted(made: Sequence[Example], seed: int) -> list[tuple[Example, list[str], int]]:
    """Right rationales with one step replaced by that of another question of the kind: (example, steps, index)."""
    dice = Dice(seed)
    found = []
    by_program: dict[str, list[Example]] = {}
    for example in made:
        by_program.setdefault(example.program, []).append(example)
    for example in made:
        texts = [step.text for step in example.solution.steps]
        index = dice.below(len(texts))
        donors = [e.solution.steps[index].text for e in by_program[example.program] if len(e.solution.steps) > index]
        others = [text for text in donors if text not in texts]
        if others:
            texts[index] = dice.pick(others)
            found.append((example, texts, index))
    return found


def measure_steps(made: Sequence[Example]) -> None:
    """First wrong steps of corrupted rationales; right rationales that are found right."""
    seen = iter(see([png(example.scene) for example in made if example.scene]))
    scenes = {id(example): next(seen).scene if example.scene else Scene({}) for example in made}
    right = clean = of = 0
    for example in made:
        solution = _solution(example, scenes[id(example)])
        of += 1
        clean += solution is not None and check(solution, scenes[id(example)], _texts(example)).step is None
    show("steps: right rationales found right", clean, of)
    broken = corrupted(made, 5)
    skills = 0
    for example, texts, index in broken:
        solution = _solution(example, scenes[id(example)])
        verdict = check(solution, scenes[id(example)], texts) if solution else None
        right += verdict is not None and verdict.step == index
        skills += verdict is not None and verdict.step == index and verdict.skill == example.solution.steps[index].skill
    show("steps: corrupted step found", right, len(broken))
    show("steps: and its step skill named", skills, len(broken))


def _texts(example: Example) -> list[str]:
    return [step.text for step in example.solution.steps]


def _solution(example: Example, scene: Scene) -> Solution | None:
    call = parse(example.question)
    found = solve(call, Seen(scene) if example.scene else None, example.solution.answer) if call else None
    return found[0] if found else None


def measure_names() -> None:
    """Same-skill verdicts on the expert's own phrasings, all pairs. Names it has not seen:
    benchmarks/gap_merging.py."""
    names = [(skill, text) for skill, uses in phrasings().items() for texts in uses.values() for text in texts]
    verdicts = Counter((a == b, same_skill(x, y)) for (a, x), (b, y) in itertools.combinations(names, 2))
    show("same skill, own phrasings: precision", verdicts[True, True], verdicts[True, True] + verdicts[False, True])
    show("same skill, own phrasings: recall", verdicts[True, True], verdicts[True, True] + verdicts[True, False])


def skill_of(text: str) -> str | None:
    """The key of one of the expert's own wordings."""
    return next((k for k, uses in phrasings().items() for texts in uses.values() if text in texts), None)


def teacher(folder: Path) -> Teacher:
    """The real client, with an expert in this process."""
    config = TeacherConfig(model="expert", app="eval.microworld.expert:app")
    return Teacher(config, folder / "journal.jsonl")


async def measure_annotation(count: int) -> None:
    """Skills of samples with and without steps, through the real client, 16 a request; against the truth of the
    steps."""
    made = examples(-(-count // len(PROGRAMS)), 7, "train")[:count]
    pictures = [png(example.scene) if example.scene else None for example in made]
    batches = [list(range(start, min(start + PER_REQUEST, count))) for start in range(0, count, PER_REQUEST)]
    right = first = 0
    with tempfile.TemporaryDirectory() as folder:
        asked = teacher(Path(folder))
        wall, busy = time.perf_counter(), time.process_time()
        replies = await asyncio.gather(*(_annotate(asked, made, pictures, batch) for batch in batches))
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        await asked.close()
    for batch, reply in zip(batches, replies, strict=True):
        for number, index in enumerate(batch):
            named = [skill_of(text) for text in reply[number]]
            truth = step_skills(made[index].solution)
            right += named == truth
            first += named[:1] == truth[:1]
    show("annotation: all skills of a sample named", right, count)
    show("annotation: the most special skill first", first, count)
    print(
        f"annotation: {count:,} samples, {PER_REQUEST} a request, client included: {wall:.1f} s, "
        f"{busy:.1f} s of processor time"
    )


async def _annotate(
    asked: Teacher, made: Sequence[Example], pictures: Sequence[bytes | None], batch: Sequence[int]
) -> list[list[str]]:
    samples, images = [], []
    for number, index in enumerate(batch, 1):
        if (picture := pictures[index]) is not None:
            images.append(picture)
        own = [len(images)] if picture is not None else []
        answer = made[index].reply(index % 10 > 2)
        samples.append({"index": number, "images": own, "question": made[index].question, "answer": answer})
    reply = await asked.ask("skills", {"samples": samples}, NamedSkills, images)
    if reply.value is None:
        raise SystemExit(f"the expert gave no reply: {reply.state}, {reply.reason}")
    return [list(row.skills) for row in reply.value.samples]


async def measure_student(folder: Path, count: int) -> None:
    """First wrong steps and skills on a student's own wrong answers."""
    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    made = [example for example in examples(count, 9, "validation") if example.scene]
    replies: list[Reply] = [r for r in generate(model, AutoProcessor.from_pretrained(folder), made) if not r.right]
    located: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        asked = teacher(Path(scratch))
        for reply in replies:
            located.update(
                await _compare(asked, reply.example, reply.text, reply.first_wrong, final_answer(reply.text))
            )
        await asked.close()
    print(f"student: {len(replies)} wrong of {len(made)} answers")
    show("student: first wrong step as by the canonical text", located["step"], len(replies))
    show("student: its step skill named", located["skill"], located["steps"])


async def _compare(asked: Teacher, example: Example, text: str, truth: Step | None, final: str) -> list[str]:
    steps = list(parse_rationale(text).steps)
    data = {"question": example.question, "gold": example.solution.answer, "answer": final, "steps": steps}
    reply = await asked.ask("diagnose", data, DiagnosedError, [png(example.scene or Scene({}))])
    if reply.value is None:
        raise SystemExit(f"the expert gave no reply: {reply.state}, {reply.reason}")
    expected = example.solution.steps.index(truth) + 1 if truth is not None else 0
    same = reply.value.wrong_step == (expected if expected <= len(steps) else 0)
    named = truth is not None and skill_of(reply.value.skill) == truth.skill
    return ["step"] * same + ["steps"] * (truth is not None) + ["skill"] * named


async def main() -> None:
    """Run and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--student", type=Path, help="folder of a micro-world student")
    options.add_argument("--count", type=int, default=100, help="examples of each program")
    options.add_argument("--samples", type=int, default=8000, help="samples to annotate")
    given = options.parse_args()
    for split in ("validation", "test"):
        scenes = [example.scene for example in examples(given.count, 3, split) if example.scene]
        measure_recognition(scenes, split)
    measure_steps(examples(given.count, 4, "validation"))
    measure_names()
    await measure_annotation(given.samples)
    if given.student:
        await measure_student(given.student, max(given.count // 5, 1))


if __name__ == "__main__":
    asyncio.run(main())
