"""The configuration: read whole or refused in one sentence."""

from pathlib import Path

import pytest

from agent.cli.init import render
from agent.config.loading import load_config
from retrieval.errors import ConfigError

GOOD = """
name: cats
data: {validation: items.jsonl}
pool: {path: pool.json}
student: {model: student}
teacher: {model: expert}
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "gaptutor.yaml"
    path.write_text(GOOD)
    return path


def test_paths_are_relative_to_the_file(config_file: Path) -> None:
    config = load_config(config_file)
    assert config.data.validation == config_file.parent / "items.jsonl"
    assert config.student.model == "student"  # no such folder: a hub name


def test_a_student_that_is_a_folder_becomes_a_path(config_file: Path) -> None:
    (config_file.parent / "student").mkdir()
    assert load_config(config_file).student.model == str(config_file.parent / "student")


def test_the_servers_python_is_a_path_from_the_file_or_a_name_on_the_path(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = config_file.parent / "bin" / "python3.99"
    program.parent.mkdir()
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("HOME", str(config_file.parent))
    for given, meant in (("bin/python3.99", program), ("~/bin/python3.99", program), ("python3.99", program)):
        assert load_config(config_file, [f"student.vllm.python={given}"]).student.vllm.python == meant
    assert load_config(config_file, ["student.vllm.python=python3.98"]).student.vllm.python == Path("python3.98")


def test_overrides_change_single_values(config_file: Path) -> None:
    config = load_config(config_file, ["selection.budget=500", "seed=3", "tuning.learning_rate=2e-3"])
    assert (config.selection.budget, config.seed, config.tuning.learning_rate) == (500, 3, 2e-3)
    assert config.teacher.model == "expert"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "pach: 1\n", "`pach`"),
        (GOOD.replace("model: expert", "modle: expert"), "`teacher.modle`"),
        (GOOD.replace("name: cats\n", ""), "`name` is missing"),
        (GOOD.replace("cats", "../cats"), "`name`"),
        (GOOD + "seed: -1\n", "`seed`"),
        (GOOD + "selection: {gaps: 0, siblings: 0, rehearsal: 0}\n", "at least one must be positive"),
        (GOOD.replace("{model: student}", "{model: student, direct_prompt: hello}"), "{question}"),
        (GOOD.replace("pool.json", "pool.json, chroma_url: 'localhost:8000'"), "write it as http://127.0.0.1:8000"),
        (GOOD + "tuning: {processes: 2, gpus: 1}\n", "tuning.processes is 2, but tuning.gpus names 1"),
        (
            GOOD.replace("{model: student}", "{model: student, vllm: {sharing: remote}}"),
            "its address, student.vllm.url",
        ),
        (GOOD + "tuning: {gpus: '1;2'}\n", "`tuning.gpus`"),
        ("name: [", "line"),
        ("- a\n- b\n", "no configuration"),
    ],
)
def test_mistakes_are_named(config_file: Path, text: str, said: str) -> None:
    config_file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(config_file)
    assert said in str(caught.value)
    assert str(config_file) in str(caught.value)


def test_a_missing_file_and_a_bad_override_are_named(tmp_path: Path, config_file: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="key=value"):
        load_config(config_file, ["seed"])
    with pytest.raises(ConfigError, match=r"selection\.budgte"):
        load_config(config_file, ["selection.budgte=5"])


def test_a_written_configuration_reads_back_the_same(config_file: Path) -> None:
    config = load_config(config_file)
    written = config_file.with_name("written.yaml")
    written.write_text(render(config))
    assert load_config(written) == config
    assert "# Samples added by each round." in written.read_text()


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        (
            "student.rationale_prompt={question} Think {aloud: now}",
            "student",
            "rationale_prompt",
            "{question} Think {aloud: now}",
        ),
        ("student.rationale_prompt={question}", "student", "rationale_prompt", "{question}"),
        ("student.direct_prompt=${HOME} {question}: [x", "student", "direct_prompt", "${HOME} {question}: [x"),
        ("teacher.model=4", "teacher", "model", "4"),
        ("data.limit=null", "data", "limit", None),
        ("data.limit=", "data", "limit", None),
    ],
)
def test_set_takes_a_text_as_it_stands(config_file: Path, change: str, section: str, key: str, value: object) -> None:
    assert getattr(getattr(load_config(config_file, [change]), section), key) == value


def test_a_dollar_in_the_file_is_a_dollar(config_file: Path) -> None:
    config_file.write_text(GOOD.replace("{model: student}", "{model: student, direct_prompt: '${x} {question}'}"))
    assert load_config(config_file, ["seed=3"]).student.direct_prompt == "${x} {question}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [*a{n}, *a{n}]\n" for n in range(40)), "aliases"),
        ("a: &a [*a]\n", "nested"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested"),
    ],
)
def test_aliases_of_aliases_are_refused_at_once(config_file: Path, text: str, said: str) -> None:
    config_file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(config_file)
