"""An endpoint that fails in many ways, over HTTP on loopback, in a process of its own.

What becomes of a request is drawn by its content and by how often it came before, so that it does not depend on the
order in which requests come.
"""

import argparse
import asyncio
import hashlib
import json
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

#: Share of the requests, in per cent, that each fate has; the rest gets an answer.
SHARES = {"429": 30, "503": 10, "hang": 2, "malformed": 5}
SEED = 0
GOOD = {"wrong_step": 2, "why": "The sum is 11.", "should_say": "6 + 5 = 11.", "skill": "adding two numbers"}
_TEXT = json.dumps(GOOD)
MALFORMED = (
    "",
    _TEXT[:-20],
    _TEXT.replace("2", "NaN", 1),
    _TEXT.replace("2", "99", 1),
    '{"skill": "a", ' + _TEXT[1:],
    "Ich kann den Fehler im zweiten Schritt sehen.",
    "<wrong_step>2</wrong_step>",
    json.dumps({"schritt": 2, "fähigkeit": "addieren"}),
    f"[{_TEXT}]",
    "{" * 5000,
)


@dataclass
class Faulty:
    """The endpoint, and what it did. `hang_seconds`: how long it holds a request before it gives up; `seed` draws the fates.
    Requests are told apart by the hash of their bodies; `plain` are questions that only ask whether it is there."""

    retry_after: Sequence[int]
    hang_seconds: float
    seed: int = SEED
    fates: Counter[str] = field(default_factory=Counter)
    came: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    plain: int = 0
    repairs: set[str] = field(default_factory=set)
    hung: set[str] = field(default_factory=set)

    @property
    def app(self) -> Starlette:
        chat = Route("/v1/chat/completions", self._answer, methods=["POST"])
        return Starlette(routes=[chat, Route("/seen", self._seen)])

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        name = hashlib.sha256(body).hexdigest()
        self.came[name] += 1
        drawn = random.Random(f"{self.seed}/{name}/{self.came[name]}")
        fate = drawn.choices([*SHARES, "good"], [*SHARES.values(), 100 - sum(SHARES.values())])[0]
        self.fates[fate] += 1
        if fate == "429":
            return _failure(429, {"Retry-After": str(drawn.choice(self.retry_after))})
        if fate == "503":
            return _failure(503, {})
        if fate == "hang":
            self.hung.add(name)
            await asyncio.sleep(self.hang_seconds)  # the client has gone by then
            return _failure(504, {})
        messages = json.loads(body)["messages"]
        if len(messages) < 2:
            self.plain += 1
            return _completion("ready")
        self.answered[name] += 1
        if len(messages) > 2:
            self.repairs.add(name)
        return _completion(_TEXT if fate == "good" else drawn.choice(MALFORMED))

    async def _seen(self, request: Request) -> Response:
        again = sum(1 for name in self.hung if self.answered[name])
        twice = sum(count > 1 for count in self.answered.values())
        return JSONResponse(
            {
                "fates": self.fates,
                "answered": self.answered.total(),
                "answered_twice": twice,
                "hung_then_answered": again,
                "repairs": len(self.repairs),
                "plain": self.plain,
            }
        )


def _failure(status: int, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": {"message": "come back later", "code": None}}, status, headers)


def _completion(text: str) -> Response:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 900, "completion_tokens": 60}
    return JSONResponse({"object": "chat.completion", "choices": [choice], "usage": usage})


@contextmanager
def serving(retry_after: Sequence[int], hang_seconds: float) -> Iterator[str]:
    """The endpoint in a process of its own, so that the client's processor time is its own; gives the base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        how = [*("--listening", str(listening.fileno())), *("--hang", str(hang_seconds))]
        command = [sys.executable, "-m", "benchmarks.faulty_endpoint", *how, "--retry-after", *map(str, retry_after)]
        server = subprocess.Popen(command, pass_fds=[listening.fileno()])
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.terminate()
            server.wait(10)


def serve(listening: int, retry_after: Sequence[int], hang_seconds: float) -> None:
    """Be that process."""
    app = Faulty(retry_after, hang_seconds).app
    config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=0)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listening", type=int, required=True)
    parser.add_argument("--hang", type=float, required=True)
    parser.add_argument("--retry-after", type=int, nargs="+", required=True)
    given = parser.parse_args()
    serve(given.listening, given.retry_after, given.hang)
