"""Turns of a conversation as the model's chat template writes them, and which of their tokens the loss reads."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, NamedTuple

from retrieval.errors import DataError, TuningError

#: Label of a token that the loss does not read (torch's default for cross entropy).
IGNORED = -100


class Spoken(NamedTuple):
    """A rendered conversation: `pieces` alternate between what the model is given and what it has to say."""

    pieces: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole of it."""
        return "".join(self.pieces)


def prompt_text(processor: Any, prompt: str, images: int) -> str:
    """A user's turn with its images before it, up to where the model begins to speak."""
    return _render(processor, [(prompt, None)], images)


def as_text(processor: Any, text: str) -> str:
    """A text in which none of the model's special tokens stands: where a user writes one, a space behind its first character
    keeps it text, in serving and tuning alike. Otherwise a question about `<image>` shows a picture that is not there, and one
    about `</s>` ends where it names it."""
    found = _special(processor.tokenizer, getattr(processor, "image_token", None))
    return found.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text) if found else text


@lru_cache(maxsize=8)
def _special(tokenizer: Any, image_token: str | None) -> re.Pattern[str] | None:
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    names = {name.strip() for name in (*tokenizer.all_special_tokens, *added, image_token or "")}
    longest_first = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first))) if longest_first else None


def answer_lead(processor: Any) -> str:
    """What the template puts between the model's cue and its words: often a space, said before each answer."""
    before, after = prompt_text(processor, "a", 0), _render(processor, [("a", "b")], 0)
    rest = after[len(before) :] if after.startswith(before) else ""
    return rest.partition("b")[0] if "b" in rest else ""


def special_tokens_missing(processor: Any, text: str) -> bool:
    """Whether the tokenizer has to add its special tokens: not if the template has written the first one already."""
    start = processor.tokenizer.bos_token
    return not (start and text.startswith(start))


def tokenise(processor: Any, text: str) -> list[int]:
    """Token ids of a rendered text, images not expanded."""
    ids: list[int] = processor.tokenizer(text, add_special_tokens=special_tokens_missing(processor, text)).input_ids
    return ids


class ChatFormat:
    """The model's template as tuning uses it.

    A template that does not close the model's turns with an end-of-turn token gets the tokenizer's added to each:
    otherwise the model would unlearn to stop.
    """

    def __init__(self, processor: Any, stops: frozenset[int]) -> None:
        self.processor = processor
        self.stops = stops
        probe = self._given_and_said([("a", "b")], 0, 0)
        self._closes = any(token in stops for token in tokenise(processor, "".join(probe))[-3:])

    def speak(self, turns: Sequence[tuple[str, str]], images: int) -> Spoken:
        """Render a whole conversation. Raises TuningError if the template rewrites earlier turns."""
        pieces: list[str] = []
        for number in range(len(turns)):
            given, said = self._given_and_said(turns, number, images)
            pieces += [given, said if self._closes else said.rstrip() + self.processor.tokenizer.eos_token]
        return Spoken(tuple(pieces))

    def _given_and_said(self, turns: Sequence[tuple[str, str]], number: int, images: int) -> tuple[str, str]:
        earlier = _render(self.processor, turns[:number], images) if number else ""
        before = _render(self.processor, [*turns[:number], (turns[number][0], None)], images)
        after = _render(self.processor, turns[: number + 1], images)
        if not (before.startswith(earlier) and after.startswith(before)):
            raise TuningError(
                "the model's chat template writes earlier turns differently once later ones follow, so the answer's "
                "tokens cannot be told from the rest; use a template that only appends"
            )
        return before[len(earlier) :], after[len(before) :]

    def labels(self, spoken: Spoken, ids: Sequence[int]) -> list[int]:
        """Labels for `ids` (the tokens of `spoken` with its images expanded): the model's own tokens up to the end of
        each of its turns, IGNORED elsewhere.

        Raises DataError where a turn's boundary falls inside a token.
        """
        plain = tokenise(self.processor, spoken.text)
        bounds = [self._boundary(spoken, count, plain) for count in range(1, len(spoken.pieces))] + [len(plain)]
        grown = len(ids) - len(plain)
        if list(ids[bounds[0] + grown :]) != plain[bounds[0] :]:
            raise DataError("its images are placed after the first answer")
        labels = [IGNORED] * len(ids)
        for start, end in zip(bounds[::2], bounds[1::2], strict=True):
            last = max((i + 1 for i in range(start, end) if plain[i] in self.stops), default=end)
            labels[start + grown : last + grown] = plain[start:last]
        return labels

    def _boundary(self, spoken: Spoken, count: int, plain: list[int]) -> int:
        """Tokens before piece `count`."""
        head = tokenise(self.processor, "".join(spoken.pieces[:count]))
        if plain[: len(head)] != head:
            raise DataError("the model's chat template joins prompt and answer inside a token")
        return len(head)


def _render(processor: Any, turns: Sequence[tuple[str, str | None]], images: int) -> str:
    messages: list[dict[str, Any]] = []
    for number, (prompt, answer) in enumerate(turns):
        content = [{"type": "image"}] * images if number == 0 else []
        messages.append({"role": "user", "content": [*content, {"type": "text", "text": as_text(processor, prompt)}]})
        if answer is not None:
            said = as_text(processor, answer)
            messages.append({"role": "assistant", "content": [{"type": "text", "text": said}]})
    rendered: str = processor.apply_chat_template(messages, add_generation_prompt=turns[-1][1] is None, tokenize=False)
    return rendered


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
