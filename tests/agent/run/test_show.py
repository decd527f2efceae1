"""How a run stands is read from its folder alone, alive or dead."""

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from agent.run import wording
from agent.run.summary import summary, table
from retrieval.errors import RunError
from retrieval.storage.files import read_json, write_json
from tests.agent.fake_run import NAMING, Plan, make_fake_run

SMALL = Plan(items=20, holdout=10, fetched=12)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_fake_run(tmp_path_factory.mktemp("fake"))


def printed(run: Path) -> str:
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        console.print(table(summary(run)))
    return captured.get()


def said(run: Path) -> str:
    return " ".join(printed(run).split())


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
    assert {"accuracy", "holdout"} <= set(kept["control"])
    assert kept["selected"] == 60
    assert kept["gaps"][0]["errors"] >= kept["gaps"][-1]["errors"] > 0
    assert kept["teacher"]["tokens"] > 0


def test_the_table_marks_the_kept_round_and_says_why_the_run_stopped(finished: Path) -> None:
    text = printed(finished)
    assert "2 ★" in text
    assert "Stopped: later rounds were not shown to be better." in text
    assert "p < 0.001" in text


def test_without_a_gain_the_highest_round_is_named_as_not_shown_to_be_better(tmp_path: Path) -> None:
    plan = Plan(fetched=12, items=40, holdout=0, accuracy=(0.4, 0.5, 0.45), best=0, stop_reason="no_gain")
    run = make_fake_run(tmp_path, plan)
    found = summary(run)
    assert found["best_round"] == 0
    assert found["highest"]["shown_better"] is False
    assert found["rounds"][0]["holdout"] is None
    assert found["highest"]["round"] == 1
    assert "Round 1 is not kept although it scored above the student as it came" in said(run)
    assert "not shown to be better" in said(run)
    assert "★" not in printed(run)


def test_no_round_is_the_highest_that_does_not_score_above_the_student_as_it_came(tmp_path: Path) -> None:
    plan = Plan(fetched=12, items=20, holdout=10, accuracy=(0.5, 0.5, 0.4), best=0, stop_reason="no_gain", control=None)
    run = make_fake_run(tmp_path, plan)
    assert summary(run)["highest"] is None
    assert [row["not_kept"] for row in summary(run)["rounds"]] == [None] * 3


def test_why_a_round_that_scored_above_the_kept_one_is_not_kept(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, accuracy=(0.4, 0.7, 0.72), best=1))
    first, kept, higher = summary(run)["rounds"]
    assert (first["not_kept"], kept["not_kept"]) == (None, None)
    assert higher["accuracy"] > kept["accuracy"]
    shares = f"({wording.percent(higher['accuracy'])} against {wording.percent(kept['accuracy'])})"
    above = f"Round 2 is not kept although it scored above round 1 on the validation set {shares}"
    assert higher["not_kept"].startswith(above)
    assert f"(one-sided exact McNemar test on the validation set: p = {higher['p_value']:.3f}, " in higher["not_kept"]
    assert higher["not_kept"].endswith("more than alpha / patience = 0.025).")
    assert higher["not_kept"] in said(run)


def test_a_round_that_is_higher_on_the_holdout_alone_is_explained_too(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, accuracy=(0.4, 0.6, 0.8, 0.78), best=2))
    for number, accuracy in ((1, 0.9), (2, 0.8), (3, 0.81)):
        path = run / "rounds" / f"{number:02d}" / "evaluation.json"
        found = read_json(path)
        write_json(path, {**found, "holdout": {**found["holdout"], "accuracy": accuracy}})
    _, superseded, _, later = (row["not_kept"] for row in summary(run)["rounds"])
    assert superseded == (
        "Round 1 is not kept although it scored above round 2 on the holdout (90.0% against 80.0%): "
        "rounds are judged on the validation set alone, where a later one was shown to be better."
    )
    assert later.startswith(
        "Round 3 is not kept although it scored above round 2 on the holdout (81.0% against 80.0%): "
        "it was not shown to be better (one-sided exact McNemar"
    )


def test_a_round_is_compared_with_the_best_before_it(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(fetched=12, accuracy=(0.4, 0.62, 0.6), best=2))
    record = run / "rounds" / "01" / "round.json"
    write_json(record, {**read_json(record), "better": False, "p_value": 0.0251})
    assert "than the student as it came (one-sided" in summary(run)["rounds"][1]["not_kept"]
    assert "p = 0.0251, more than alpha / patience = 0.025" in summary(run)["rounds"][1]["not_kept"]


def test_what_naming_the_pools_skills_took_is_said(finished: Path, tmp_path: Path) -> None:
    assert summary(finished)["annotation"] == {**NAMING, "this_run": NAMING}
    assert "Naming the pool's skills: 20 calls, 31,000 tokens, $0.35." in said(finished)
    run = make_fake_run(tmp_path, SMALL)
    status = read_json(run / "run.json")
    none = {"calls": 0, "tokens": 0, "cost_usd": 0.0}
    write_json(run / "run.json", {**status, "annotation": {**NAMING, "cost_usd": None, "this_run": none}})
    assert summary(run)["annotation"]["this_run"] == none
    assert "20 calls, 31,000 tokens, at a cost that is not known in all; by this run: no calls." in said(run)
    del status["annotation"]
    write_json(run / "run.json", status)
    assert summary(run)["annotation"] is None
    assert "Naming" not in said(run)


def test_a_controls_time_is_its_own(finished: Path) -> None:
    found = summary(finished)
    kept = found["rounds"][2]
    assert kept["control"]["seconds"] == 73.0
    assert all("control" not in row["seconds"] for row in found["rounds"])
    assert "made in 73 s, which are in no round's time" in said(finished)


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
    write_json(run / "run.json", {**read_json(run / "run.json"), "stop_reason": "[red]x[/nope]"})
    run = run.rename(run.with_name("[red]odd"))
    assert "[red]x[/nope]" in printed(run)
    assert "[red]odd" in printed(run)
