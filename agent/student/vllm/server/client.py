"""Requests to a vLLM server. The key guards the paths under /v1 only; it is no isolation from other users of the machine."""

import contextlib
import json
from typing import Any

import httpx2

from agent.chat.key import forms_of

#: Seconds for the one-token answer that shows that an engine is alive.
PROBE_SECONDS = 30.0


class LostError(Exception):
    """The engine is dead or hangs; `status` is HTTP's, 0 if there was no answer."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class RefusedError(Exception):
    """The server refuses a request; `status` is HTTP's."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(reason)
        self.status = status


class Client:
    """Requests to a server's OpenAI-compatible API. Raises LostError or RefusedError."""

    def __init__(self, url: str, key: str, timeout: float, connections: int) -> None:
        self.url, self.key = url, key
        self._shown_keys = forms_of(key)
        limits = httpx2.Limits(max_connections=connections + 4, max_keepalive_connections=connections + 4)
        self._http = httpx2.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(timeout, connect=PROBE_SECONDS),
            limits=limits,
            trust_env=False,
        )

    async def post(self, path: str, body: dict[str, Any], timeout: float | None = None) -> Any:
        """The answer to a request, read as JSON where it is."""
        wait = httpx2.USE_CLIENT_DEFAULT if timeout is None else httpx2.Timeout(timeout)
        try:
            reply = await self._http.post(path, json=body, timeout=wait)
        except httpx2.TimeoutException:
            raise LostError("no answer in time") from None
        except httpx2.HTTPError as error:
            raise LostError(f"no connection ({error or type(error).__name__})") from None
        self._check(reply)
        with contextlib.suppress(ValueError):
            return reply.json()
        return reply.text

    async def models(self) -> list[dict[str, Any]]:
        """What the server serves."""
        try:
            reply = await self._http.get("/v1/models", timeout=PROBE_SECONDS)
        except httpx2.HTTPError as error:
            raise LostError(f"no connection ({error or type(error).__name__})") from None
        self._check(reply)
        try:
            found: list[dict[str, Any]] = reply.json()["data"]
        except (ValueError, KeyError, TypeError):
            raise RefusedError("no list of models came back", reply.status_code) from None
        return found

    def _check(self, reply: httpx2.Response) -> None:
        if reply.status_code == 200:
            return
        reason = _reason(reply.text)
        for form in self._shown_keys:
            reason = reason.replace(form, "[key]")
        if reply.status_code >= 500:
            raise LostError(f"HTTP {reply.status_code}: {reason}", reply.status_code)
        raise RefusedError(reason, reply.status_code)

    async def probe(self, model: str) -> None:
        """Raise LostError if the engine does not say a single token; /health can answer while it is dead."""
        body = {"model": model, "messages": [{"role": "user", "content": "Say: ready"}], "max_tokens": 1}
        await self.post("/v1/chat/completions", {**body, "temperature": 0}, PROBE_SECONDS)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()


def _reason(text: str) -> str:
    """What an error body says."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        body = json.loads(text)
        found = body.get("error", body)
        text = str(found["message"] if isinstance(found, dict) else found)
    return " ".join(text.split())[:300]
