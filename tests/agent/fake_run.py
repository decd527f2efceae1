"""A run folder as the loop leaves it, made without a student or a teacher, so that reading it can be tested by itself.

The pictures, the pool, the answers' scoring and the evaluations are real; who is right in which round is drawn.
"""

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from eval import Answer, Evaluation, Item, Scorer, compare, correctness, evaluate_answers, make_scorer, read_answer
from retrieval.pool.pool import Pool
from retrieval.selection.needs import Quota, Quotas, gap_id
from retrieval.storage.files import read_json, write_json, write_jsonl, write_text

HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>\"'>&{{ 7 * 7 }}"

#: What naming the pool's skills took of the teacher.
NAMING = {"calls": 20, "tokens": 31_000, "cost_usd": 0.35}

#: Skill, how the teacher words it, what the student writes in the wrong step, and what it should write.
SKILLS = (
    ("adding two numbers", "the addition of two digits", "{a} plus {b} is {wrong}.", "{a} plus {b} is {sum}."),
    (
        "reading a handwritten digit",
        "recognising digits",
        "the digits are {a} and {wrong}.",
        "the digits are {a} and {b}.",
    ),
    ("finding the cells that hold digits", "locating digits", "digits at a1 and b4.", "digits at a2 and c3."),
)


@dataclass(frozen=True)
class Plan:
    """What the made-up run is like. `accuracy` and `control`: share right in each round, and by the control
    of the kept one; `fetched`: samples selected in each round."""

    items: int = 120
    holdout: int = 100
    accuracy: tuple[float, ...] = (0.45, 0.6, 0.74, 0.73)
    control: float | None = 0.56
    best: int = 2
    state: str = "finished"
    stop_reason: str | None = "plateau"
    fetched: int = 60
    hostile: bool = False
    seed: int = 0


def make_fake_run(root: Path, plan: Plan | None = None) -> Path:
    """Make pictures, a pool and a run folder under `root`; returns the run folder."""
    return _Maker(root, plan or Plan()).make()


class _Maker:
    def __init__(self, root: Path, plan: Plan) -> None:
        self.root, self.plan, self.run = root, plan, root / "runs" / "fake"
        self.random = random.Random(plan.seed)
        self.digits: dict[str, tuple[int, int]] = {}
        self.items = [self._item(index) for index in range(plan.items + plan.holdout)]
        self.own = self.items[: plan.items]
        self.held = self.items[plan.items :]
        self.scorer: Scorer = make_scorer("auto", self.items)
        self.luck = {item.id: self.random.random() for item in self.items}
        self.texts = {item.id: HOSTILE if plan.hostile else "" for item in self.items}

    def make(self) -> Path:
        pool = self._pool()
        write_text(
            self.run / "config.yaml",
            "name: fake\nalpha: 0.05\npatience: 2\nstudent:\n  model: a-small-student\nteacher:\n  model: an-expert\n",
        )
        rows = [{**item.to_row(), "holdout": item in self.held} for item in self.items]
        write_jsonl(self.run / "items.jsonl", rows)
        for number in range(len(self.plan.accuracy)):
            self._round(number, pool)
        write_json(self.run / "run.json", self._status(pool))
        return self.run

    def _status(self, pool: Pool) -> dict[str, Any]:
        plan = self.plan
        ending = {"state": plan.state, "stop_reason": plan.stop_reason, "best_round": plan.best}
        aside = [{"id": "row-7", "where": "items.jsonl, line 7", "reason": "there is no image 7.png"}]
        return {
            "schema": 1,
            "name": "fake",
            **ending,
            "pid": 1,
            "started": "2026-01-01T10:00:00.000+00:00",
            "updated": "2026-01-01T10:06:40.000+00:00",
            "pool": str(pool.folder),
            "scorer": {"name": self.scorer.name, "why": self.scorer.why},
            "excluded": 3,
            "set_aside": aside,
            "understood": [f"{plan.items + plan.holdout} items with a picture", self._hostile("1 item was set aside")],
            "pool_understood": [f"{len(pool):,} samples, all with a picture"],
            "annotation": {**NAMING, "this_run": NAMING},
            "seconds": {"total": 400.0, "student": 120.0, "teacher": 60.0, "tuning": 200.0, "own": 20.0},
        }

    def _item(self, index: int) -> Item:
        a, b = self.random.randrange(10), self.random.randrange(10)
        question = f"What is the sum of the digits? {HOSTILE if self.plan.hostile else ''}".strip()
        path = self.root / "pictures" / f"{index:04d}.png"
        _picture(path, (a, b), self.random)
        self.digits[f"item-{index:04d}"] = (a, b)
        return Item(f"item-{index:04d}", question, (str(a + b),), (), (path.absolute(),))

    def _answer(self, item: Item, accuracy: float) -> Answer:
        a, b = self.digits[item.id]
        skill = self._skill(item)
        luck = self.luck[item.id] + random.Random(f"{item.id} {accuracy}").uniform(-0.07, 0.07)
        steps = [SKILLS[2][3], SKILLS[1][3].format(a=a, b=b), SKILLS[0][3].format(a=a, b=b, sum=a + b)]
        final = item.answers[0]
        if luck >= accuracy:
            wrong = a + b + 1
            steps[2 - skill] = SKILLS[skill][2].format(a=a, b=b, wrong=wrong)
            final = str(wrong)
        lines = [f"Step {n}: {step} {self.texts[item.id]}" for n, step in enumerate(steps, 1)]
        ending = "and so it must be" if luck > 0.98 else f"Answer: {final}"
        return read_answer(item, "\n".join([*lines, ending]), self.scorer)

    def _skill(self, item: Item) -> int:
        return 0 if self.luck[item.id] < 0.7 else 1 if self.luck[item.id] < 0.88 else 2

    def _evaluate(self, folder: Path, number: int, accuracy: float) -> list[Answer]:
        own = [self._answer(item, accuracy) for item in self.own]
        held = [self._answer(item, accuracy - 0.02) for item in self.held]
        write_jsonl(folder / "answers.jsonl", (each.to_row() for each in own))
        if held:
            write_jsonl(folder / "holdout.jsonl", (each.to_row() for each in held))
        adapter = f"{folder.relative_to(self.run)}/adapter" if number else None
        figures = evaluate_answers(held) if held else None
        write_json(
            folder / "evaluation.json", Evaluation(number, evaluate_answers(own), figures, adapter, 12.0).to_json()
        )
        return own

    def _round(self, number: int, pool: Pool) -> None:
        folder, accuracy = self.run / "rounds" / f"{number:02d}", self.plan.accuracy
        calls = 0
        if number:
            before = {item.id: self._answer(item, accuracy[number - 1]) for item in self.own}
            calls = self._diagnose(folder, number, [row for row in before.values() if not row.correct])
            self._select(folder, number, pool)
        after = self._evaluate(folder, number, accuracy[number])
        best = max((n for n in range(number) if n <= self.plan.best), default=0)
        p_value = None
        if number:
            old = [self._answer(item, accuracy[best]) for item in self.own]
            p_value = compare(correctness(old), correctness(after)).p_value
        if number == self.plan.best and number and self.plan.control is not None:
            self._evaluate(folder / "control", number, self.plan.control)
            spent = {"schema": 1, "round": number, "seconds": {"control": 73.0}}
            write_json(folder / "control" / "round.json", spent)
        seconds = {"evaluate": 12.0, **({"diagnose": 8.5, "retrieve": 2.0, "tune": 61.0} if number else {})}
        teacher = {"calls": calls, "tokens": calls * 700, "cost_usd": calls * 0.0004}
        better = bool(number and number <= self.plan.best)
        record = {"schema": 1, "round": number, "p_value": p_value, "better": better}
        write_json(folder / "round.json", {**record, "teacher": teacher, "seconds": seconds})

    def _diagnose(self, folder: Path, number: int, errors: list[Answer]) -> int:
        rows: list[dict[str, Any]] = []
        behind: dict[str, list[str]] = {skill: [] for skill, *_ in SKILLS}
        for index, answer in enumerate(errors):
            skill = SKILLS[self._skill(next(item for item in self.own if item.id == answer.item))]
            state = "set_aside" if index == 3 else "not_located" if answer.kind == "format" else "diagnosed"
            named = state == "diagnosed"
            extra = self.texts[answer.item]
            a, b = self.digits[answer.item]
            row = {
                "schema": 1,
                "id": f"r{number:02d}-{answer.item}",
                "item": answer.item,
                "state": state,
                "locator": "single_pass",
                "step": 3 - SKILLS.index(skill) if named else None,
                "why": f"The picture shows other digits. {extra}".strip() if named else None,
                "should_say": f"{skill[3].format(a=a, b=b, sum=a + b)} {extra}".strip() if named else None,
                "skill": skill[self.random.randrange(2)] if named else None,
                "reason": "refused: the teacher would not say" if state == "set_aside" else None,
            }
            rows.append(row)
            if named:
                behind[skill[0]].append(row["id"])
        write_jsonl(folder / "diagnoses.jsonl", rows)
        gaps = [
            {
                "id": gap_id(skill[0]),
                "skill": self._hostile(skill[0]),
                "names": [skill[0], skill[1]],
                "errors": behind[skill[0]],
            }
            for skill in sorted(SKILLS, key=lambda skill: -len(behind[skill[0]]))
            if behind[skill[0]]
        ]
        sibling = {"skill": "counting objects", "names": ["counting"], "answers": [self.own[0].id], "closeness": 0.6}
        format_count = sum(answer.kind == "format" for answer in errors)
        counts = {"errors": len(errors), "set_aside": 1, "not_located": format_count, "format": format_count}
        counts["diagnosed"] = len(errors) - 1 - format_count
        write_json(folder / "gaps.json", {"schema": 1, "gaps": gaps, "siblings": [sibling], "counts": counts})
        return len(errors) + 3

    def _hostile(self, text: str) -> str:
        return f"{text} {HOSTILE}" if self.plan.hostile else text

    def _select(self, folder: Path, number: int, pool: Pool) -> None:
        gaps = read_json(folder / "gaps.json")["gaps"]
        count = self.plan.fetched
        ids = pool.ids[(number - 1) * count : number * count]
        rows = []
        for index, name in enumerate(ids):
            part = "gap" if index < 0.6 * count else "sibling" if index < 0.75 * count else "rehearsal"
            gap = gaps[index % len(gaps)]
            error = gap["errors"][(index // len(gaps)) % len(gap["errors"])]
            row: dict[str, Any] = {
                "schema": 1,
                "sample": name,
                "part": part,
                "round": number,
                "need": None,
                "error": None,
            }
            if part == "gap":
                row |= {"need": gap["id"], "error": error, "skill": gap["names"][index % 2], "rank": 1 + index // 9}
            elif part == "sibling":
                row |= {"need": "counting objects", "error": self.own[0].id, "skill": "counting", "rank": 1}
            rows.append({"skill": None, "rank": None, **row})
        write_jsonl(folder / "selection.jsonl", rows)
        got = Counter(row["need"] for row in rows)
        needs = [
            Quota("gap", gap["id"], gap["skill"], got[gap["id"]] + number - 1, got[gap["id"]], got[gap["id"]])
            for gap in gaps
        ]
        quotas = Quotas(count, len(pool.ids) - (number - 1) * count, sum(each.matching for each in needs), tuple(needs))
        write_json(folder / "quotas.json", quotas.as_json())

    def _pool(self) -> Pool:
        rows = []
        for index in range(self.plan.fetched * len(self.plan.accuracy) + 5):
            a, b = self.random.randrange(10), self.random.randrange(10)
            path = self.root / "pool" / f"{index:04d}.png"
            _picture(path, (a, b), self.random)
            answer = f"Step 1: the digits are {a} and {b}.\nStep 2: {a} plus {b} is {a + b}.\nAnswer: {a + b}"
            turns = [
                {"from": "human", "value": "<image>\nAdd up the digits."},
                {"from": "gpt", "value": self._hostile(answer)},
            ]
            rows.append({"id": f"s{index:04d}", "image": path.name, "conversations": turns})
        write_jsonl(self.root / "pool" / "pool.jsonl", rows)
        return Pool.build(self.root / "pool" / "pool.jsonl", None, self.root / "pools")


def _picture(path: Path, digits: tuple[int, int], draw_by: random.Random) -> None:
    image = Image.new("RGB", (64, 64), (246, 244, 238))
    draw = ImageDraw.Draw(image)
    for index in range(5):
        x, y = 16 * draw_by.randrange(4), 16 * draw_by.randrange(4)
        colour = draw_by.choice(["#c0392b", "#2471a3", "#1e8449", "#b7950b", "#7d3c98"])
        draw.rectangle((x + 3, y + 3, x + 12, y + 12), fill=colour)
        if index < 2:
            draw.rectangle((x, y, x + 15, y + 15), fill=(246, 244, 238))
            draw.text((x + 5, y + 2), str(digits[index]), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
