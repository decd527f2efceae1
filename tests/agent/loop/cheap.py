"""A run whose nodes cost nothing, under the real state machine, contract and checkpoints."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import agent.loop.node
from agent.config.loading import parse_config
from agent.config.schema import RunConfig
from agent.loop.drive import drive
from agent.loop.node import Node, Update, Work
from agent.loop.state import State
from agent.run.console import Reporter
from agent.run.context import Context
from eval.microworld import WEIGHTS
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl, write_text

ITEMS = 1000


def config(rounds: int, **changes: Any) -> RunConfig:
    raw = {
        "name": "checkpoints",
        "max_rounds": rounds,
        "control": "off",
        "data": {"validation": "/items.jsonl"},
        "pool": {"path": "/pool.json"},
        "student": {"model": str(WEIGHTS)},
        "teacher": {"model": "teacher"},
    }
    return parse_config({**raw, **changes}, "test")


async def prepare(context: Context, state: State) -> Update:
    write_jsonl(context.folder.path / "items.jsonl", ({"id": f"item-{number:04d}"} for number in range(ITEMS)))
    return {}


async def evaluate(context: Context, state: State) -> Update:
    number = state["round"]
    text = "Step 1: the digits are 3 and 4.\nStep 2: 3 plus 4 is 7.\nAnswer: 7"
    rows = [{"item": f"item-{each:04d}", "text": text, "correct": each % (number + 2) > 0} for each in range(ITEMS)]
    write_jsonl(context.folder.round(number) / "answers.jsonl", rows)
    write_json(context.folder.round(number) / "evaluation.json", {"schema": 1, "n": ITEMS})
    return {"accuracies": [*state["accuracies"][:number], sum(row["correct"] is True for row in rows) / ITEMS]}


async def decide(context: Context, state: State) -> Update:
    number = state["round"]
    write_json(context.folder.round(number) / "round.json", {"round": number})
    reason = "max_rounds" if number == context.config.max_rounds else None
    return {"best_round": number, "stop_reason": reason}


async def diagnose(context: Context, state: State) -> Update:
    folder = context.folder.round(state["round"])
    write_jsonl(folder / "diagnoses.jsonl", ({"item": f"item-{each:04d}"} for each in range(ITEMS)))
    write_json(folder / "gaps.json", {"gaps": []})
    return {"stop_reason": None}


async def retrieve(context: Context, state: State) -> Update:
    rows = ({"sample": f"s{each:04d}"} for each in range(ITEMS))
    write_jsonl(context.folder.round(state["round"]) / "selection.jsonl", rows)
    return {}


async def tune(context: Context, state: State) -> Update:
    write_adapter(context.folder.round(state["round"]) / "adapter", state["round"])
    return {}


async def finish(context: Context, state: State) -> Update:
    failed = str(state["stop_reason"]).startswith("tuning_failed")
    best = state["best_round"]
    if best:
        write_adapter(context.folder.path / "best", best)
    context.folder.status(state="failed" if failed else "finished", stop_reason=state["stop_reason"], best_round=best)
    write_text(context.folder.path / "report.html", json.dumps(state))
    return {}


def write_adapter(folder: Path, number: int) -> None:
    """An adapter of one number, which is sound as far as files go."""
    write_json(folder / "adapter_config.json", {"peft_type": "LORA"})
    save_file({"layer.lora_B.weight": torch.full((1,), float(number))}, folder / "adapter_model.safetensors")


#: `control` and `review` work as ever: they have nothing to do here but to move the loop on.
CHEAP: dict[str, Work] = {work.__name__: work for work in (prepare, evaluate, decide, diagnose, retrieve, tune, finish)}


async def go(config: RunConfig, run: Path) -> str:
    return await drive(config, run, "resume", Reporter(quiet=True))


def steps(run: Path) -> list[tuple[str, int]]:
    """The nodes in the order of their starts."""
    return [(row["node"], row["round"]) for row in read_jsonl(run / "events.jsonl") if row["event"] == "node_started"]


def ending(run: Path) -> Any:
    """The last state, as `finish` got it, but for the folder's own path."""
    return {**read_json(run / "report.html"), "run": None}


RunOnce = Callable[[Context, State, Node, Work], Any]


def cheapen(first: dict[tuple[str, int], Work] | None = None) -> RunOnce:
    """The node contract, `agent.loop.node.run_once`, on cheap nodes. `first`: by node and round, what it does there, once,
    before its work, or, where that gives a result, instead."""
    run_once, first = agent.loop.node.run_once, {} if first is None else first

    async def run_cheap(context: Context, state: State, spec: Node, work: Work) -> Update:
        async def all_of_it(context: Context, state: State) -> Update:
            if (spec.name, state["round"]) in first:
                found = await first.pop((spec.name, state["round"]))(context, state)
                if found:
                    return found
            return await CHEAP.get(spec.name, work)(context, state)

        return await run_once(context, state, spec._replace(reads="nothing"), all_of_it)

    return run_cheap
