"""Starting over in a folder: a kill at any point leaves the old run or none of it, and what was paid stays."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.run.folder import POOL_COSTS, RunFolder
from agent.run.resume import IfExists
from agent.run.summary import summary
from agent.teacher.ledger.budget import Budget
from agent.teacher.ledger.journal import Completion, Journal
from agent.teacher.ledger.ledger import Ledger
from retrieval.errors import DataError, RunError
from retrieval.storage.files import read_json, read_jsonl, write_text
from tests.agent.run.test_run_folder import config

REPLY = Completion("{}", "stop", "", 600, 400, 2048)
PAID = ("endpoint.json", POOL_COSTS, "teacher.batches.jsonl", "teacher.jsonl")
FRESH = {"lock", "config.yaml", "run.json", "events.jsonl", "metrics.jsonl"}


def old_run(path: Path) -> str:
    """A run with a round, a journal and an adapter; returns its id."""
    folder = RunFolder.open(path, config())
    folder.event("something")
    folder.close()
    for name in ("items.jsonl", "rounds/00/answers.jsonl", "rounds/01/adapter/adapter_config.json", "best/README"):
        write_text(path / name, "")
    write_text(path / "endpoint.json", "{}")
    for name, scope in (("teacher.jsonl", "round-01"), (POOL_COSTS, f"pool for {folder.id}")):
        journal = Journal(path / name)
        journal.add(f"key of {name}", "skills", scope, REPLY, 2.0)
        journal.close()
    (path / "teacher.batches.jsonl").touch()
    return folder.id


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def die_before(last: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that dies before it removes or renames an entry for the `last`th time; whether it did."""
    child = os.fork()
    if child == 0:
        left = [last]
        for name in ("unlink", "rmdir", "replace"):
            original = getattr(os, name)

            def dying(*given: Any, original: Any = original, **named: Any) -> None:
                left[0] -= 1
                if left[0] == 0:
                    os._exit(9)
                original(*given, **named)

            setattr(os, name, dying)
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("how", ["delete", "delete-all"])
def test_a_kill_at_any_removed_entry_leaves_the_old_run_or_a_folder_that_begins_anew(
    tmp_path: Path, how: IfExists
) -> None:
    """Covers: kill -9, for `--if-exists`."""
    began = RunFolder.open(tmp_path / "warm", config(seed=1)).id  # what takes long to import is here before the forks
    for number in range(1, 100):
        path = tmp_path / f"{number}"
        first = old_run(path)
        before = contents(path)
        died = die_before(number, lambda path=path: RunFolder.open(path, config(seed=1), how))
        if (path / "run.json").exists() and read_json(path / "run.json")["id"] == first:
            assert {**contents(path), "lock": b""} == {**before, "lock": b""}, "the old run is whole"
            RunFolder.open(path, config()).close()
            continue
        folder = RunFolder.open(path, config(seed=1))
        folder.close()
        assert folder.id not in (first, began)
        kept = set(PAID) & {entry.name for entry in path.iterdir()}
        assert {entry.name for entry in path.iterdir()} == FRESH | kept
        assert kept == (set(PAID) if how == "delete" else set())
        if not died:
            assert number > 8
            return
    raise AssertionError("it never came to an end")


def test_what_was_paid_stays_counts_towards_the_budget_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run"
    old_run(path)
    folder = RunFolder.open(path, config(), "delete")
    folder.close()
    assert [note.partition(",")[0] for note in folder.notes] == ["kept of the run that was here: 2 calls"]
    assert "$4.00" in folder.notes[0]
    assert "delete-all" in folder.notes[0]
    assert summary(path)["paid_before"] == {"calls": 2, "tokens": 2000, "cost_usd": 4.0}
    budget = Budget(10.0)
    ledger = Ledger(config().teacher, path / "teacher.jsonl", budget, None)
    assert ledger.load()
    assert budget.spent == 2.0
    assert ledger.find("key of teacher.jsonl", 2048) is not None, "it is not asked, and paid, again"
    assert (ledger.usage("round-01").calls, ledger.paid().calls) == (0, 0), "no round of this run took it"
    RunFolder.open(path, config(), "delete").close()
    assert summary(path)["paid_before"]["calls"] == 2, "and stays what it was"
    forgotten = RunFolder.open(path, config(), "delete-all")
    forgotten.close()
    assert (forgotten.notes, summary(path)["paid_before"]) == ([], None)
    assert not (path / "teacher.jsonl").exists()


def test_a_journal_that_is_damaged_is_named_before_the_run_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    first = old_run(path)
    write_text(path / "teacher.jsonl", "[1]\n" + (path / "teacher.jsonl").read_text())
    with pytest.raises(DataError, match=r"teacher\.jsonl, line 1: it is no JSON object; mend or remove that line"):
        RunFolder.open(path, config(), "delete")
    assert read_json(path / "run.json")["id"] == first
    RunFolder.open(path, config(), "delete-all").close()
    assert read_json(path / "run.json")["id"] != first


def test_rounds_without_a_run_are_no_part_of_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    old_run(path)
    (path / "run.json").unlink()
    (path / "events.jsonl").unlink()
    with pytest.raises(RunError, match=r"its run\.json is gone"):
        RunFolder.open(path, config())
    RunFolder.open(path, config(), "delete").close()
    assert not (path / "rounds").exists()
    assert [row["event"] for row in read_jsonl(path / "events.jsonl")] == ["run_began"]
