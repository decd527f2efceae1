"""A run whose teacher has a budget, through the command: it stops, goes on under a higher one, and loses nothing.

A token of a reply costs a dollar and nothing else does, so what a request can cost is `max_tokens`: a run under a budget
of `MOST + c` stops at the first request after c dollars are spent.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from retrieval.storage.files import read_json, read_jsonl
from tests.faults.conftest import SMALL, nodes_started, results

MOST = 2048
SETTINGS: dict[str, Any] = {
    **SMALL,
    "control": "off",
    "data": {"limit": 12},
    "teacher": {"price_in": 0.0, "price_out": 1e6, "max_tokens": MOST},
    "tuning": {"epochs": 1, "batch_size": 8},
}
Called = tuple[int, str, dict[str, Any]]


def call(capsys: pytest.CaptureFixture[str], config: Path, run: Path, *overrides: str) -> Called:
    """`gaptutor run`: its exit code, the last line that it said, and its run.json."""
    sets = [each for override in overrides for each in ("--set", override)]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(config), "--run-dir", str(run), *sets])
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert isinstance(ended.value.code, int)
    return ended.value.code, said.strip().splitlines()[-1], read_json(run / "run.json")


def stops(capsys: pytest.CaptureFixture[str], config: Path, run: Path, limit: float, spent: float) -> None:
    """Run under a budget, and check that it stops with `spent`, and says so in one sentence and in its folder."""
    code, said, status = call(capsys, config, run, f"teacher.budget_usd={limit:g}")
    told = (
        f"teacher.budget_usd: ${sum(costs(run)):.4f} of ${limit:g} are spent, and the next request could cost "
        f"${MOST}.0000; raise it and run again to go on"
    )
    assert (code, status["state"], status["error"]) == (5, "stopped", told)
    assert said.startswith("stopped by its budget; go on with: gaptutor run ")
    assert (run / "report.html").exists()
    assert spent <= sum(costs(run)) <= limit


def costs(run: Path) -> tuple[float, float]:
    """US dollars in the journals of a run and of its pool, none of whose requests was paid twice."""
    journals = [
        [*read_jsonl(run / "teacher.jsonl")],
        [row for path in (run.parent / "pools").glob("*/skills-*/teacher.jsonl") for row in read_jsonl(path)],
    ]
    for rows in journals:
        assert len({row["key"] for row in rows}) == len(rows)
    own, named = (sum(row["cost_usd"] for row in rows) for rows in journals)
    return own, named


def in_place(found: dict[str, object]) -> dict[str, object]:
    """Results without the place of the pool's pictures: each run has a pool of its own, to name its skills itself."""
    places = b"/(free|bounded)/pools/"
    return {name: re.sub(places, b"/", each) if isinstance(each, bytes) else each for name, each in found.items()}


def make_config(folder: Path) -> Path:
    make_data(folder / "data", "arithmetic", 100)
    config = folder / "small.yaml"
    config.write_text(render(world_config("small", folder / "data", "arithmetic", 100, **SETTINGS)))
    return config


def test_a_run_whose_first_request_could_cost_more_than_its_budget_asks_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stops(capsys, make_config(tmp_path), tmp_path / "run", limit=MOST - 1, spent=0)
    assert not (tmp_path / "run" / "teacher.jsonl").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_over_its_budget_goes_on_under_a_higher_one_and_ends_as_one_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, free, run = make_config(tmp_path), tmp_path / "free" / "run", tmp_path / "bounded" / "run"
    code, said, _ = call(capsys, config, free)
    assert code == 0, said
    own, named = costs(free)

    stops(capsys, config, run, limit=MOST + named // 2, spent=named // 2)
    begun = [("prepare", 0), ("evaluate", 0), ("decide", 0), ("control", 0), ("diagnose", 1)]
    assert [*nodes_started(run)] == begun, "while the pool's skills are named"
    stops(capsys, config, run, limit=MOST + named + own // 3, spent=named + own // 3)
    assert [*nodes_started(run)][-1] == ("diagnose", 1)

    code, said, status = call(capsys, config, run, f"teacher.budget_usd={named + own + MOST:g}")
    assert (code, status["state"], status["error"]) == (0, "finished", None), said
    assert in_place(results(run)) == in_place(results(free))
    assert costs(run) == (own, named), "what was paid for is not paid for again"
    assert status["stop_reason"] == read_json(free / "run.json")["stop_reason"]


def test_what_the_run_paid_for_the_pools_skills_counts_wherever_its_folder_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = make_config(tmp_path), tmp_path / "one" / "run"
    stops(capsys, config, run, limit=MOST, spent=0)
    probe, named = costs(run)
    assert (probe > 0, named) == (True, 0), "the question at the start"
    limit = MOST + probe
    stops(capsys, config, run, limit=limit, spent=probe)
    spent = sum(costs(run))
    assert spent > probe, "there was room for one request about the pool"

    def stops_at_once(at: Path, *changes: str) -> None:
        code, _, status = call(capsys, config, at, f"teacher.budget_usd={limit:g}", *changes)
        assert code == 5
        assert status["error"].startswith(f"teacher.budget_usd: ${spent:.4f} of ${limit:g} are spent, ")

    stops_at_once(run)
    moved = tmp_path / "other" / "place"
    shutil.copytree(run, moved)  # without the pool, which is named anew there
    stops_at_once(moved)

    (run.parent / "pools").rename(tmp_path / "gone")
    stops_at_once(run)
    sets = ["--set", f"teacher.budget_usd={limit:g}"]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(config), "--run-dir", str(run), "--if-exists", "delete-all", *sets])
    assert ended.value.code == 5
    assert costs(run)[0] == probe, "a run that starts over and forgets all has its whole budget"
    assert costs(run)[1] > 0
