"""A teacher that is wrong on purpose, in a stated share of its verdicts: to see what the loop makes of it."""

from collections.abc import Callable
from typing import Any

from eval.microworld.expert.phrasing import draw, phrasings, word
from eval.microworld.expert.request import Asked

Meets = Callable[..., bool]


def made_wrong(asked: Asked, reply: dict[str, Any], meets: Meets) -> dict[str, Any]:
    """The reply, made wrong if `meets()` says so; in `skills` and `same_skill` each sample and candidate by itself. In a
    choice (letters and their probabilities) the likeliest option and the least likely one change places."""
    if asked.kind == "skills":
        return {"samples": [_wrong_sample(row) if meets(str(row["index"])) else row for row in reply["samples"]]}
    if asked.kind == "same_skill":
        numbers = range(1, len(asked.data["candidates"]) + 1)
        return {"same": [n for n in numbers if (n in reply["same"]) != meets(str(n))]}
    if not meets():
        return reply
    if asked.kind == "choose":
        first, last = max(reply, key=reply.__getitem__), min(reversed(reply), key=reply.__getitem__)
        return {**reply, first: reply[last], last: reply[first]}
    if asked.kind in ("judge", "step_right"):
        return {"correct": not reply["correct"]}
    other = {"skill": _other(reply["skill"], str(asked.data.get("question")), "diagnosis")}
    steps = len(asked.data["steps"])
    if asked.kind == "diagnose" and steps > 1:
        other["wrong_step"] = (reply["wrong_step"] + 1) % (steps + 1)
    return {**reply, **other}


def _wrong_sample(row: dict[str, Any]) -> dict[str, Any]:
    first = row["skills"][0]
    return {**row, "skills": [_other(first, str(row["index"]), "annotation"), *row["skills"][1:]]}


def _other(text: str, about: str, use: Any) -> str:
    """Words for a skill that is not the one these words stand for."""
    others = [skill for skill, uses in phrasings().items() if not any(text in texts for texts in uses.values())]
    return word(others[draw(about, text, "other") % len(others)], use, about)
