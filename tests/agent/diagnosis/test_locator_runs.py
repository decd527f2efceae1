"""Each way to find the wrong step that asks the teacher more than once, in a whole small run of the micro-world."""

from pathlib import Path

import pytest

from agent.cli.init import render
from agent.cli.main import main
from agent.cli.microworld import make_data, world_config
from retrieval.storage.files import read_json, read_jsonl
from tests.faults.conftest import SMALL

#: Asked as the micro-world's student is used to, so that it writes steps.
SETTINGS = {**SMALL, "control": "off", "student": {}, "tuning": {"epochs": 1, "batch_size": 8}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, and the pools of the runs beside each other."""
    folder = tmp_path_factory.mktemp("locators")
    make_data(folder / "data", "arithmetic", 100)
    config = world_config("small", folder / "data", "arithmetic", 100, **SETTINGS)
    (folder / "small.yaml").write_text(render(config))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locator", "judge", "kinds"),
    [
        ("answer_switch", "teacher", {"choose", "name_gap"}),
        ("per_step", "student", {"step_right", "name_gap"}),
        ("random_step", "student", {"name_gap"}),
    ],
)
def test_a_run_with_this_locator_ends_with_diagnoses(folder: Path, locator: str, judge: str, kinds: set[str]) -> None:
    run = folder / "runs" / locator
    sets = ["--set", f"diagnosis.locator={locator}", "--set", f"diagnosis.judge={judge}"]
    with pytest.raises(SystemExit) as ended:
        main(["run", str(folder / "small.yaml"), "--run-dir", str(run), *sets])
    assert ended.value.code == 0
    assert read_json(run / "run.json")["state"] == "finished"
    rows = read_jsonl(run / "rounds" / "01" / "diagnoses.jsonl")
    found = [row for row in rows if row["state"] == "diagnosed" and row["locator"] == locator]
    assert found, "nothing was diagnosed by this locator"
    assert all(row["step"] and row["skill"] for row in found)
    assert not [row for row in rows if row["state"] == "set_aside"]
    assert {row["kind"] for row in read_jsonl(run / "teacher.jsonl")} >= kinds
    assert read_json(run / "rounds" / "01" / "gaps.json")["gaps"]
