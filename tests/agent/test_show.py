"""How a run stands is read from its folder alone, alive or dead."""

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from agent.show import summary, table
from retrieval.errors import RunError
from retrieval.files import read_json, write_json
from tests.agent.fake_run import Plan, make_fake_run

SMALL = Plan(items=20, holdout=10, fetched=12)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fake_run(tmp_path_factory.mktemp("fake"))


def printed(run: Path) -> str:
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(table(summary(run)))
    return captured.get()


def test_the_summary_has_the_promised_keys(finished: Path) -> None:
    found = json.loads(json.dumps(summary(finished)))
    assert (found["state"], found["stop_reason"], found["best_round"]) == ("finished", "plateau", 2)
    assert [row["round"] for row in found["rounds"]] == [0, 1, 2, 3]
    keys = {
        "round",
        "n",
        "accuracy",
        "interval",
        "holdout",
        "control",
        "p_value",
        "gaps",
        "selected",
        "teacher",
        "seconds",
    }
    for row in found["rounds"]:
        assert keys <= set(row)
        assert row["n"] == 120
        assert row["interval"][0] < row["accuracy"] < row["interval"][1]
        assert row["holdout"]["n"] == 100
        assert set(row["teacher"]) == {"calls", "tokens", "cost_usd"}
    first, kept = found["rounds"][0], found["rounds"][2]
    assert (first["control"], first["p_value"], first["gaps"], first["selected"]) == (None, None, [], 0)
    assert set(kept["control"]) == {"accuracy", "holdout"}
    assert kept["selected"] == 60
    assert kept["gaps"][0]["errors"] >= kept["gaps"][-1]["errors"] > 0
    assert kept["teacher"]["tokens"] > 0


def test_the_table_marks_the_kept_round_and_says_why_the_run_stopped(finished: Path) -> None:
    text = printed(finished)
    assert "2 ★" in text
    assert "Stopped: later rounds were not shown to be better." in text
    assert "p < 0.001" in text


def test_without_a_gain_the_highest_round_is_named_as_not_shown_to_be_better(tmp_path: Path) -> None:
    plan = Plan(fetched=12, items=20, holdout=0, accuracy=(0.4, 0.5, 0.45), best=0, stop_reason="no_gain")
    run = make_fake_run(tmp_path, plan)
    found = summary(run)
    assert found["best_round"] == 0
    assert found["highest"]["shown_better"] is False
    assert found["rounds"][0]["holdout"] is None
    assert "not shown to be better" in printed(run)
    assert "★" not in printed(run)


def test_tokens_in_and_out_are_added_up(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, SMALL)
    record = run / "rounds" / "01" / "round.json"
    write_json(
        record, {**read_json(record), "teacher": {"calls": 2, "tokens_in": 70, "tokens_out": 5, "cost_usd": 0.1}}
    )
    assert summary(run)["rounds"][1]["teacher"] == {"calls": 2, "tokens": 75, "cost_usd": 0.1}


def test_a_run_that_says_it_runs_is_running_only_while_a_process_holds_it(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, items=20, holdout=10, state="running", stop_reason=None))
    assert summary(run)["state"] == "killed"
    with FileLock(run / "lock"):
        assert summary(run)["state"] == "running"
    assert summary(run)["state"] == "killed"


def test_a_round_under_way_shows_what_there_is(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, SMALL)
    shutil.rmtree(run / "rounds" / "03" / "control", ignore_errors=True)
    for name in ("evaluation.json", "round.json", "answers.jsonl"):
        (run / "rounds" / "03" / name).unlink()
    row = summary(run)["rounds"][3]
    assert (row["accuracy"], row["interval"], row["seconds"]) == (None, None, {})
    assert row["gaps"]
    assert printed(run)


def test_what_is_no_run_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist"):
        summary(tmp_path / "nowhere")
    with pytest.raises(RunError, match="no run folder"):
        summary(tmp_path)


def test_names_from_files_are_not_read_as_markup(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, SMALL)
    write_json(run / "run.json", {**read_json(run / "run.json"), "name": "[red]x[/nope]", "stop_reason": "[/] odd"})
    assert "[red]x[/nope]" in printed(run)
    assert "[/] odd" in printed(run)
