"""Rationales: numbered steps, then a line `Answer: …`."""

import re
from collections.abc import Sequence
from typing import NamedTuple

_STEP_WORDS = r"Step|Schritt|[ÉE]tape|Paso|Passo|Krok|Шаг|步骤|步驟|ステップ|단계|चरण|الخطوة"
# Without such a word, a number directly behind the mark makes it a figure ("3.5 m", "10:30") and not a step's number.
_STEP = re.compile(
    rf"^[ \t]*(?:\*\*)?(?:(?:{_STEP_WORDS})[ \t]*\d{{1,3}}[ \t]*[.:)：]|\d{{1,3}}[ \t]*[.:)：](?!\d))(?:\*\*)?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_WORDS = (
    r"Answer|Antwort|R[ée]ponse|Respuesta|Resposta|Risposta|Antwoord|Odpowiedź|Cevap|Ответ|Відповідь"
    r"|答案|答え|回答|答|정답|답변|답|उत्तर|الإجابة|الجواب"
)
# "Answer:" or "the answer is"; a line such as "Answers differ" or "Answer the question" gives none. A heading or bold line
# needs no colon. `<answer>` is how many a tuned model has been taught to say it.
_ANSWER = re.compile(
    rf"""^[ \t]*(?P<heading>\#{{1,6}}[ \t]+)?(?P<bold>\*\*)?
    (?:(?:The|Die|La|Le|L['’]|El|A|O|Het)[ \t]*)?(?:(?:Final|Correct|Endgültige|Richtige|最终|正确)[ \t]*)?
    (?:{_ANSWER_WORDS})(?:[ \t]+(?:finale?|correcte?|correcta))?(?:\*\*)?[ \t]*
    (?:[:：]|(?:is|ist|est|es|è|é)\b[ \t]*[:：]?|[是为は은는][ \t]*[:：]?|(?:(?(heading)|(?(bold)|(?!)))[ \t]*(?=\n)))(?:\*\*)?
    |<answer>""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
#: The last line of GSM8K's solutions (Cobbe et al., 2021).
_LAST_LINE = re.compile(r"^\#{4}[ \t]*(?=\S)(?=[^\n]*\s*\Z)", re.MULTILINE)
_BOXED = re.compile(r"\\boxed[ \t]*\{")


class Rationale(NamedTuple):
    """What a student wrote: its numbered steps in order (without the numbers) and its final answer, None where it
    gave none."""

    steps: tuple[str, ...]
    final: str | None

    @property
    def whole(self) -> bool:
        """Whether it has two steps or more and a final answer. One step is an answer in a sentence; numbered points without
        a final answer are a list."""
        return has_steps(self.steps) and self.final is not None


def parse_rationale(text: str) -> Rationale:
    r"""Split a text into steps and final answer: what stands behind the last "Answer:" (in the ways and languages above), or
    else behind GSM8K's `####`, or in the last `\boxed{…}`; text without any has `final` None."""
    body, final = text, None
    mark = next(iter([*_ANSWER.finditer(text)][-1:]), None) or _LAST_LINE.search(text)
    if mark:
        body, final = text[: mark.start()], text[mark.end() :]
        final = (final.split("</answer>")[0] if mark[0] == "<answer>" else final).strip() or None
    elif boxes := [*_BOXED.finditer(text)]:
        final = _braced(text[boxes[-1].end() :])
    marks = list(_STEP.finditer(body))
    ends = [*(mark.start() for mark in marks[1:]), len(body)][: len(marks)]
    steps = tuple(body[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
    return Rationale(tuple(step for step in steps if step), final)


def _braced(text: str) -> str | None:
    """What stands before the brace that closes."""
    depth = 1
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            return text[:place].strip() or None
    return None


def has_steps(steps: Sequence[str]) -> bool:
    """Whether there are two steps or more, with or without a final answer (see `Rationale.whole`)."""
    return len(steps) >= 2


def write_rationale(steps: tuple[str, ...], final: str | None = None) -> str:
    """The canonical text of a rationale, as the student is asked to write it (a prefix of one if `final` is None)."""
    lines = [f"Step {number}: {step}" for number, step in enumerate(steps, 1)]
    return "\n".join(lines if final is None else [*lines, f"Answer: {final}"])
