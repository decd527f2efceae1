"""Estimates beside what whole small runs of the micro-world took, by their journals.

The run folder as it stood after a round is what the estimate of the next one is made from.
"""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from agent.config.loading import load_config
from agent.estimate import estimate
from agent.run.console import Reporter
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl
from tests.faults.conftest import SMALL

#: Tokens of a kind that nobody has measured yet are reckoned within this factor, those of a whole round too.
FACTOR = 2.0
#: Asked as the micro-world's student is used to, so that it writes steps.
SETTINGS = {**SMALL, "control": "off", "tuning": {"epochs": 1, "batch_size": 8}, "review": True, "student": {}}
Row = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimates")
    make_data(folder / "data", "arithmetic", 100)
    config = world_config("small", folder / "data", "arithmetic", 100, **SETTINGS)
    (folder / "small.yaml").write_text(render(config))
    return folder


def run_it(folder: Path, run: Path, *overrides: str) -> None:
    sets = [each for override in overrides for each in ("--set", override)]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "small.yaml"), "--run-dir", str(run), *sets])
    assert ended.value.code in (0, 4)


def foreseen(folder: Path, run: Path, *overrides: str) -> Row:
    return estimate(load_config(folder / "small.yaml", [*overrides]), run, "resume", Reporter(quiet=True))


def as_it_stood_after(run: Path, number: int) -> Path:
    """A copy beside the run, without what came after that round."""
    copy = run.with_name(f"{run.name}-after-{number}")
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("lock"))
    for later in copy.glob("rounds/*"):
        if int(later.name) > number:
            shutil.rmtree(later)
    rows = [row for row in read_jsonl(copy / "teacher.jsonl") if row["scope"] <= f"round-{number:02d}"]
    write_jsonl(copy / "teacher.jsonl", rows)
    write_json(copy / "run.json", {**read_json(copy / "run.json"), "state": "stopped"})
    return copy


def journalled(run: Path, number: int) -> list[Row]:
    return [row for row in read_jsonl(run / "teacher.jsonl") if row["scope"] == f"round-{number:02d}"]


def taken(rows: list[Row]) -> dict[str, tuple[int, int]]:
    """Mean tokens in and out by kind."""
    found = {}
    for kind in {row["kind"] for row in rows}:
        own = [row for row in rows if row["kind"] == kind]
        found[kind] = (sum(r["tokens_in"] for r in own) // len(own), sum(r["tokens_out"] for r in own) // len(own))
    return found


def check_calls(found: Row, run: Path, number: int) -> None:
    """What is called exact is so; the rest is not far from it."""
    made = Counter(row["kind"] for row in journalled(run, number))
    assert {row["kind"]: row["calls"] for row in found["each_round"] if row["exact"]}.items() <= made.items()
    assert {row["kind"] for row in found["each_round"]} >= set(made)


def check_tokens(found: Row, run: Path, number: int) -> None:
    real = taken(journalled(run, number))
    for row in found["each_round"]:
        if row["kind"] in real:
            inward, _ = real[row["kind"]]
            assert inward / FACTOR <= row["tokens_in"] / row["calls"] <= inward * FACTOR, row["kind"]


LOCATORS = [
    ("single_pass", "student"),
    ("random_step", "student"),
    ("answer_switch", "student"),
    ("answer_switch", "teacher"),
    ("per_step", "student"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("locator", "judge"), LOCATORS)
def test_a_round_takes_the_calls_that_its_errors_say_and_about_the_tokens(
    folder: Path, locator: str, judge: str
) -> None:
    run = folder / "runs" / f"{locator}-{judge}"
    sets = (f"diagnosis.locator={locator}", f"diagnosis.judge={judge}")
    before = foreseen(folder, run, *sets)
    run_it(folder, run, *sets)
    errors = sum(row["kind"] in ("wrong", "format") for row in read_jsonl(run / "rounds" / "00" / "answers.jsonl"))
    after = foreseen(folder, as_it_stood_after(run, 0), *sets)
    assert any(sentence.startswith(f"{errors} of 24 answers of round 0") for sentence in after["measured"])
    check_calls(after, run, 1)
    check_tokens(before, run, 1)
    check_tokens(after, run, 1)


def test_a_run_takes_the_calls_that_were_said_and_a_pool_that_is_named_none(folder: Path) -> None:
    run = folder / "pooled" / "run"
    (before,) = [row for row in foreseen(folder, run)["once"] if row["kind"] == "skills"]
    run_it(folder, run)
    (journal,) = (folder / "pooled" / "pools").glob("*/skills-*/teacher.jsonl")
    rows = read_jsonl(journal)
    assert len(rows) == before["calls"]
    assert (
        sum(row["tokens_in"] for row in rows) / FACTOR
        <= before["tokens_in"]
        <= sum(row["tokens_in"] for row in rows) * FACTOR
    )
    check_calls(foreseen(folder, as_it_stood_after(run, 0)), run, 1)
    assert foreseen(folder, run)["once"] == []
    skills = journal.with_name("skills.jsonl")
    write_jsonl(skills, read_jsonl(skills)[:-20])
    (left,) = foreseen(folder, run)["once"]
    assert left["exact"]
    assert left["tokens_in"] / left["calls"] == pytest.approx(sum(row["tokens_in"] for row in rows) / len(rows), abs=1)


@pytest.mark.slow
def test_a_later_round_is_foreseen_from_what_the_one_before_took(folder: Path) -> None:
    # Tuned enough that some answers change.
    more = ("selection.budget=60", "tuning.epochs=8", "max_rounds=2", "patience=2", "review=false")
    run, sets = folder / "runs" / "two", more
    before = foreseen(folder, run, *sets)["total"]["round"]
    run_it(folder, run, *sets)
    first = journalled(run, 1)
    for key in ("tokens_in", "tokens_out"):
        assert sum(row[key] for row in first) / FACTOR <= before[key] <= sum(row[key] for row in first) * FACTOR
    found = foreseen(folder, as_it_stood_after(run, 1), *sets)
    real = journalled(run, 2)
    assert (found["round"], found["once"]) == (2, [])
    check_calls(found, run, 2)  # an error in the same words as before is read from the journal
    tokens = sum(row["tokens_in"] for row in real)
    assert tokens / FACTOR <= found["total"]["round"]["tokens_in"] <= tokens * FACTOR
    done = foreseen(folder, run, *sets)
    assert (done["rounds_left"], done["each_round"], done["total"]["run"]["calls"]) == (0, [], 0)
