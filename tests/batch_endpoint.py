"""A scripted endpoint that has a Batch API, in which batches meet their fates."""

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from eval.microworld.batches import BatchService, Made
from tests.endpoint import Scripted, Step, fail

Fate = Callable[["Batches", Made], Awaitable[None]]
#: Marks a request that came in a batch, in the place of a header.
IN_BATCH = {"in-batch": "yes"}


class Batches(BatchService):
    """Batches have `fates`, one each; all later ones end well, their results in any order."""

    def __init__(self, endpoint: Scripted, fates: list[Fate]) -> None:
        async def answer(raw: bytes) -> Response:
            return await endpoint.answer(json.loads(raw), IN_BATCH)

        super().__init__(answer)
        self.fates = fates

    async def _answer_all(self, batch: Made) -> None:
        number = [*self.batches].index(batch.id)
        await (self.fates[number] if number < len(self.fates) else ends_well)(self, batch)

    async def answer_some(self, batch: Made, count: int | None = None) -> None:
        """Answer the first so many requests."""
        batch.results += [await self.result(row) for row in batch.rows[:count]]
        random.Random(0).shuffle(batch.results)

    def give_up(self, batch: Made, code: str) -> None:
        """For those without an answer, a line that says why."""
        done = {row["custom_id"] for row in batch.results}
        error = {"code": code, "message": "This request could not be executed."}
        rows = [row for row in batch.rows if row["custom_id"] not in done]
        batch.results += [{"id": "x", "custom_id": row["custom_id"], "response": None, "error": error} for row in rows]


async def ends_well(service: Batches, batch: Made) -> None:
    await service.answer_some(batch)
    service.end(batch, "completed")


async def goes_on(service: Batches, batch: Made) -> None:
    """It does not end."""
    await service.answer_some(batch, len(batch.rows) // 2)


def expires(after: int, said: bool = True) -> Fate:
    """When so many requests are answered; `said`: the others are in the error file."""

    async def fate(service: Batches, batch: Made) -> None:
        await service.answer_some(batch, after)
        if said:
            service.give_up(batch, "batch_expired")
        service.end(batch, "expired")

    return fate


def fails(code: str, message: str = "no") -> Fate:
    """It is not even begun."""

    async def fate(service: Batches, batch: Made) -> None:
        batch.failure = {"code": code, "message": message, "line": None, "param": None}
        service.end(batch, "failed")

    return fate


@dataclass
class Batched(Scripted):
    """`missing`: the status with which the Batch API is not there; `lost`: so many batches are made without that the client is
    told; `looks`: the status of the next look at a batch, or what it gets, one each; `instead` comes from the whole API,
    `refusal` from the making of a batch, `keeps` from the deletion of a file, `lists` from the list of batches. `unlisted`: the
    list is empty so long."""

    fates: list[Fate] = field(default_factory=list)
    missing: int | None = None
    lost: int = 0
    looks: list[int | Response] = field(default_factory=list)
    instead: Response | None = None
    refusal: Response | None = None
    keeps: Response | None = None
    lists: Response | None = None
    unlisted: bool = False
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.batches = Batches(self, self.fates)

    @property
    def made(self) -> list[Made]:
        """The batches, in the order in which they were made."""
        return [*self.batches.batches.values()]

    @property
    def direct(self) -> int:
        """Requests that did not come in a batch."""
        return sum(seen.headers is not IN_BATCH for seen in self.requests)

    @property
    def app(self) -> Starlette:
        routes = [
            Route(route.path, self._guarded(route.endpoint), methods=route.methods) for route in self.batches.routes
        ]
        return Starlette(routes=[*super().app.routes, *routes])

    def _guarded(self, serve: Any) -> Any:
        async def guarded(request: Request) -> Response:
            self.calls[serve.__name__] += 1
            if self.missing is not None:
                return fail(self.missing, "Not Found")
            if self.instead is not None:
                return self.instead
            if serve.__name__ == "create" and self.refusal is not None:
                return self.refusal
            if serve.__name__ == "delete" and self.keeps is not None:
                return self.keeps
            if serve.__name__ == "list" and (self.lists is not None or self.unlisted):
                return self.lists or JSONResponse({"object": "list", "data": None})
            if serve.__name__ == "retrieve" and self.looks:
                said = self.looks.pop(0)
                return said if isinstance(said, Response) else fail(said, "maintenance")
            response: Response = await serve(request)
            if serve.__name__ == "create" and self.lost:
                self.lost -= 1
                return fail(503, "overloaded")
            return response

        return guarded


__all__ = ["Batched", "Batches", "Step", "ends_well", "expires", "fails", "goes_on"]
