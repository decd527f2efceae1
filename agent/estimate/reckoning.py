"""Putting it together: requests, their tokens, what they cost, and what the figures rest on."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from agent.config.schema import RunConfig
from agent.diagnosis.switch import switchable
from agent.estimate.counts import Calls, Outlook, round_calls
from agent.estimate.earlier import Earlier, PerCall, is_wrong
from agent.estimate.outlook import STEP_LETTERS, STEPS, Said, foresee, judged_answers, once_calls
from agent.estimate.pool import Naming, naming
from agent.estimate.room import disk
from agent.estimate.tokens import LETTERS, Error, Sizes, tokens_of
from agent.run.console import Reporter
from agent.run.error_budget import check_read
from agent.run.items import read_items
from agent.run.resume import IfExists, extends, goes_on
from agent.teacher.endpoint.connection import check_address
from agent.teacher.ledger.journal import Journal
from agent.teacher.prompts.own import load_prompts
from eval.answers import Answer
from eval.scorers import make_scorer
from eval.task import Item
from training.families.families import HubAwayError, check_model

#: Items that stand for all in reckoning tokens.
_LOOKED_AT = 200

Row = dict[str, Any]


def estimate(config: RunConfig, path: Path, if_exists: IfExists, reporter: Reporter) -> Row:
    """What the run in folder `path` will still ask of its teacher; the keys are those of `--dry-run --json`.

    Raises what the run itself would at its start: ConfigError, DataError, PoolError, RunError.
    """
    prompts, said = load_prompts(config.teacher.prompts), Said()
    if config.teacher.app is None:
        check_address(config.teacher.base_url)
    try:
        check_model(config.student.model)
    except HubAwayError as error:
        said.assumed.append(f"the student is there when the run begins: {error}")
    earlier = Earlier(path) if goes_on(path.resolve(), config, prompts, if_exists) else None
    read = read_items(config)
    check_read(config.data.validation, read.validation, config.error_budget)
    check_read(config.data.holdout or config.data.validation, read.extra, config.error_budget)
    scorer = make_scorer(config.data.scorer, [*read.items, *read.holdout], config.data.tolerance)
    sizes = Sizes(config.teacher, prompts)
    with reporter.bar("looking at the pool") as advance:
        named = naming(config, path, prompts, sizes, advance)
    said.measured.append(f"{len(read.items)} items, {len(read.holdout)} held out; {_of_pool(named)}")
    number = earlier.number if earlier else None
    finished = earlier is not None and earlier.finished and not extends(path, config)
    judged = judged_answers(read, scorer)
    sets = 2 if config.control == "every" else 1
    outlook = None if finished else foresee(config, len(read.items), judged * sets, earlier, said)
    left = 0 if outlook is None else max(0, config.max_rounds - (number or 0))
    reckoned = _Reckoned(config, sizes, _examples(read.items, earlier), outlook, earlier, named)
    once = [] if finished else reckoned.rows(once_calls(config, named, judged, earlier))
    each = reckoned.rows(round_calls(config.diagnosis, outlook)) if left and outlook else []
    reckoned.say_how(said, left > 0)
    price, next_round = config.teacher.price, (number or 0) + 1
    journal = Journal(path / "teacher.jsonl", price)
    return {
        "schema": 1,
        "name": config.name,
        "model": config.teacher.model,
        "price": None if price is None else {"in": price.inward, "out": price.outward, "batch": price.batch},
        "batch": config.teacher.batch,
        "once": once,
        "each_round": each,
        "round": next_round if left else None,
        "rounds_left": left,
        "in_journal": journal.usage(f"round-{next_round:02d}")._asdict() if left and earlier else None,
        "total": {"once": total(once), "round": total(each), "run": total([*once, *each * left])},
        "budget_usd": config.teacher.budget_usd,
        "disk_bytes": disk(config, named.samples, config.max_rounds),
        "seconds_each_round": None if earlier is None else earlier.seconds,
        "measured": said.measured,
        "assumed": said.assumed,
    }


def total(rows: Iterable[Row]) -> Row:
    """Calls, tokens and cost of some rows, the cost None if that of one is not known."""
    found = list(rows)
    costs = [row["cost_usd"] for row in found]
    sums = {key: sum(row[key] for row in found) for key in ("calls", "tokens_in", "tokens_out")}
    return {**sums, "cost_usd": None if None in costs else sum(costs)}


def _of_pool(named: Naming) -> str:
    taken = f"{named.samples:,} samples in the pool"
    return f"{taken}, the skills of {named.named:,} named already" if named.named else taken


def _examples(items: Sequence[Item], earlier: Earlier | None) -> list[Error]:
    """Items with answers, those that will be diagnosed if they are known."""
    by_id = {item.id: item for item in items}
    known = [answer for answer in earlier.answers if answer.item in by_id] if earlier else []
    wrong = [answer for answer in known if is_wrong(answer) and switchable(answer)]
    pairs = [(by_id[answer.item], answer) for answer in wrong] or [(item, _assumed(item)) for item in items]
    return pairs[:: math.ceil(len(pairs) / _LOOKED_AT)]


def _assumed(item: Item) -> Answer:
    steps = ("x" * STEP_LETTERS,) * STEPS
    return Answer(item.id, "\n".join((*steps, item.answers[0])), steps, item.answers[0], False, "wrong")


class _Reckoned:
    """Rows with tokens and costs; it remembers which were measured."""

    def __init__(
        self,
        config: RunConfig,
        sizes: Sizes,
        examples: Sequence[Error],
        outlook: Outlook | None,
        earlier: Earlier | None,
        named: Naming,
    ) -> None:
        self._config, self._sizes, self._examples = config, sizes, examples
        self._earlier, self._named = earlier, named
        right = outlook.right if outlook else 0
        #: Right answers in one request.
        self._together = right / max(1, math.ceil(right / config.diagnosis.per_request))
        self._measured: dict[str, bool] = {}

    def rows(self, calls: Iterable[Calls]) -> list[Row]:
        """Each kind of request with its tokens and cost."""
        return [self._row(each) for each in calls]

    def _row(self, row: Calls) -> Row:
        each = self._tokens(row)
        tokens_in, tokens_out = round(row.calls * each.tokens_in), round(row.calls * each.tokens_out)
        price, in_batch = self._config.teacher.price, self._config.teacher.batch and row.can_wait
        cost = None if price is None else price.of(tokens_in, tokens_out, in_batch)
        return {**row._asdict(), "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost}

    def _tokens(self, row: Calls) -> PerCall:
        if row.what.startswith("the pool"):
            self._measured["the pool's skills"] = self._named.measured
            return self._named.each
        found, measured = tokens_of(row.kind, self._sizes, self._examples, self._together, self._earlier)
        self._measured[row.kind] = measured
        return found

    def say_how(self, said: Said, more: bool) -> None:
        """Say where the tokens come from, and what else is taken for granted; `more`: there are rounds to come."""
        if known := sorted(kind for kind, measured in self._measured.items() if measured):
            said.measured.append(f"tokens are what such requests took before: {', '.join(known)}")
        if guessed := sorted(kind for kind, measured in self._measured.items() if not measured):
            images = self._sizes.rule.words if self._config.teacher.see_images else "none are sent"
            said.assumed.append(f"tokens of {', '.join(guessed)}: one for {LETTERS} letters of text; images: {images}")
            said.assumed.append("replies are short: a model that reasons before it replies takes more tokens for them")
        if not self._named.imported:
            said.assumed.append("every sample of the pool can be used")
        if more:
            said.assumed.append("every reply is usable at once, and later rounds have as many errors as the next one")
