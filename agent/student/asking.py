"""A batch of requests as tensors, and what comes back as text and figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from agent.student.decoding import Inputs, generate, greedy, score_shared, score_whole
from agent.student.engine import Reply, Request
from retrieval.errors import DataError
from retrieval.pool.images import read_image, scaled_down
from training.data.chat import as_text, common_length, prompt_text, tokenise
from training.data.rows import process
from training.families.families import Family


@dataclass(frozen=True, slots=True)
class Asker:
    """What it takes to ask a loaded model: the model itself (or peft's around it), its processor and what is known of
    both."""

    processor: Any
    family: Family
    stops: frozenset[int]
    lead: str
    #: Tokens that the model holds, prompt and answer together.
    holds: int
    #: Pixels that an image has at most; see `scaled_down`.
    image_pixels: int | None = None

    def answer(self, model: Any, requests: Sequence[Request], limit: int) -> list[Reply]:
        """Replies to a batch, in its order; a request that cannot be read gives one with `error`."""
        readable, errors = self._read(requests, limit)
        said: dict[str, Reply] = {}
        try:
            rows = self._continue(model, self._tensors(model, readable), limit) if readable else []
        except DataError as error:
            if len(requests) > 1:  # one of them is at fault, an image too narrow perhaps
                return [reply for request in requests for reply in self.answer(model, [request], limit)]
            return [Reply(requests[0].id, "", error=str(error))]
        for one, row in zip(readable, rows, strict=True):
            text = self._decode(one.request.prefix, row)
            said[one.request.id] = Reply(one.request.id, text, cut=row[-1] not in self.stops)
        return [said.get(r.id) or Reply(r.id, "", error=errors[r.id]) for r in requests]

    def score(
        self, model: Any, requests: Sequence[Request], continuations: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Mean log-probability per token of each continuation; NaN where the request cannot be read."""
        wanted = {
            request.id: [text if request.prefix or not text else self.lead + text for text in some]
            for request, some in zip(requests, continuations, strict=True)
        }
        readable, _ = self._read(requests, 0)
        try:
            scores = self._score(model, readable, [wanted[one.request.id] for one in readable]) if readable else []
        except DataError:
            if len(requests) > 1:
                pairs = zip(requests, continuations, strict=True)
                return [row for request, some in pairs for row in self.score(model, [request], [some])]
            scores, readable = [], []
        found = {one.request.id: row for one, row in zip(readable, scores, strict=True)}
        return [found.get(r.id, [float("nan")] * len(wanted[r.id])) for r in requests]

    def _read(self, requests: Iterable[Request], limit: int) -> tuple[list["_Readable"], dict[str, str]]:
        """The requests with their pictures, and why the others cannot be asked, by id."""
        readable, errors = [], {}
        for request in requests:
            try:
                readable.append(self._readable(request, limit))
            except DataError as error:
                errors[request.id] = str(error)
        return readable, errors

    def _readable(self, request: Request, limit: int) -> "_Readable":
        prompt = prompt_text(self.processor, request.prompt, len(request.images))
        text = prompt + self.lead + as_text(self.processor, request.prefix) if request.prefix else prompt
        length = len(tokenise(self.processor, text)) + limit  # images not counted yet
        if length > self.holds:
            answer = f" with an answer of {limit}" if limit else ""
            raise DataError(f"{length} tokens{answer}, and the student holds {self.holds}; make it shorter")
        pictures = [scaled_down(read_image(path), self.image_pixels) for path in request.images]
        return _Readable(request, prompt, text, pictures)

    def _tensors(self, model: Any, asked: Sequence["_Readable"], texts: Sequence[str] | None = None) -> Inputs:
        """Tensors of what is asked, or of longer texts that begin with it. Raises DataError if the processor cannot take one."""
        texts = texts or [one.text for one in asked]
        said = None
        if getattr(self.processor, "prompt_seen_whole", False):
            added = [(one.prompt, text.removeprefix(one.prompt)) for one, text in zip(asked, texts, strict=True)]
            said = [len(self._split(prompt, [more])[1][0]) for prompt, more in added]
        inputs = process(self.processor, texts, [one.pictures for one in asked], said)
        moved = {name: value.to(model.device) for name, value in inputs.items()}
        return {name: v.to(model.dtype) if v.is_floating_point() else v for name, v in moved.items()}

    def _continue(self, model: Any, inputs: Inputs, limit: int) -> list[list[int]]:
        if self.family.plain:
            return greedy(model, inputs, self.stops, limit)
        return generate(model, inputs, self.stops, limit, self.processor.tokenizer.pad_token_id)

    def _decode(self, prefix: str, said: list[int]) -> str:
        """The text of new tokens, without the lead. After a prefix they are read with it, so that their own space is
        kept."""
        tokenizer = self.processor.tokenizer
        given = tokenizer(prefix, add_special_tokens=False).input_ids if prefix else []
        whole: str = tokenizer.decode(given + said, skip_special_tokens=True)
        if given:
            return whole[len(tokenizer.decode(given, skip_special_tokens=True)) :]
        return whole.removeprefix(self.lead)

    def _score(self, model: Any, readable: list["_Readable"], wanted: list[list[str]]) -> list[list[float]]:
        split = [self._split(one.text, some) for one, some in zip(readable, wanted, strict=True)]
        if not self.family.plain:
            return self._score_whole(model, readable, wanted, [tails for _, tails in split])
        inputs = self._tensors(model, readable)
        dropped = [
            len(tokenise(self.processor, one.text)) - common for one, (common, _) in zip(readable, split, strict=True)
        ]
        pad = self.processor.tokenizer.pad_token_id
        return score_shared(model, shorten(inputs, dropped, pad), [tails for _, tails in split])

    def _score_whole(
        self, model: Any, readable: list["_Readable"], wanted: list[list[str]], tails: list[list[list[int]]]
    ) -> list[list[float]]:
        rows = [(one, text) for one, some in zip(readable, wanted, strict=True) for text in some]
        if not rows:
            return [[] for _ in readable]
        inputs = self._tensors(model, [one for one, _ in rows], [one.text + text for one, text in rows])
        scores = iter(score_whole(model, inputs, [len(tail) for some in tails for tail in some]))
        return [[next(scores) for _ in some] for some in wanted]

    def _split(self, text: str, continuations: Sequence[str]) -> tuple[int, list[list[int]]]:
        """How many tokens of `text` stay the same whatever follows, and the tokens after them for each continuation."""
        given = tokenise(self.processor, text)
        followed = [tokenise(self.processor, text + some) for some in continuations]
        common = min((common_length(given, ids) for ids in followed), default=len(given))
        return common, [ids[common:] if some else [] for ids, some in zip(followed, continuations, strict=True)]


@dataclass(frozen=True, slots=True)
class _Readable:
    request: Request
    prompt: str
    text: str
    pictures: list[Any]


def shorten(inputs: Inputs, dropped: Sequence[int], pad: int) -> Inputs:
    """A left-padded batch without the last `dropped[i]` tokens of row i, padded on the left again."""
    if not any(dropped):
        return inputs
    ids, mask = inputs["input_ids"].clone(), inputs["attention_mask"].clone()
    for row, count in enumerate(dropped):
        if count:
            ids[row] = ids[row].roll(count)
            mask[row] = mask[row].roll(count)
            ids[row, :count], mask[row, :count] = pad, 0
    spare = int((mask.cumsum(-1) == 0).all(0).sum())
    return {**inputs, "input_ids": ids[:, spare:], "attention_mask": torch.as_tensor(mask[:, spare:])}
