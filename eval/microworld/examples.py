"""Examples: a scene, a question in words, and the canonical rationale, drawn from a program."""

from typing import NamedTuple

from eval.microworld.canvas import Canvas
from eval.microworld.dice import Dice
from eval.microworld.programs import PROGRAMS
from eval.microworld.questions import CAPTION, DIRECT, QUESTIONS, THINK, Call, caption
from eval.microworld.scene import RARE_SHAPES, Scene, Split
from eval.microworld.solving import Solution


class Example(NamedTuple):
    """`scene` is None for text-only questions. `program` and the steps' skills are truth that no loop may see."""

    program: str
    scene: Scene | None
    question: str
    solution: Solution

    def prompt(self, steps: bool) -> str:
        """What the user says, without the picture."""
        return f"{self.question} {THINK if steps else DIRECT}"

    def reply(self, steps: bool) -> str:
        return self.solution.rationale if steps else self.solution.answer


def make_example(program: str, dice: Dice, split: Split) -> Example:
    """One example of a program, with digit scans of the split."""
    chosen = PROGRAMS[program]
    question = QUESTIONS[chosen.question]
    canvas = Canvas(dice, split)
    args = chosen.draw(canvas)
    scene = canvas.scene() if question.pictured else None
    text = question.text(dice.below(len(question.wordings)), args)
    return Example(program, scene, text, Call(question, args).solve(scene))


def make_caption(dice: Dice, split: Split, low: int = 1, high: int = 8, rare: bool = False) -> tuple[Scene, str, str]:
    """A scene of low-high objects (and one to three rings or hearts), the prompt and its description."""
    canvas = Canvas(dice, split)
    if rare:
        for _ in range(dice.between(1, 3)):
            canvas.put(dice.pick(RARE_SHAPES))
    canvas.fill(low, high - 3 if rare else high)
    scene = canvas.scene()
    return scene, CAPTION, caption(scene)
