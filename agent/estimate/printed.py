"""An estimate for the terminal."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.estimate.room import room_words
from agent.run import wording

_PRICES = (
    "The price of {} is not known, so costs are not either; give it in US dollars per million tokens, for instance "
    "--set teacher.price_in=0.15 --set teacher.price_out=0.6"
)


def show_estimate(found: dict[str, Any], console: Console) -> None:
    """Print an estimate: a table, what it comes to, and what it rests on."""
    if found["once"] or found["each_round"]:
        console.print(_table(found))
    for line in _lines(found):
        console.print(escape(line), highlight=False, soft_wrap=not console.is_terminal)


def _table(found: dict[str, Any]) -> Table:
    table = Table(title=f"{escape(found['name'])}: what {escape(found['model'])} will be asked", title_justify="left")
    table.add_column("for")
    for name in ("kind", "calls", "tokens in", "tokens out", "cost"):
        table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=True)
    for rows, key, name in (("once", "once", "once"), ("each_round", "round", "each round")):
        for row in found[rows]:
            calls = f"{row['calls']:,}" if row["exact"] else _about(row["calls"])
            table.add_row(escape(row["what"]), row["kind"], calls, *_amounts(row))
        if found[rows]:
            sums = found["total"][key]
            table.add_row(name, "", _about(sums["calls"]), *_amounts(sums), style="bold", end_section=True)
    return table


def _amounts(row: dict[str, Any]) -> list[str]:
    return [_about(row["tokens_in"]), _about(row["tokens_out"]), wording.dollars(row["cost_usd"])]


def _about(count: int) -> str:
    """A number to two digits, with a mark that it is no more than that."""
    return f"~{int(float(f'{count:.2g}')):,}"


def _lines(found: dict[str, Any]) -> list[str]:
    run, left, lines = found["total"]["run"], found["rounds_left"], []
    tokens = _about(run["tokens_in"] + run["tokens_out"])
    if left:
        cost = wording.dollars(run["cost_usd"])
        lines.append(f"All rounds that may come ({left}): {_about(run['calls'])} calls, {tokens} tokens, cost {cost}.")
    else:
        lines.append("No round is left.")
    if (done := found["in_journal"]) and done["calls"]:
        made = wording.count(done["calls"], "call")
        lines.append(f"Of round {found['round']}, {made} in the journal already; no call is made twice.")
    if found["batch"] and found["price"]:
        lines.append(f"What can wait goes into batches, at {found['price']['batch']:.0%} of the price.")
    if found["price"] is None:
        lines.append(_PRICES.format(found["model"]))
    if (limit := found["budget_usd"]) is not None:
        lines.append(f"The run stops before it costs more than teacher.budget_usd, ${limit:g}.")
    lines += room_words(found)
    lines += [f"Known: {sentence}." for sentence in found["measured"]]
    lines += [f"Assumed: {sentence}." for sentence in found["assumed"]]
    return [*lines, "Nothing was asked and nothing started."]
