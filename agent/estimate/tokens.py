"""About how many tokens a request and its reply take: as measured, or else from the texts and images that it would hold."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from agent.chat.attachments import read_picture, sent_size
from agent.config.schema import TeacherConfig
from agent.diagnosis.diagnosis import as_question
from agent.diagnosis.skills import MAX_SHOWN
from agent.diagnosis.switch import choice_question
from agent.estimate.earlier import Earlier, PerCall
from agent.estimate.image_tokens import ImageRule, image_rule
from agent.teacher.prompts.own import Prompts
from agent.teacher.prompts.replies import REPLIES, as_data, json_schema
from eval.answers import Answer
from eval.task import Item
from retrieval.errors import DataError

#: Letters of English text a token.
LETTERS = 4
#: Tokens that frame a request's messages.
_FRAME = 12
#: Tokens of a reply; of `skills`, for each sample.
_REPLY = {"diagnose": 100, "name_gap": 80, "step_right": 8, "choose": 1, "skills": 40, "same_skill": 6, "judge": 8}
#: A request of `same_skill`: one name, and up to 16 others.
_NAMES = as_data({"skill": "x" * 45, "candidates": ["x" * 45] * 12})

Error = tuple[Item, Answer]


class Sizes:
    """Tokens of texts and images for one teacher."""

    def __init__(self, config: TeacherConfig, prompts: Prompts) -> None:
        self._config, self._prompts = config, prompts
        self.rule: ImageRule = image_rule(config.model)
        self._image = cache(self._image_tokens)

    def request(self, kind: str, letters: float, images: float) -> float:
        """Tokens of a request with so many letters of data and so many tokens of images."""
        reply = REPLIES[kind]
        shape = len(json.dumps(json_schema(reply))) if reply else 0
        return _FRAME + (len(self._prompts[kind]) + shape + letters) / LETTERS + images

    def images(self, pictures: Sequence[Path | bytes]) -> int:
        """Tokens of images as they are sent; one that cannot be read counts nothing, since it is set aside."""
        return sum(self._image(picture) for picture in pictures) if self._config.see_images else 0

    def _image_tokens(self, picture: Path | bytes) -> int:
        try:
            return self.rule.tokens(*sent_size(read_picture(picture), self._config.image_size))
        except DataError:
            return 0


def tokens_of(
    kind: str, sizes: Sizes, examples: Sequence[Error], together: float, earlier: Earlier | None
) -> tuple[PerCall, bool]:
    """Mean tokens of a kind of request, and whether they were measured. `examples` stand for what it would be about;
    `together` of them go into a request of `skills`."""
    if earlier is not None and (measured := earlier.per_call(kind)) is not None:
        return measured, True
    if kind == "same_skill" or not examples:
        return PerCall(sizes.request(kind, len(_NAMES), 0), _REPLY[kind]), False
    letters = _mean(_letters(kind, item, answer) for item, answer in examples)
    images = 0.0 if kind in ("choose", "judge") else _mean(sizes.images(item.images) for item, _ in examples)
    return per_call(kind, sizes, letters, images, together if kind == "skills" else 1), False


def per_call(kind: str, sizes: Sizes, letters: float, images: float, together: float = 1) -> PerCall:
    """Tokens of a request about `together` samples of so many letters and tokens of images each."""
    return PerCall(sizes.request(kind, together * letters, together * images), together * _REPLY[kind])


def sample_letters(question: str, answer: str) -> int:
    """Letters of a sample in a request of `skills`."""
    shown = {"question": question[:MAX_SHOWN], "answer": answer[:MAX_SHOWN]}
    return len(as_data({"samples": [{"index": 1, "images": [1], **shown}]}))


def _letters(kind: str, item: Item, answer: Answer) -> int:
    """Letters of the data of a request about this answer; where steps are asked about in turn, of the one in the middle."""
    if kind == "skills":
        return sample_letters(item.prompt_text, answer.text)
    half = math.ceil(len(answer.steps) / 2)
    question = as_question(item, answer)
    made: Mapping[str, Callable[[], dict[str, Any]]] = {
        "diagnose": lambda: question,
        "name_gap": lambda: {**question, "wrong_step": half},
        "step_right": lambda: {**question, "answer": "", "steps": list(answer.steps[:half]), "step": half},
        "choose": lambda: choice_question(item, answer, half, "A"),
        "judge": lambda: {"question": item.prompt_text, "gold": list(item.answers), "answer": answer.final},
    }
    return len(as_data(made[kind]()))


def _mean(values: Iterable[int]) -> float:
    counts = list(values)
    return sum(counts) / len(counts) if counts else 0.0
