"""Figures and outcomes in words, the same in the terminal and in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

_REASONS = {
    "plateau": "later rounds were not shown to be better",
    "no_gain": "no round was shown to be better than the student as it came",
    "max_rounds": "the last round that the configuration allows is done",
    "no_errors": "no errors are left",
    "no_gaps": "the teacher named no gap",
    "pool_exhausted": "the pool has no more samples for these gaps",
}


def reason(stop_reason: Any) -> str:
    """Why a run ended, in words; a reason that is not listed stands for itself."""
    return _REASONS.get(str(stop_reason), str(stop_reason)) if stop_reason else ""


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage, “–” for none."""
    return "–" if share is None else f"{100 * share:.{digits}f}%"


def span(interval: Any) -> str:
    """An interval of shares as percentages."""
    return f"{100 * interval[0]:.0f}–{100 * interval[1]:.0f}%" if interval else "–"


def points(difference: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def change(before: float, after: float) -> str:
    """The difference of two shares in points, of the figures that `percent` shows: a reader who subtracts gets the same."""
    return points((round(100 * after, 1) - round(100 * before, 1)) / 100)


def p_value(value: float | None) -> str:
    """A probability as it is reported."""
    return "–" if value is None else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def in_brackets(counts: Mapping[str, int]) -> str:
    """Counts behind what they are counts of, the largest first: ` (3 malformed, 1 refused)`; nothing if there are none."""
    listed = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return f" ({', '.join(f'{number} {name}' for name, number in listed)})" if listed else ""


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: “1 error”, “2,000 errors”."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def taken(calls: int, tokens: int, cost_usd: float | None) -> str:
    """What was asked of the teacher."""
    cost = "at a cost that is not known" if cost_usd is None else dollars(cost_usd)
    return f"{count(calls, 'call')}, {count(tokens, 'token')}, {cost}" if calls else "no calls"


def paid_before(calls: int, tokens: int, cost_usd: float | None) -> str:
    """What was asked of the teacher by a run that was deleted."""
    return f"Before this run, by one that was deleted: {taken(calls, tokens, cost_usd)}; it counts towards the budget."


def dollars(cost: float | None) -> str:
    """A cost, “unknown” for none; what costs less than a cent is shown to the hundredth of one."""
    if cost is None:
        return "unknown"
    return f"${cost:,.2f}" if cost >= 0.01 or cost == 0 else f"${cost:.4f}"


def left_out(sources: Sequence[Mapping[str, Any]]) -> str:
    """What of a pool shows a validation item, by its sources (`source`, `excluded`, `of`)."""
    found, of = (sum(row[key] for row in sources) for key in ("excluded", "of"))
    said = f"{found:,} of the pool's {of:,} samples ({percent(found / of if of else 0)}) show an item of yours and are left out"
    most = sorted((row for row in sources if row["excluded"]), key=lambda row: -row["excluded"])
    if len(sources) < 2 or not most:
        return said
    parts = [
        f"{row['source'] or 'no source'} {row['excluded']:,} of {row['of']:,} ({percent(row['excluded'] / row['of'])})"
        for row in most[:8]
    ]
    return f"{said}: {', '.join(parts)}" + (f" and {len(most) - 8} more sources" if len(most) > 8 else "")
