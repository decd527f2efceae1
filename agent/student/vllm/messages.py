"""A request to the student as chat messages, and what a vLLM server says of the tokens in it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.chat.attachments import data_url
from agent.student.engine import Request
from retrieval.errors import StudentError, first_line
from training.data.chat import common_length

#: Whatever the model's own generation settings say.
_GREEDY = {"temperature": 0, "top_p": 1, "top_k": -1, "repetition_penalty": 1.0}


#: The bytes of an image as they are sent.
Picture = Callable[[Path], bytes]


def answer_body(request: Request, limit: int, picture: Picture) -> dict[str, Any]:
    """The body of a chat completion that answers a request with at most `limit` tokens. Raises DataError if an image cannot be
    read."""
    return {"messages": _messages(request, picture), "max_tokens": limit, **_GREEDY, **_ending(request)}


def read_body(request: Request, picture: Picture, more: str = "") -> dict[str, Any]:
    """The body of one that tells what each token of a request with `more` behind its prefix is worth; see `read_prompt`."""
    longer = replace(request, prefix=request.prefix + more)
    asked = {"max_tokens": 1, "prompt_logprobs": 0, "return_token_ids": True}
    return {"messages": _messages(longer, picture), **asked, **_GREEDY, **_ending(longer)}


def read_prompt(reply: Any) -> tuple[list[int], list[float]]:
    """Token ids of a prompt and their log-probabilities (nats; 0 for the first, which has none). Raises StudentError if the
    server does not tell them."""
    try:
        ids: list[int] = reply["prompt_token_ids"]
        values = [
            0.0 if place is None else float(place[str(token)]["logprob"])
            for token, place in zip(ids, reply["prompt_logprobs"], strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise StudentError(
            "the student's server does not tell a prompt's tokens and their log-probabilities (return_token_ids, "
            f"prompt_logprobs; {first_line(error)}); it has to be a vLLM that does"
        ) from None
    return ids, values


def read_answer(reply: Any) -> tuple[str, bool]:
    """An answer's text, and whether it was cut at its limit. Raises StudentError if there is none in the reply."""
    try:
        choice = reply["choices"][0]
        return choice["message"]["content"] or "", choice["finish_reason"] == "length"
    except (KeyError, TypeError, IndexError):
        raise StudentError(
            "the student's server answers otherwise than OpenAI's chat completions; it has to be vLLM"
        ) from None


def mean_tails(given: Sequence[int], rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> list[float]:
    """Mean log-probability per token of what each row adds to `given`. As in the embedded engine, only tokens that stay the same
    whatever follows belong to what is given."""
    same = min((common_length(given, ids) for ids, _ in rows), default=0)
    return [sum(values[same:]) / len(values[same:]) if len(values) > same else 0.0 for _, values in rows]


def _ending(request: Request) -> dict[str, bool]:
    return {"continue_final_message": True, "add_generation_prompt": False} if request.prefix else {}


def _messages(request: Request, picture: Picture) -> list[dict[str, Any]]:
    """Images first, and in the request itself: the server fetches nothing."""
    pictures = [{"type": "image_url", "image_url": {"url": data_url(picture(path))}} for path in request.images]
    text = {"type": "text", "text": request.prompt}
    messages: list[dict[str, Any]] = [{"role": "user", "content": [*pictures, text]}]
    if request.prefix:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": request.prefix}]})
    return messages
