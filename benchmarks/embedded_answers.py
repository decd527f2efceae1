"""The embedded engine against the plainest batched `generate` loop over the same items.

    python benchmarks/embedded_answers.py MODEL ITEMS [--images DIR] [--prompt "{question} Think in steps."]

Alternated pairs in one process, each way warmed up before; the figure is the median over the pairs of engine / plain
throughput (mark: 0.95 or more). Peak memory (MiB, resident) of each way in a process of its own, over the items and
over four times as many. Prints one JSON object.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from PIL import Image

from agent.config.schema import StudentConfig
from agent.student.embedded import EmbeddedStudent
from agent.student.engine import Request
from eval.task import load_items
from training.families.families import load_model, load_processor, resolve_dtype


def main() -> None:
    """Measure and print."""
    options = _options()
    requests = _requests(options)
    if options.memory:
        ways(options, requests * options.times)[options.memory]()
        print(_high_water())
        return
    result = {"schema": 1, "items": len(requests), **speed(ways(options, requests), options.pairs)}
    for way in ("engine", "plain"):
        result[f"{way}_peak_mib"] = {"items": _peak(way, 1), "four times the items": _peak(way, 4)}
    print(json.dumps(result, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("items", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--prompt", default="{question} Think in steps.")
    parser.add_argument("--limit", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--memory", choices=("engine", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


def _requests(options: argparse.Namespace) -> list[Request]:
    items = load_items(options.items, options.images, options.limit).items
    return [Request(item.id, options.prompt.format(question=item.prompt_text), item.images) for item in items]


def ways(options: argparse.Namespace, requests: Sequence[Request]) -> dict[str, Callable[[], dict[str, str]]]:
    """Both ways to answer all requests, each giving the texts by id; a model is loaded at a way's first call."""
    unique = [Request(f"{n}-{r.id}", r.prompt, r.images) for n, r in enumerate(requests)]
    config = StudentConfig(model=options.model, batch_size=options.batch_size, max_new_tokens=options.tokens)
    student = EmbeddedStudent(config)

    async def ask() -> dict[str, str]:
        return {reply.id: reply.text async for reply in student.answer(unique)}

    plain: list[Any] = []

    def loop() -> dict[str, str]:
        if not plain:
            plain.extend(_load_plain(options.model))
        return _plain_loop(*plain, unique, options.batch_size, options.tokens)

    return {"engine": lambda: asyncio.run(ask()), "plain": loop}


def _load_plain(name: str) -> tuple[Any, Any]:
    processor = load_processor(name)
    processor.tokenizer.padding_side = "left"
    model = load_model(name, resolve_dtype("auto"), "sdpa")
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), processor


def _plain_loop(model: Any, processor: Any, requests: Sequence[Request], size: int, tokens: int) -> dict[str, str]:
    """What anyone would write first."""
    said: dict[str, str] = {}
    for start in range(0, len(requests), size):
        batch = requests[start : start + size]
        texts = [_chat(processor, request) for request in batch]
        images = [[Image.open(path).convert("RGB") for path in request.images] for request in batch if request.images]
        inputs = processor(text=texts, images=images or None, padding=True, return_tensors="pt").to(
            model.device, model.dtype
        )
        made = model.generate(**inputs, do_sample=False, max_new_tokens=tokens)[:, inputs["input_ids"].shape[1] :]
        decoded = processor.batch_decode(made, skip_special_tokens=True)
        said.update(zip((request.id for request in batch), decoded, strict=True))
    return said


def _chat(processor: Any, request: Request) -> str:
    content = [{"type": "image"} for _ in request.images] + [{"type": "text", "text": request.prompt}]
    text: str = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return text


def speed(both: dict[str, Callable[[], dict[str, str]]], pairs: int) -> dict[str, Any]:
    """Items per second of each way (medians), the median of the pairs' ratios, and the share of equal texts."""
    texts = {way: work() for way, work in both.items()}
    rates: dict[str, list[float]] = {"engine": [], "plain": []}
    for pair in range(pairs):
        for way in ("engine", "plain") if pair % 2 else ("plain", "engine"):
            began = time.perf_counter()
            both[way]()
            rates[way].append(len(texts[way]) / (time.perf_counter() - began))
    same = sum(texts["engine"][name].strip() == text.strip() for name, text in texts["plain"].items())
    return {
        "engine_items_per_second": round(median(rates["engine"]), 1),
        "plain_items_per_second": round(median(rates["plain"]), 1),
        "ratio": round(median(e / p for e, p in zip(rates["engine"], rates["plain"], strict=True)), 3),
        "same_text": round(same / len(texts["plain"]), 4),
    }


def _high_water() -> int:
    """Peak of this process's own memory in MiB (getrusage would hand on the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def _peak(way: str, times: int) -> int:
    command = [sys.executable, *sys.argv, "--memory", way, "--times", str(times)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.strip().split("\n")[-1])


if __name__ == "__main__":
    main()
