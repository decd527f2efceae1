"""The random control: as many samples as the round had, drawn at random, tuned and evaluated the same way."""

import math
import time
from dataclasses import asdict

from rich.markup import escape

from agent.evaluation.answering import answer_sets
from agent.loop.data import ensure_data
from agent.loop.node import Update, node
from agent.loop.notes import note_figures
from agent.loop.state import State
from agent.run.context import Context
from agent.strategies.rehearsal import own_rationales, without_steps, write_own_rationales
from agent.strategies.training_set import tune_on, union
from retrieval.errors import AdapterError, TuningError
from retrieval.selection.random import select_random
from retrieval.storage.files import read_jsonl, read_object, write_json, write_jsonl


@node(reads="nothing")
async def control(context: Context, state: State) -> Update:
    """Make the control of the rounds that want one: the kept round after the last one, or every round as it is decided.

    The last node of a round: where the loop goes on, it moves on to the next.
    """
    for number in _rounds(context, state):
        folder = context.folder.control(number)
        if not ((folder / "evaluation.json").exists() or (folder / "round.json").exists()):
            context.reporter.say(
                f"[bold]round {number}[/bold] · its control: as many random samples, tuned the same way"
            )
            start = time.monotonic()
            failed = await _tried(context, number)
            seconds = {"control": round(time.monotonic() - start, 3)}
            record = {"schema": 1, "round": number, "seconds": seconds}
            write_json(folder / "round.json", record | ({"error": failed} if failed else {}))
    return {} if state["stop_reason"] else {"round": state["round"] + 1}


def _rounds(context: Context, state: State) -> list[int]:
    """Rounds that the configuration wants a control of, as far as the run has come."""
    wanted, evaluated = context.config.control, range(1, len(state["accuracies"]))
    if wanted == "every":
        return list(evaluated)
    if wanted == "off" or not state["stop_reason"]:
        return []
    named = [wanted] if isinstance(wanted, int) and wanted in evaluated else []
    return sorted({*named, *([state["best_round"]] if state["best_round"] else [])})


async def _tried(context: Context, number: int) -> str | None:
    """Make a control; why it failed, if it did. It is tried again when the run is started again, and not in every round."""
    try:
        await _make(context, number)
    except (TuningError, AdapterError) as error:
        what = "tuned" if isinstance(error, TuningError) else "asked"
        context.folder.event("control_failed", round=number, error=str(error))
        context.reporter.say(f"[red]the control could not be {what}:[/red] {escape(str(error))}")
        return str(error)
    return None


async def _make(context: Context, number: int) -> None:
    await ensure_data(context)  # only here: a run that ends with its first answers names no pool
    data, folder = context.data, context.folder.control(number)
    wanted = len(union(context, number))
    # As many as the round was tuned on: for those that cannot be tuned on others stand by, so that no arm has fewer.
    spare = max(4, math.ceil(context.config.error_budget * wanted))
    chosen = select_random(data.pool.ids, wanted + spare, data.excluded, context.config.seed)
    ids = [each.sample for each in chosen]
    helped = sum(len(read_jsonl(context.folder.round(each) / "rationales.jsonl")) for each in range(1, number + 1))
    if helped:  # as many as the rounds asked for
        asked = without_steps(data.pool, ids)[:helped]
        await write_own_rationales(context, asked, folder / "rationales.jsonl")
    rationales, take = own_rationales(folder / "rationales.jsonl"), _tuned_on(context, number) or wanted
    result = await tune_on(context, ids, folder, rationales, take)
    looked_at = chosen[: result.samples + result.set_aside]
    write_jsonl(folder / "selection.jsonl", (each.as_row(number) for each in looked_at))
    note_figures(context, round=number, arm="control", **asdict(result))
    await answer_sets(context, folder, number, folder / "adapter")


def _tuned_on(context: Context, number: int) -> int | None:
    """How many samples a round's adapter was tuned on."""
    manifest = context.folder.round(number) / "adapter" / "manifest.json"
    return int(read_object(manifest)["result"]["samples"]) if manifest.exists() else None
