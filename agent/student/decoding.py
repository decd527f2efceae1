"""Greedy decoding and scoring of a batch with a model of transformers.

For families whose images are plain embeddings (see training/families/families.py) the loop is written out: it does what
`generate` does for greedy search, leaves finished rows out as it goes, and shares the forward pass of a prefix among
its continuations. Other families go through `generate` and through whole sequences.
"""

from collections.abc import Sequence
from typing import Any

import torch

#: Rows that are finished are dropped from the batch once this share of them is.
DROP = 0.25

Inputs = dict[str, Any]


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Positions of tokens (rows, length) where padding, on the left, counts for nothing."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


@torch.inference_mode()
def greedy(model: Any, inputs: Inputs, stops: frozenset[int], limit: int) -> list[list[int]]:
    """Continue each row of a left-padded batch; at most `limit` tokens each, the stop token included if one came."""
    ends = torch.tensor(sorted(stops), device=model.device)
    mask = inputs["attention_mask"]
    said: list[list[int]] = [[] for _ in range(len(mask))]
    rows = torch.arange(len(mask), device=model.device)
    place = positions(mask)
    out = model(**{**inputs, "position_ids": place}, use_cache=True, logits_to_keep=1)
    cache, place = out.past_key_values, place[:, -1:]
    for _ in range(limit):
        token = out.logits[:, -1].argmax(-1)
        for row, value in zip(rows.tolist(), token.tolist(), strict=True):
            if row >= 0:
                said[row].append(value)
        rows = torch.where(torch.isin(token, ends), -1, rows)
        live = (rows >= 0).nonzero().flatten()
        if len(live) == 0 or len(said[int(rows[live[0]])]) == limit:
            break
        if len(live) <= (1 - DROP) * len(rows):
            cache.batch_select_indices(live)
            rows, token, mask, place = rows[live], token[live], mask[live], place[live]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        place = place + 1
        out = model(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=place,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return said


@torch.inference_mode()
def generate(model: Any, inputs: Inputs, stops: frozenset[int], limit: int, pad: int) -> list[list[int]]:
    """`greedy` through transformers, for any family."""
    from transformers import GenerationConfig

    settings = GenerationConfig(do_sample=False, max_new_tokens=limit, eos_token_id=sorted(stops), pad_token_id=pad)
    made = model.generate(**inputs, generation_config=settings)[:, inputs["input_ids"].shape[1] :]
    return [_until_stop(row, stops) for row in made.tolist()]


def _until_stop(row: list[int], stops: frozenset[int]) -> list[int]:
    end = next((i + 1 for i, token in enumerate(row) if token in stops), len(row))
    return row[:end]


@torch.inference_mode()
def score_shared(model: Any, inputs: Inputs, tails: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
    """Mean log-probability of each tail (token ids) of each row of a left-padded batch; the row's own pass is
    shared."""
    mask = inputs["attention_mask"]
    out = model(**{**inputs, "position_ids": positions(mask)}, use_cache=True, logits_to_keep=1)
    owners = torch.tensor([row for row, some in enumerate(tails) for _ in some], device=model.device)
    flat = [list(tail) for some in tails for tail in some]
    if not flat:
        return [[] for _ in tails]
    first = out.logits[:, -1][owners]
    cache = out.past_key_values
    cache.batch_select_indices(owners)
    longest = max(1, *(len(tail) for tail in flat))
    tokens = torch.tensor([tail + [0] * (longest - len(tail)) for tail in flat], device=model.device)
    logits = first[:, None]
    if longest > 1:
        more = model(
            input_ids=tokens[:, :-1],
            attention_mask=torch.cat([mask[owners], mask.new_ones(len(flat), longest - 1)], dim=1),
            position_ids=mask[owners].sum(-1, keepdim=True) + torch.arange(longest - 1, device=model.device),
            past_key_values=cache,
            use_cache=True,
        )
        logits = torch.cat([logits, more.logits], dim=1)
    means = iter(_means(logits, tokens, [len(tail) for tail in flat]))
    return [[next(means) for _ in some] for some in tails]


@torch.inference_mode()
def score_whole(model: Any, inputs: Inputs, lengths: Sequence[int]) -> list[float]:
    """Mean log-probability of the last `lengths[i]` tokens of each row of a left-padded batch of whole sequences."""
    longest = max(1, *lengths)
    logits = model(**inputs, logits_to_keep=longest + 1).logits[:, -longest - 1 : -1]
    tokens = inputs["input_ids"][:, -longest:]
    shift = [longest - length for length in lengths]
    rolled = torch.stack([row.roll(-by, 0) for row, by in zip(logits, shift, strict=True)])
    return _means(rolled, torch.stack([row.roll(-by) for row, by in zip(tokens, shift, strict=True)]), lengths)


def _means(logits: torch.Tensor, tokens: torch.Tensor, lengths: Sequence[int]) -> list[float]:
    """Mean log-probability of the first `lengths[i]` tokens (rows, longest) under logits (rows, longest, vocabulary);
    0 for none."""
    chosen = logits.float().log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    return [float(row[:length].mean()) if length else 0.0 for row, length in zip(chosen, lengths, strict=True)]
