"""The expert's answers, kind by kind: from a request's data and pictures to the object of the reply."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.microworld.dice import Dice
from eval.microworld.examples import make_example
from eval.microworld.expert.check import Verdict, check, check_at, chief_skill, solve, step_holds
from eval.microworld.expert.judging import choice_odds, judged_correct
from eval.microworld.expert.meaning import meanings, same_skill
from eval.microworld.expert.phrasing import Mode, Use, word
from eval.microworld.expert.recognise import PictureError, Seen, decode, recognise
from eval.microworld.expert.request import Asked, RequestError, field, image_bytes, text_list
from eval.microworld.programs import PROGRAMS
from eval.microworld.questions import CAPTION, DIRECT, THINK, Call, parse
from eval.microworld.scene import RARE_SHAPES, Scene
from eval.microworld.solving import Solution, Step
from retrieval.pool.rationale import parse_rationale

#: Recognised pictures that are kept.
REMEMBERED = 4096
#: Step skills from the most special to the most general: the order in which a sample's skills are named.
GENERAL = (
    (
        "find_rare_shape",
        "read_rare_shape",
        "find_column",
        "find_small",
        "count_rows",
        "find_row",
        "find_shape",
        "find_color",
    ),
    ("find_objects", "find_digits", "count", "read_size", "read_digit", "locate", "read_shape", "read_color"),
    ("conclude", "copy"),
)
_RANK = {skill: rank for rank, skill in enumerate((skill for row in GENERAL for skill in row), 1)}
MAX_SKILLS = 4


class Expert:
    """Answers requests. It remembers pictures it has seen, and nothing else."""

    def __init__(self, phrasing: Mode = "disjoint") -> None:
        self._phrasing: Mode = phrasing
        self._seen: OrderedDict[bytes, Seen] = OrderedDict()

    def answer(self, asked: Asked) -> dict[str, Any]:
        """The reply's object. Raises RequestError."""
        kinds = {
            "diagnose": self.diagnose,
            "name_gap": self.name_gap,
            "skills": self.skills,
            "same_skill": self.same_skill,
            "judge": self.judge,
            "step_right": self.step_right,
        }
        return kinds[asked.kind](asked)

    def diagnose(self, asked: Asked) -> dict[str, Any]:
        """The first wrong step of a wrong answer."""
        steps = text_list(asked.data, "steps")
        call, solution, scene = self._understand(asked)
        if solution is None:
            skill = _chief_of(call)
            return {**self._explained(asked, "", f"Answer: {_gold(asked.data)}.", skill), "wrong_step": 0}
        verdict = check(solution, scene, steps)
        return {
            "wrong_step": 0 if verdict.step is None else verdict.step + 1,
            **self._told(asked, solution, verdict, steps),
        }

    def name_gap(self, asked: Asked) -> dict[str, Any]:
        """What was lacking at a step found by somebody else."""
        steps, wrong = text_list(asked.data, "steps"), field(asked.data, "wrong_step", int)
        if not 1 <= wrong <= len(steps):
            raise RequestError(f"`wrong_step` is {wrong}, but there are {len(steps)} steps")
        call, solution, scene = self._understand(asked)
        if solution is None:
            return self._explained(asked, steps[wrong - 1], f"Answer: {_gold(asked.data)}.", _chief_of(call))
        return self._told(asked, solution, check_at(solution, scene, steps, wrong - 1), steps)

    def step_right(self, asked: Asked) -> dict[str, Any]:
        """Whether a step says what belongs there; one that cannot be judged by what is seen counts as right."""
        steps, number = text_list(asked.data, "steps"), field(asked.data, "step", int)
        if not 1 <= number <= len(steps):
            raise RequestError(f"`step` is {number}, but there are {len(steps)} steps")
        _, solution, scene = self._understand(asked)
        return {"correct": solution is None or step_holds(solution, scene, steps[:number])}

    def skills(self, asked: Asked) -> dict[str, Any]:
        """The skills that samples take."""
        samples = field(asked.data, "samples", list)
        seen = self._look(asked.images)
        named = []
        for sample in samples:
            if not isinstance(sample, dict):
                raise RequestError("each sample must be an object")
            index = field(sample, "index", int)
            about = "\x1f".join((str(sample.get("question")), str(sample.get("answer"))))
            texts = [word(skill, "annotation", about, self._phrasing) for skill in self._sample_skills(sample, seen)]
            named.append({"index": index, "skills": texts})
        return {"samples": named}

    def same_skill(self, asked: Asked) -> dict[str, Any]:
        """Which candidates name the same skill."""
        name, candidates = field(asked.data, "skill", str), text_list(asked.data, "candidates")
        meanings([name, *candidates])  # all read in one go
        return {"same": [index for index, other in enumerate(candidates, 1) if same_skill(name, other)]}

    def judge(self, asked: Asked) -> dict[str, Any]:
        """Whether an open answer is correct."""
        gold = asked.data.get("gold")
        golds = [gold] if isinstance(gold, str) else text_list(asked.data, "gold")
        return {"correct": judged_correct(str(asked.data.get("answer") or ""), golds)}

    def choose(self, asked: Asked) -> dict[str, float]:
        """Probability of each option's letter, given what the steps say and a prior; the picture is not looked at."""
        options = asked.data.get("options")
        if not isinstance(options, dict) or len(options) < 2:
            raise RequestError("`options` must be an object of two letters or more, each with its text")
        prior = asked.data.get("prior")
        steps = text_list(asked.data, "steps") if "steps" in asked.data else []
        return choice_odds(
            {str(k): str(v) for k, v in options.items()}, steps, prior if isinstance(prior, dict) else {}
        )

    def _look(self, urls: Sequence[str]) -> list[Seen]:
        """The scenes of data URLs, those not seen lately recognised together. Raises RequestError."""
        keys = [hashlib.blake2b(url.encode(), digest_size=16).digest() for url in urls]
        new = {key: url for key, url in zip(keys, urls, strict=True) if key not in self._seen}
        try:
            pictures = [decode(image_bytes(url)) for url in new.values()]
        except PictureError as error:
            raise RequestError(str(error)) from None
        known = {key: self._seen[key] for key in keys if key in self._seen}
        if pictures:
            known |= dict(zip(new, recognise(np.stack(pictures)), strict=True))
        for key in keys:
            self._seen[key] = known[key]
            self._seen.move_to_end(key)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return [known[key] for key in keys]

    def _understand(self, asked: Asked) -> tuple[Call, Solution | None, Scene]:
        """The question and its right steps, None if what is seen cannot answer it. Raises RequestError."""
        call = _parsed(field(asked.data, "question", str))
        seen = self._look(asked.images)
        if call.question.pictured and len(seen) != 1:
            raise RequestError(f"the question needs one picture, {len(seen)} came")
        found = solve(call, seen[0] if call.question.pictured else None, _gold(asked.data))
        return (call, *found) if found else (call, None, Scene({}))

    def _told(self, asked: Asked, solution: Solution, verdict: Verdict, steps: Sequence[str]) -> dict[str, Any]:
        said = "" if verdict.step is None else steps[verdict.step]
        expected = verdict.expected.text
        if verdict.step is None and len(steps) >= len(solution.steps):
            expected = f"Answer: {solution.answer}."
        return self._explained(asked, said, expected, verdict.skill)

    def _explained(self, asked: Asked, said: str, expected: str, skill: str) -> dict[str, Any]:
        expected = expected[:1].upper() + expected[1:]
        if said:
            why = f'The step says "{said[:200]}", but the picture and the steps before it say otherwise: {expected}'
        elif asked.data.get("steps"):
            why = f"No step is wrong, but the answer does not follow from them; still to be said: {expected}"
        else:
            why = f"There are no steps to go by, and the answer is wrong. {expected}"
        about = "\x1f".join(map(str, (asked.data.get("question"), asked.data.get("answer"), asked.data.get("steps"))))
        return {"why": why, "should_say": expected, "skill": self._word(skill, "diagnosis", about)}

    def _word(self, skill: str, use: Use, about: str) -> str:
        return word(skill, use, about, self._phrasing)

    def _sample_skills(self, sample: Mapping[str, Any], seen: Sequence[Seen]) -> list[str]:
        """Keys of STEP_SKILLS (or "describe"), the most special first. Raises RequestError."""
        question, answer = field(sample, "question", str), field(sample, "answer", str)
        own = [number for number in sample.get("images") or [] if isinstance(number, int) and 1 <= number <= len(seen)]
        if _bare(question) == CAPTION:
            rare = own and any(thing.kind in RARE_SHAPES for thing in seen[own[0] - 1].scene.things.values())
            return ["describe", "read_rare_shape"] if rare else ["describe"]
        call = _parsed(question)
        picture = seen[own[0] - 1] if own and call.question.pictured else None
        gold = parse_rationale(answer).final or answer
        found = solve(call, picture, gold) if picture or not call.question.pictured else None
        return step_skills(found[0] if found else _example_of(call))


def step_skills(solution: Solution) -> list[str]:
    """The skills of a solution's steps, the most special first; stating the answer or repeating the question is
    none."""
    skills = [step.skill for step in solution.steps if step.skill not in ("conclude", "copy")]
    return sorted(dict.fromkeys(skills), key=lambda skill: _RANK.get(skill, 0))[:MAX_SKILLS] or ["conclude"]


def _bare(question: str) -> str:
    text = question.replace("<image>", "").strip()
    return text.removesuffix(THINK).removesuffix(DIRECT).strip()


def _parsed(question: str) -> Call:
    call = parse(question)
    if call is None:
        raise RequestError(f'the expert knows the micro-world alone, not the question "{question[:200]}"')
    return call


def _gold(data: Mapping[str, Any]) -> str:
    gold = data.get("gold")
    return str(gold[0]) if isinstance(gold, list) and gold else str(gold or "")


def _traits(args: Mapping[str, str]) -> tuple[object, ...]:
    """What of a question's arguments decides which skills it takes."""
    keys = ("extreme", "operation", "direction", "comparison", "parity")
    return (*(args.get(key) for key in keys), args.get("shape") in RARE_SHAPES)


def _example_of(call: Call) -> Solution:
    """The solution of another question of the kind: its steps take the same skills. For pictures that were not
    understood."""
    dice = Dice(0)
    names = [name for name, program in PROGRAMS.items() if program.question == call.question.name]
    solution = Solution((Step("", "conclude"),), "")
    for number in range(60):
        example = make_example(names[number % len(names)], dice, "train")
        solution = example.solution
        other = parse(example.question)
        if other is not None and _traits(other.args) == _traits(call.args):
            break
    return solution


def _chief_of(call: Call) -> str:
    return chief_skill(_example_of(call))
