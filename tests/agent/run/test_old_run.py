"""A run of an older version opens for reading, and there is nothing in it to refuse when it goes on."""

from pathlib import Path

import pytest

from agent.estimate import estimate
from agent.loop.data import ensure_data
from agent.report import write_report
from agent.run.console import Reporter
from agent.run.context import Context
from agent.run.folder import RunFolder
from agent.run.resume import SCHEMA, read_config
from agent.run.summary import summary
from retrieval.storage.files import read_json, read_jsonl
from tests.agent.run.old_run import unpack, with_data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return unpack(tmp_path)


def test_it_is_shown_and_reported(run: Path) -> None:
    found = summary(run)
    assert (found["state"], found["damage"], found["paid_before"]) == ("killed", [], None)
    assert [(row["round"], row["n"], row["selected"]) for row in found["rounds"]] == [
        (0, 12, 0),
        (1, 12, 12),
        (2, 0, 0),
    ]
    assert "Round" in write_report(run).read_text()


async def test_it_is_estimated_and_goes_on_with_its_data(run: Path) -> None:
    with_data(run)
    config, before = read_config(run), read_jsonl(run / "teacher.jsonl")
    found = estimate(config, run, "resume", Reporter(quiet=True))
    assert (found["round"], found["rounds_left"]) == (2, 2)
    folder = RunFolder.open(run, config)
    context = Context.build(folder, Reporter(quiet=True))
    try:
        await ensure_data(context)
    finally:
        await context.close()
    assert folder.notes == []
    status = read_json(run / "run.json")
    assert status["schema"] == SCHEMA
    assert status["pool_key"]
    assert read_config(run).student.engine == "embedded"
    assert len(read_jsonl(run / "pictures.jsonl")) > 0
    assert read_jsonl(run / "teacher.jsonl") == before
