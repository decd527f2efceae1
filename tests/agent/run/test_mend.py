"""Damage of a run's own files: mended where it can be, and said in one sentence that names file, line and cure."""

from pathlib import Path

import pytest

from agent.run.folder import RunFolder
from agent.run.summary import summary
from retrieval.errors import DataError, GaptutorError, RunError
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl, write_text
from tests.agent.run.test_run_folder import config

BINARY, NO_OBJECT, CUT = b"\xff\xfe\x00\x01", b"[1, 2]\n", b'{"schema": 1, '
DEEP = b"[" * 200_000


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of which round 0 is decided."""
    folder = RunFolder.open(tmp_path / "run", config())
    first = folder.round(0)
    write_jsonl(first / "answers.jsonl", [{"item": "a"}, {"item": "b"}, {"item": "c"}])
    for name in ("evaluation.json", "round.json"):
        write_json(first / name, {"schema": 1})
    write_json(first / ".manifests" / "evaluate.json", {"schema": 1, "key": "k", "done": True, "seconds": 2.5})
    decided = {"schema": 1, "key": "k", "done": True, "seconds": 0.0, "update": {"best_round": 0}}
    write_json(first / ".manifests" / "decide.json", decided)
    folder.event("node_ended", node="decide", round=0)
    folder.close()
    return folder.path


def said(run: Path) -> list[str]:
    folder = RunFolder.open(run, config())
    folder.close()
    return folder.notes


@pytest.mark.parametrize("held", [BINARY, NO_OBJECT, CUT, DEEP], ids=["binary", "no object", "cut", "deep"])
@pytest.mark.parametrize("name", ["evaluation.json", "round.json", ".manifests/evaluate.json"])
def test_what_a_node_makes_is_made_again(run: Path, name: str, held: bytes) -> None:
    path = run / "rounds" / "00" / name
    path.write_bytes(held)
    assert len(summary(run)["damage"]) == 1
    (note,) = said(run)
    assert note.startswith(str(path))
    assert note.endswith("what is missing of it is made again")
    assert not path.exists()
    manifests = [read_json(each) for each in (run / "rounds" / "00" / ".manifests").glob("*.json")]
    assert manifests
    assert not any(each["done"] for each in manifests)
    assert said(run) == summary(run)["damage"] == []


@pytest.mark.parametrize("name", ["evaluation.json", "answers.jsonl"])
def test_what_cannot_be_read_at_all_is_named_and_left(run: Path, name: str) -> None:
    path = run / "rounds" / "00" / name
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=rf"{name} cannot be read: Is a directory"):
        said(run)
    assert path.is_dir()
    assert len(summary(run)["damage"]) == 1


def test_a_run_that_is_refused_is_not_mended(run: Path) -> None:
    path = run / "rounds" / "00" / "evaluation.json"
    path.write_bytes(CUT)
    with pytest.raises(RunError, match="holds a run already"):
        RunFolder.open(run, config(), "raise")
    status = read_json(run / "run.json")
    write_json(run / "run.json", {**status, "schema": status["schema"] + 1})
    with pytest.raises(RunError, match="newer gaptutor"):
        said(run)
    assert path.read_bytes() == CUT


def test_a_finished_run_is_not_finished_while_a_round_of_it_is_made_again(run: Path) -> None:
    end = run / "rounds" / "02" / ".manifests" / "finish.json"
    write_json(end, {"schema": 1, "key": "k", "done": True, "seconds": 0.0, "update": {}})
    (run / "rounds" / "00" / "evaluation.json").write_bytes(CUT)
    assert said(run)
    assert read_json(end)["done"] is False


def test_a_damaged_line_of_a_log_is_made_again_and_the_others_stay(run: Path) -> None:
    path = run / "rounds" / "00" / "answers.jsonl"
    path.write_bytes(b'{"item": "a"}\n7\n\xff\n{"item": "c"}\n')
    assert said(run) == [
        f"{path}, line 2: it is no JSON object; mend or remove that line: what is missing of it is made again"
    ]
    assert [row["item"] for row in read_jsonl(path)] == ["a", "c"]
    evaluate = read_json(run / "rounds" / "00" / ".manifests" / "evaluate.json")
    assert (evaluate["done"], evaluate["key"], evaluate["seconds"]) == (False, "k", 2.5)


def test_what_a_person_wrote_in_the_gaps_stays(run: Path) -> None:
    for review in (True, False):
        RunFolder.open(run, config(review=review), "delete").close()
        path = run / "rounds" / "01" / "gaps.json"
        write_text(path, '{"gaps": [}')
        folder = RunFolder.open(run, config(review=review))
        folder.close()
        assert (path.exists(), bool(folder.notes)) == (review, not review)


@pytest.mark.parametrize("name", ["events.jsonl", "metrics.jsonl"])
def test_a_damaged_line_of_the_notes_is_left_out(run: Path, name: str) -> None:
    with open(run / name, "ab") as file:
        file.write(b"7\n")
    assert [note for note in said(run) if "that line is left out" in note]
    assert said(run) == []


@pytest.mark.parametrize("held", [BINARY, NO_OBJECT, CUT, None], ids=["binary", "no object", "cut", "gone"])
def test_run_json_comes_back_from_the_other_files(run: Path, held: bytes | None) -> None:
    before = read_json(run / "run.json")
    if held is None:
        (run / "run.json").unlink()
    else:
        (run / "run.json").write_bytes(held)
        assert summary(run)["damage"]
    assert [note for note in said(run) if "made again from the run's other files" in note]
    now = read_json(run / "run.json")
    assert (now["id"], now["prompts"], now["best_round"]) == (before["id"], before["prompts"], 0)


def test_a_run_json_that_nothing_tells_of_is_named_with_a_cure(run: Path) -> None:
    (run / "events.jsonl").unlink()
    (run / "run.json").write_bytes(BINARY)
    with pytest.raises(DataError, match=r"run\.json is damaged: it is not text; restore it from a copy") as caught:
        said(run)
    assert caught.value.exit_code == 2
    assert summary(run)["damage"] == [str(caught.value)]


@pytest.mark.parametrize("held", [BINARY, b"[1]", b"{{{", b"name: [7]\n"])
def test_a_damaged_configuration_is_named_with_a_cure_and_the_rest_is_read(run: Path, held: bytes) -> None:
    (run / "config.yaml").write_bytes(held)
    with pytest.raises(
        RunError, match=r"config\.yaml.*; restore it from a copy, or start over with --if-exists delete"
    ):
        said(run)
    assert [row["round"] for row in summary(run)["rounds"]] == [0]


@pytest.mark.parametrize("name", ["teacher.jsonl", "teacher.batches.jsonl", "pool-costs.jsonl"])
def test_what_was_paid_is_not_mended_but_named(run: Path, name: str) -> None:
    from agent.teacher.batch.log import BatchLog
    from agent.teacher.ledger.journal import Journal

    (run / name).write_bytes(b"7\n")
    with pytest.raises(GaptutorError, match=rf"{name}, line 1: it is no JSON object; mend or remove that line"):
        _ = BatchLog(run / name).open if "batches" in name else Journal(run / name).load()
