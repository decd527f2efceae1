"""A stand-in of vLLM, for what a real server does not do on demand; what vLLM itself does is looked at in tests/served."""

import argparse
import asyncio
import os
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

KEY = "stand-in"


@dataclass
class StandIn:
    """What vLLM's paths answer, and what was asked of them."""

    model: str = "theirs"
    key: str = KEY
    takes_adapters: bool = True
    broken_adapters: bool = False  # HTTP 500 to any, as vLLM answers where the rank is too high
    # Prompts that end the engine, which is there again without its adapters; what else is in flight is lost with it.
    deadly: frozenset[str] = frozenset()
    tells: bool = True  # log-probabilities of a prompt
    page: bool = False  # HTML instead of a list of models
    root: str | None = None
    effect: float = 1.0  # what an adapter adds to a log-probability
    asleep: bool = False
    lives: int = 0
    dead: bool = False
    down: int = 0  # looks whether it lives that find it down
    adapters: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/models", self.models),
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/load_lora_adapter", self.load, methods=["POST"]),
                Route("/v1/unload_lora_adapter", self.unload, methods=["POST"]),
                Route("/sleep", self.sleep, methods=["POST"]),
                Route("/wake_up", self.wake, methods=["POST"]),
            ]
        )

    async def models(self, request: HttpRequest) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        if self.page:
            return HTMLResponse("<p>Welcome")
        return JSONResponse({"data": [{"root": self.root, "id": self.model, "parent": None, "max_model_len": 512}]})

    async def chat(self, request: HttpRequest) -> Response:
        body = await request.json()
        if self.dead:
            self.dead = not isinstance(body["messages"][0]["content"], str)  # until one has looked whether it lives
            return JSONResponse({"error": {"message": "EngineCore encountered an issue"}}, 500)
        if self.down:
            self.down -= isinstance(body["messages"][0]["content"], str)  # one has looked whether it lives
            return JSONResponse({"error": {"message": "EngineCore encountered an issue"}}, 500)
        if self.asleep:
            return JSONResponse({"error": {"message": "the engine is asleep"}}, 500)
        if body["model"] not in (self.model, *self.adapters):
            return JSONResponse({"error": {"message": f"The model `{body['model']}` does not exist."}}, 404)
        await asyncio.sleep(float(os.environ.get("STAND_IN_DELAY", "0")))
        if "prompt_logprobs" in body and self.tells:
            value = -3.0 + self.effect * (body["model"] != self.model)
            read = {
                "prompt_token_ids": [1, 2, 3],
                "prompt_logprobs": [None, {"2": {"logprob": value}}, {"3": {"logprob": value}}],
            }
            return JSONResponse({"choices": [], **read})
        text = body["messages"][0]["content"]
        if self.deadly and not isinstance(text, str):
            lives = self.lives
            if text[-1]["text"] in self.deadly:
                self.lives += 1
                self.adapters.clear()
                self.dead = True
                return JSONResponse({"error": {"message": "EngineCore encountered an issue"}}, 500)
            await asyncio.sleep(0.1)
            if lives != self.lives:
                return JSONResponse({"error": {"message": "EngineCore encountered an issue"}}, 500)
        if not isinstance(text, str):
            self.answered.append(text[-1]["text"])
        said = {"message": {"content": f" by {body['model']}"}, "finish_reason": "stop"}
        return JSONResponse({"choices": [said]})

    async def load(self, request: HttpRequest) -> Response:
        if not self.takes_adapters:
            return JSONResponse({"detail": "Not Found"}, 404)
        if self.broken_adapters:
            return JSONResponse({"error": {"message": "LoRA rank 8 is greater than max_lora_rank 4."}}, 500)
        name = (await request.json())["lora_name"]
        if name in self.adapters:
            return JSONResponse({"error": {"message": f"The lora adapter '{name}' has already been loaded."}}, 400)
        self.adapters.append(name)
        self.loaded.append(name)
        return Response("ok")

    async def unload(self, request: HttpRequest) -> Response:
        self.adapters.remove((await request.json())["lora_name"])
        return Response("ok")

    async def sleep(self, request: HttpRequest) -> Response:
        self.asleep = True
        return Response()

    async def wake(self, request: HttpRequest) -> Response:
        self.asleep = False
        if os.environ.get("STAND_IN_FORGETS"):
            self.effect = 0.0
        return Response()


def main() -> None:
    """Serve as vLLM does when it is started with these arguments."""
    parser = argparse.ArgumentParser()
    for name in ("--served-model-name", "--host", "--port"):
        parser.add_argument(name)
    given, _ = parser.parse_known_args()
    stand_in = StandIn(given.served_model_name, os.environ["VLLM_API_KEY"])
    uvicorn.run(stand_in.app(), host=given.host, port=int(given.port), log_level="info")


if __name__ == "__main__":
    main()
