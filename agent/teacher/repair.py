"""A value from a reply, and one repair where the reply is malformed: it is shown to the teacher, with what is wrong with it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import BaseModel

from agent.teacher.asked import Asked, refusal_in
from agent.teacher.ledger.journal import Completion
from agent.teacher.reply import parse_reply
from agent.teacher.request import ChatRequest

#: Characters of a malformed reply that the repair request shows.
REPAIR_SHOWS = 4000

T = TypeVar("T", bound=BaseModel)
#: Gets the reply to a request, and to what was said since.
Complete = Callable[[ChatRequest, list[dict[str, Any]]], Awaitable[Completion]]


async def repaired(
    complete: Complete, question: ChatRequest, schema: type[T], check: Callable[[T], str]
) -> tuple[Asked[T], list[str]]:
    """What comes of a question, after one repair if need be, and its keys in the journal."""
    asked, reply = await _try(complete, question, schema, [], check)
    if asked.state != "malformed":
        return asked, [question.key()]
    more = _repair(reply.content, asked.reason)
    asked, reply = await _try(complete, question, schema, more, check)
    if asked.state == "malformed":
        start = " ".join(reply.content[:200].split())[:80]
        asked = replace(asked, reason=f"{asked.reason}; it begins {start!r}")
    return asked, [question.key(), question.key(more)]


async def _try(
    complete: Complete, question: ChatRequest, schema: type[T], more: list[dict[str, Any]], check: Callable[[T], str]
) -> tuple[Asked[T], Completion]:
    reply = await complete(question, more)
    if (fault := refusal_in(reply)) is not None:
        return fault, reply
    if reply.finish == "length":
        return Asked(None, "cut", f"the reply ran into teacher.max_tokens ({reply.limit})", True), reply
    value, problem = parse_reply(reply.content, schema)
    problem = problem if value is None else check(value)
    if problem:
        return Asked(None, "malformed", problem, True), reply
    return Asked(value, "ok"), reply


def _repair(content: str, problem: str) -> list[dict[str, Any]]:
    told = f"That reply cannot be used: {problem}. Reply again with one JSON object as described, and nothing else."
    return [{"role": "assistant", "content": content[:REPAIR_SHOWS] or "(empty)"}, {"role": "user", "content": told}]
