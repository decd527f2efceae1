"""What a run may go on with changed, what it is refused for, and when a finished one is extended."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from agent.config.schema import RunConfig
from agent.run.folder import RunFolder
from agent.run.lock import is_held
from agent.run.resume import SCHEMA, extends, read_config
from agent.run.summary import summary
from retrieval.errors import RunError
from retrieval.storage.files import read_json, write_json
from tests.agent.run.test_run_folder import config


def began(path: Path, given: RunConfig | None = None, rounds: int = 0, **status: Any) -> Path:
    """A run in which rounds up to `rounds` were answered."""
    folder = RunFolder.open(path, given or config())
    for number in range(rounds + 1):
        folder.round(number).mkdir(parents=True)
        (folder.round(number) / "answers.jsonl").touch()
    folder.status(**status)
    folder.close()
    return path


def reopened(path: Path, given: RunConfig | None = None) -> RunFolder:
    folder = RunFolder.open(path, given or config())
    folder.close()
    return folder


def changed_yaml(path: Path, **changes: Any) -> None:
    """Write config.yaml with changed top keys; those that are None are taken out."""
    yaml = YAML(typ="safe")
    raw = {**yaml.load((path / "config.yaml").read_text()), **changes}
    with open(path / "config.yaml", "w") as file:
        yaml.dump({key: value for key, value in raw.items() if value is not None}, file)


def test_another_configuration_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", config())
    folder.round(0).mkdir(parents=True)
    (folder.round(0) / "answers.jsonl").touch()
    folder.close()
    with pytest.raises(RunError, match="seed"):
        RunFolder.open(tmp_path / "run", config(seed=1))
    assert not is_held(tmp_path / "run")


def test_how_the_students_server_is_run_may_change_and_what_it_serves_may_not(tmp_path: Path) -> None:
    def with_server(**vllm: object) -> RunConfig:
        return config(student={"model": "student", "engine": "vllm", "vllm": vllm})

    first = RunFolder.open(tmp_path / "run", with_server())
    first.round(0).mkdir(parents=True)
    (first.round(0) / "answers.jsonl").touch()
    first.close()
    theirs = {"url": "http://127.0.0.1:8000", "api_key_env": "KEY", "timeout": 9, "concurrency": 2}
    ours = {"port": 8001, "python": "/venv/bin/python", "args": ["--enforce-eager"], "start_timeout": 9}
    for changed in (theirs, {**ours, "gpu_memory": 0.5, "sharing": "sleep"}):
        again = RunFolder.open(tmp_path / "run", with_server(**changed))
        assert again.id == first.id
        again.close()
    for key, value in (("serve", "merged"), ("max_length", 512)):
        with pytest.raises(RunError, match=rf"differs in student\.vllm\.{key}\)"):
            RunFolder.open(tmp_path / "run", with_server(**{key: value}))


def test_what_changes_no_result_may_differ(tmp_path: Path) -> None:
    RunFolder.open(tmp_path / "run", config()).close()
    RunFolder.open(tmp_path / "run", config(teacher={"model": "expert", "concurrency": 2})).close()


def test_other_prompts_are_refused_as_another_configuration_is_and_another_place_of_them_is_not(tmp_path: Path) -> None:
    def with_prompts(name: str, text: str) -> RunConfig:
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "judge.md").write_text(f'{text} Reply with {{"correct": true}} or {{"correct": false}}.')
        return config(teacher={"model": "expert", "prompts": str(tmp_path / name)})

    folder = RunFolder.open(tmp_path / "run", with_prompts("mine", "Be strict."))
    folder.round(0).mkdir(parents=True)
    (folder.round(0) / "answers.jsonl").touch()
    folder.close()
    began = read_json(tmp_path / "run" / "run.json")["prompts"]
    RunFolder.open(tmp_path / "run", with_prompts("moved", "Be strict.")).close()
    now = read_json(tmp_path / "run" / "run.json")["prompts"]
    assert now["judge"] == {**began["judge"], "file": str(tmp_path / "moved" / "judge.md")}
    for other in (with_prompts("mine", "Be kind."), config()):
        with pytest.raises(RunError, match=r"differs in the prompt judge\)"):
            RunFolder.open(tmp_path / "run", other)
    assert not is_held(tmp_path / "run")


def test_a_run_from_before_prompts_were_noted_down_had_ours(tmp_path: Path) -> None:
    folder = RunFolder.open(tmp_path / "run", config())
    folder.round(0).mkdir(parents=True)
    (folder.round(0) / "answers.jsonl").touch()
    folder.close()
    status = read_json(tmp_path / "run" / "run.json")
    noted = status.pop("prompts")
    write_json(tmp_path / "run" / "run.json", status)
    RunFolder.open(tmp_path / "run", config()).close()
    assert read_json(tmp_path / "run" / "run.json")["prompts"] == noted


def test_a_run_of_an_older_version_goes_on_with_the_defaults_of_keys_that_it_lacks(tmp_path: Path) -> None:
    run = began(tmp_path / "run")
    changed_yaml(run, control=None, selection={"budget": 1000})
    status = {**read_json(run / "run.json"), "schema": 1, "config_digest": "of another set of keys"}
    write_json(run / "run.json", status)
    assert reopened(run).id == status["id"]
    assert read_config(run).control == "kept"
    now = read_json(run / "run.json")
    assert now["schema"] == SCHEMA
    assert "config_digest" not in now
    with pytest.raises(RunError, match=r"differs in selection\.search\)"):
        reopened(run, config(control="every", selection={"search": "bm25"}))


def test_keys_that_are_not_known_any_more_are_named_and_the_run_goes_on(tmp_path: Path) -> None:
    run = began(tmp_path / "run")
    changed_yaml(run, cheese="blue", selection={"mould": {"colour": "blue"}})
    assert read_config(run) == read_config(began(tmp_path / "other"))
    assert [note for note in reopened(run).notes if "does not know cheese, selection.mould, and goes on" in note]
    assert not reopened(run).notes, "config.yaml holds what the run goes on with"


def test_a_run_of_a_newer_version_is_read_and_not_gone_on_with(tmp_path: Path) -> None:
    run = began(tmp_path / "run")
    write_json(run / "run.json", {**read_json(run / "run.json"), "schema": SCHEMA + 1})
    assert summary(run)["state"] == "killed"
    with pytest.raises(RunError, match="was made by a newer gaptutor"):
        reopened(run)


def test_more_rounds_may_be_asked_for_and_no_fewer_than_are_made(tmp_path: Path) -> None:
    run = began(tmp_path / "run", config(max_rounds=3), rounds=2)
    with pytest.raises(RunError, match=r"max_rounds is 1, but round 2 of .* has begun; set it to 2 or more"):
        reopened(run, config(max_rounds=1))
    assert reopened(run, config(max_rounds=9)).config.max_rounds == 9
    assert read_config(run).max_rounds == 9


def test_patience_may_rise_where_that_changes_no_decision(tmp_path: Path) -> None:
    run = began(tmp_path / "run", rounds=1)
    write_json(run / "rounds" / "01" / "round.json", {"round": 1, "p_value": 0.02, "better": True})
    with pytest.raises(RunError, match=r"patience is 1, but the rounds of .* were tested under 2"):
        reopened(run, config(patience=1))
    with pytest.raises(RunError, match=r"under patience=3 round 1 .* would not .* \(p = 0\.02, more than .* 0\.0167\)"):
        reopened(run, config(patience=3))
    write_json(run / "rounds" / "01" / "round.json", {"round": 1, "p_value": 0.01, "better": True})
    assert reopened(run, config(patience=3)).config.patience == 3


@pytest.mark.parametrize(
    ("reason", "best", "changes", "extended"),
    [
        ("max_rounds", 1, {}, False),
        ("max_rounds", 1, {"max_rounds": 4}, True),
        ("max_rounds", 2, {"patience": 3}, False),
        ("no_gain", 0, {"max_rounds": 4}, False),
        ("no_gain", 0, {"max_rounds": 4, "patience": 3}, True),
        ("plateau", 0, {"patience": 3}, False),
        ("no_errors", 2, {"max_rounds": 4, "patience": 3}, False),
        ("tuning_failed: no memory", 1, {"max_rounds": 4}, False),
    ],
)
def test_a_finished_run_is_extended_if_rounds_and_patience_are_left(
    tmp_path: Path, reason: str, best: int, changes: dict[str, Any], extended: bool
) -> None:
    two = config(max_rounds=2)
    run = began(tmp_path / "run", two, rounds=2, state="finished", stop_reason=reason, best_round=best)
    write_json(run / "rounds" / "02" / ".manifests" / "finish.json", {"schema": 1, "key": "k", "done": True})
    given = config(**{"max_rounds": 2, **changes})
    assert extends(run, given) is extended
    reopened(run, given)
    assert read_config(run).max_rounds == (given.max_rounds if extended else 2), "the run holds what it runs under"
    assert extends(run, given) is extended, "also if it was killed at once"


def test_an_extension_that_was_killed_at_once_may_be_taken_back(tmp_path: Path) -> None:
    run = began(
        tmp_path / "run", config(max_rounds=2), rounds=2, state="finished", stop_reason="max_rounds", best_round=1
    )
    reopened(run, config(max_rounds=4))
    assert read_config(run).max_rounds == 4
    reopened(run, config(max_rounds=2))
    assert read_config(run).max_rounds == 2


def test_a_stopped_run_is_not_extended_but_gone_on_with(tmp_path: Path) -> None:
    run = began(tmp_path / "run", config(max_rounds=2), rounds=2, state="stopped", stop_reason=None)
    assert not extends(run, config(max_rounds=4))


def test_auto_is_what_it_stood_for_when_the_run_began(tmp_path: Path) -> None:
    run = began(tmp_path / "run")
    kept = read_config(run)
    assert (kept.student.engine, "auto" in (kept.student.dtype, kept.tuning.dtype)) == ("embedded", False)
    elsewhere = {"model": "student", "dtype": "float16"}
    changed_yaml(run, student=elsewhere, tuning={"dtype": "float16"})  # as another machine had it
    assert reopened(run).config.student.dtype == "float16"
    assert read_config(run).tuning.dtype == "float16"
    with pytest.raises(RunError, match=r"differs in student\.dtype\)"):
        reopened(run, config(student={"model": "student", "dtype": "float32"}))


def test_the_precision_of_a_student_on_vllm_is_left_to_vllm(tmp_path: Path) -> None:
    run = began(tmp_path / "run", config(student={"model": "student", "vllm": {"url": "http://127.0.0.1:1"}}))
    assert (read_config(run).student.engine, read_config(run).student.dtype) == ("vllm", "auto")


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ([], ["--enforce-eager", "--tensor-parallel-size", "2", "--max_num_seqs=8", "--no-enable-prefix-caching"], ""),
        (["--quantization", "fp8"], ["--max-num-seqs", "8", "--quantization=fp8"], ""),
        ([], ["--quantization", "fp8", "--enforce-eager"], "--quantization"),
        (["--max-model-len", "4096"], ["--max_model_len=8192"], "--max-model-len"),
        (["--rope-scaling", "{}"], [], "--rope-scaling"),
        (["-tp", "2", "--seed", "1"], ["-tp", "4", "--seed", "-1"], "--seed"),
        ([], ["--not-known-yet"], "--not-known-yet"),
    ],
)
def test_options_of_the_server_that_may_decide_answers_are_named(
    tmp_path: Path, before: list[str], after: list[str], named: str
) -> None:
    def with_args(args: list[str]) -> RunConfig:
        return config(
            student={"model": "student", "engine": "vllm", "vllm": {"url": "http://127.0.0.1:1", "args": args}}
        )

    run = began(tmp_path / "run", with_args(before))
    if named:
        with pytest.raises(RunError, match=rf"differs in student\.vllm\.args \({named}\)\)"):
            reopened(run, with_args(after))
    else:
        assert reopened(run, with_args(after)).config.student.vllm.args == tuple(after)
