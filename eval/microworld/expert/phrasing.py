"""How the expert words a skill: freely, never by an id, and otherwise when it diagnoses than when it annotates.

The wording depends on what is being said (a hash of the sample or the error) and on nothing else, so the same request
always gets the same words, whatever was asked before it."""

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Literal

Use = Literal["diagnosis", "annotation"]
#: `disjoint`: diagnosis and annotation draw from different phrasings; `shared`: both draw from all of them; `plain`:
#: one wording for each skill, whoever asks.
Mode = Literal["disjoint", "shared", "plain"]


@cache
def phrasings() -> dict[str, dict[Use, tuple[str, ...]]]:
    """Every wording of every skill of the world."""
    raw = json.loads(resources.files(__package__).joinpath("phrasings.json").read_text(encoding="utf-8"))
    return {skill: {use: tuple(texts) for use, texts in uses.items()} for skill, uses in raw.items()}


def draw(seed: str, *parts: str) -> int:
    """A number in [0, 2**64) that depends on the texts alone."""
    text = "\x1f".join((seed, *parts)).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def word(skill: str, use: Use, about: str, mode: Mode = "disjoint") -> str:
    """A wording of a skill, chosen by `about`, a text that stands for the sample or the error."""
    uses = phrasings()[skill]
    if mode == "plain":
        return uses["annotation"][0]
    texts = uses[use] if mode == "disjoint" else (*uses["diagnosis"], *uses["annotation"])
    return texts[draw(about, skill) % len(texts)]
