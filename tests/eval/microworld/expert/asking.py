"""Asking an expert in process, without the loop's client."""

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
from PIL import Image
from starlette.applications import Starlette

from eval.microworld.scene import Scene, render


def png(scene: Scene) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(render([scene])[0]).save(buffer, "PNG")
    return buffer.getvalue()


def data_url(picture: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"


def body(kind: str | None, data: Any, pictures: Sequence[bytes] = (), **more: Any) -> dict[str, Any]:
    """A request as the loop's client makes it; without a kind, as it makes it for endpoints without structured outputs."""
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": data_url(p)}} for p in pictures]
    parts.append({"type": "text", "text": data if isinstance(data, str) else json.dumps(data)})
    messages = [{"role": "system", "content": "You examine."}, {"role": "user", "content": parts}]
    shape = {"response_format": {"type": "json_schema", "json_schema": {"name": kind}}} if kind else {}
    return {"model": "expert", "messages": messages, **shape, **more}


def client(app: Starlette) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://expert.local/v1/")


async def ask(app: Starlette, kind: str | None, data: Any, pictures: Sequence[bytes] = ()) -> Any:
    """The reply's object. Raises AssertionError if there is none."""
    async with client(app) as http:
        reply = await http.post("chat/completions", json=body(kind, data, pictures))
    assert reply.status_code == 200, reply.text
    return json.loads(reply.json()["choices"][0]["message"]["content"])


def noisy(picture: np.ndarray, seed: int) -> np.ndarray:
    """A picture with noise of its own on top."""
    noise = np.random.default_rng(seed).normal(0, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
