"""OpenAI's Batch API over a chat endpoint in this process, such as the expert: /v1/files and /v1/batches.

Files and batches are in memory and go with the process. The requests of a batch are answered one after the other from the moment
that it is made. Output and errors are two files, as OpenAI's: what came with status 200, and all else.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from eval.microworld import expert

#: Answers a chat request, given as the bytes of its body.
Answer = Callable[[bytes], Awaitable[Response]]
Row = dict[str, Any]


@dataclass
class Made:
    """A batch. `rows` are the lines of its input, `results` those of output and errors so far."""

    id: str
    input: str
    metadata: dict[str, str] | None
    rows: list[Row]
    status: str = "in_progress"
    results: list[Row] = field(default_factory=list)
    output: str | None = None
    errors: str | None = None
    failure: Row | None = None
    created: int = field(default_factory=lambda: int(time.time()))

    def as_json(self) -> Row:
        """As OpenAI shows it."""
        good = sum(map(_is_good, self.results))
        counts = {"total": len(self.rows), "completed": good, "failed": len(self.results) - good}
        return {
            **{"id": self.id, "object": "batch", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
            **{"input_file_id": self.input, "status": self.status, "created_at": self.created},
            **{"output_file_id": self.output, "error_file_id": self.errors, "request_counts": counts},
            "metadata": self.metadata,
            "errors": {"object": "list", "data": [self.failure]} if self.failure else None,
        }


class BatchService:
    """The routes, and what stands behind them."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Made] = {}
        self._work: set[asyncio.Task[None]] = set()

    @property
    def routes(self) -> list[Route]:
        """To be served beside the chat endpoint."""
        return [
            Route("/v1/files", self.upload, methods=["POST"]),
            Route("/v1/files/{id}/content", self.content, methods=["GET"]),
            Route("/v1/files/{id}", self.delete, methods=["DELETE"]),
            Route("/v1/batches", self.create, methods=["POST"]),
            Route("/v1/batches", self.list, methods=["GET"]),
            Route("/v1/batches/{id}", self.retrieve, methods=["GET"]),
            Route("/v1/batches/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Keep a file."""
        content = _uploaded(request.headers.get("content-type", ""), await request.body())
        if content is None:
            return _refused(400, "there is no file in the form")
        id = self._keep(content)
        return JSONResponse({"id": id, "object": "file", "bytes": len(content), "purpose": "batch"})

    async def content(self, request: Request) -> Response:
        """A file's bytes."""
        content = self.files.get(request.path_params["id"])
        return _refused(404, "no such file") if content is None else Response(content)

    async def delete(self, request: Request) -> Response:
        """Forget a file."""
        id = request.path_params["id"]
        gone = self.files.pop(id, None) is not None
        return JSONResponse({"id": id, "object": "file", "deleted": True}) if gone else _refused(404, "no such file")

    async def create(self, request: Request) -> Response:
        """Make a batch of a file, and begin with it."""
        body = await request.json()
        content = self.files.get(body.get("input_file_id"))
        if content is None:
            return _refused(400, "there is no such input file")
        try:
            rows = [json.loads(line) for line in content.splitlines()]
        except ValueError:
            return _refused(400, "a line of the input file is not JSON")
        batch = Made(f"batch_{uuid4().hex}", body["input_file_id"], body.get("metadata"), rows)
        self.batches[batch.id] = batch
        self.begin(batch)
        return JSONResponse(batch.as_json())

    async def list(self, request: Request) -> Response:
        """The batches, the newest first."""
        ids = [*reversed(self.batches)]
        after, limit = request.query_params.get("after"), int(request.query_params.get("limit", 20))
        start = ids.index(after) + 1 if after in ids else 0
        page = [self.batches[id].as_json() for id in ids[start : start + limit]]
        return JSONResponse({"object": "list", "data": page, "has_more": start + limit < len(ids)})

    async def retrieve(self, request: Request) -> Response:
        """How a batch stands."""
        batch = self.batches.get(request.path_params["id"])
        return _refused(404, "no such batch") if batch is None else JSONResponse(batch.as_json())

    async def cancel(self, request: Request) -> Response:
        """Stop with a batch; what is answered stays."""
        batch = self.batches.get(request.path_params["id"])
        if batch is None:
            return _refused(404, "no such batch")
        if batch.status == "in_progress":
            self.end(batch, "cancelled")
        return JSONResponse(batch.as_json())

    def begin(self, batch: Made) -> None:
        """Answer its requests in the background."""
        task = asyncio.create_task(self._answer_all(batch))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer_all(self, batch: Made) -> None:
        for row in batch.rows:
            if batch.status != "in_progress":
                return
            batch.results.append(await self.result(row))
            await asyncio.sleep(0)
        self.end(batch, "completed")

    async def result(self, row: Row) -> Row:
        """The line of output or errors for a line of input."""
        response = await self._answer(json.dumps(row["body"]).encode())
        said = {
            "status_code": response.status_code,
            "request_id": uuid4().hex,
            "body": json.loads(bytes(response.body)),
        }
        return {"id": f"batch_req_{uuid4().hex}", "custom_id": row["custom_id"], "response": said, "error": None}

    def end(self, batch: Made, status: str) -> None:
        """Write output and errors, as far as there are any."""
        good = [row for row in batch.results if _is_good(row)]
        bad = [row for row in batch.results if not _is_good(row)]
        batch.output, batch.errors = (self._keep(_lines(rows)) if rows else None for rows in (good, bad))
        batch.status = status

    def _keep(self, content: bytes) -> str:
        id = f"file-{uuid4().hex}"
        self.files[id] = content
        return id


def _is_good(row: Row) -> bool:
    return row["response"] is not None and row["response"]["status_code"] == 200


def _lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _uploaded(content_type: str, body: bytes) -> bytes | None:
    """The field `file` of a form (multipart/form-data, RFC 7578)."""
    found = re.search('boundary="?([^";]+)', content_type)
    for part in body.split(b"--" + found[1].encode()) if found else ():
        head, _, content = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return content.removesuffix(b"\r\n")
    return None


def _refused(status: int, message: str) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return JSONResponse({"error": error}, status)


def with_batches(chat: ASGIApp) -> Starlette:
    """The chat endpoint, and a Batch API beside it."""
    inside = httpx2.AsyncClient(transport=httpx2.ASGITransport(chat), base_url="http://inside", timeout=None)

    async def answer(raw: bytes) -> Response:
        reply = await inside.post("/v1/chat/completions", content=raw)
        return Response(reply.content, reply.status_code)

    return Starlette(routes=[*BatchService(answer).routes, Mount("/", chat)])


#: The expert with a Batch API.
app = with_batches(expert.app)
