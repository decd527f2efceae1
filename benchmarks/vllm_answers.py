"""The vLLM engine against the plainest concurrent client, on the same server and the same requests.

    python -m benchmarks.vllm_answers [MODEL] [--python VLLM_ENV/bin/python] [--items 300] [--pairs 5]

Alternated pairs, each way warmed up before; the figure is the median over the pairs of engine / plain seconds (mark: at most
1.05). The engine writes each answer to a file as a run does, the plain client keeps them in a list. Items: `extremes` of the
micro-world. Prints one JSON object.
"""

import argparse
import asyncio
import base64
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from openai import AsyncOpenAI

from agent.config.schema import StudentConfig, TeacherConfig
from agent.evaluation.answering import answer_items, read_answers
from agent.student.vllm.server.needs import SERVED
from agent.student.vllm.student import VllmStudent
from agent.teacher.client import Teacher
from eval.microworld import WEIGHTS
from eval.microworld.export import write_items
from eval.microworld.tasks import load_task
from eval.scorers import make_scorer
from eval.task import Item, load_items

CONCURRENCY, TOKENS = 64, 96
PROMPT = "{question} Think in steps."


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(WEIGHTS))
    parser.add_argument("--python", help="Python of the environment with vLLM")
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    print(json.dumps(asyncio.run(measure(parser.parse_args())), indent=2))


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both ways on one server."""
    vllm = {"python": options.python, "concurrency": CONCURRENCY, "args": ["--enforce-eager"]}
    config = StudentConfig.model_validate({"model": options.model, "max_new_tokens": TOKENS, "vllm": vllm})
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        items = load_items(write_items(load_task("extremes"), "validation", work, options.items), None, None).items
        student = VllmStudent(config, work)
        teacher = Teacher(TeacherConfig(model="none", base_url="http://127.0.0.1:9/v1"), work / "teacher.jsonl")
        try:
            return await _pairs(student, teacher, items, work, options.pairs)
        finally:
            await student.close()
            await teacher.close()


async def _pairs(
    student: VllmStudent, teacher: Teacher, items: tuple[Item, ...], work: Path, pairs: int
) -> dict[str, Any]:
    scorer = make_scorer("auto", items, 1e-3)

    async def engine() -> list[str]:
        path = work / "answers.jsonl"
        path.unlink(missing_ok=True)
        await answer_items(student, items, path, None, PROMPT, scorer, teacher, lambda done, of: None)
        return [answer.text for answer in read_answers(path)]

    async def plain() -> list[str]:
        return await _plain(student, items)

    ways: dict[str, Callable[[], Awaitable[list[str]]]] = {"engine": engine, "plain": plain}
    texts = {way: await work() for way, work in ways.items()}
    seconds: dict[str, list[float]] = {"engine": [], "plain": []}
    for pair in range(pairs):
        for way in ("engine", "plain") if pair % 2 else ("plain", "engine"):
            began = time.perf_counter()
            await ways[way]()
            seconds[way].append(time.perf_counter() - began)
    return {
        "schema": 1,
        "items": len(items),
        "engine_seconds": round(median(seconds["engine"]), 2),
        "plain_seconds": round(median(seconds["plain"]), 2),
        "ratio": round(median(e / p for e, p in zip(seconds["engine"], seconds["plain"], strict=True)), 3),
        "same_text": round(sum(map(str.__eq__, *texts.values())) / len(items), 4),
    }


async def _plain(student: VllmStudent, items: tuple[Item, ...]) -> list[str]:
    """What anyone would write first, in the order of item ids."""
    server = student.serving.client
    room = asyncio.Semaphore(CONCURRENCY)
    async with AsyncOpenAI(base_url=f"{server.url}/v1", api_key=server.key) as client:

        async def ask(item: Item) -> str:
            async with room:
                pictures = [base64.b64encode(path.read_bytes()).decode() for path in item.images]
                content: list[Any] = [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in pictures
                ]
                content.append({"type": "text", "text": PROMPT.replace("{question}", item.prompt_text)})
                reply = await client.chat.completions.create(
                    model=SERVED, messages=[{"role": "user", "content": content}], max_tokens=TOKENS, temperature=0
                )
                return (reply.choices[0].message.content or "").strip()

        return list(await asyncio.gather(*map(ask, sorted(items, key=lambda item: item.id))))


if __name__ == "__main__":
    main()
