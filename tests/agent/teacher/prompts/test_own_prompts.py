"""A user's own prompts: they replace ours one by one, what cannot work is refused, and other prompts are other questions."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config.loading import load_config
from agent.teacher.client import Teacher
from agent.teacher.prompts.own import load_prompts, needed, write_prompts
from agent.teacher.prompts.replies import REPLIES, Judged, prompt
from eval.task import load_items
from retrieval.errors import ConfigError, DataError
from retrieval.storage.files import read_jsonl
from tests.endpoint import Scripted

MakeTeacher = Callable[..., Teacher]
MINE = 'Mark the answer strictly. Reply with {"correct": true} or {"correct": false}.'
DATA = {"question": "What is on the roof?", "gold": ["an antenna"], "answer": "an aerial"}


def folder_of(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for kind, text in texts.items():
        (folder / f"{kind}.md").write_text(text, encoding="utf-8")
    return folder


def test_a_prompt_of_ones_own_replaces_ours_and_the_others_stay(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "mine", judge=f"\ufeff{MINE}\n\n")
    (folder / ".notes").write_text("{hidden}")
    found = load_prompts(folder)
    assert found["judge"] == MINE
    assert all(found[kind] == prompt(kind) for kind in REPLIES if kind != "judge")
    rows, ours = found.as_rows(), load_prompts(None).as_rows()
    assert [kind for kind in REPLIES if rows[kind]["sha256"] != ours[kind]["sha256"]] == ["judge"]
    assert rows["judge"]["file"] == str(folder / "judge.md")
    assert {row["file"] for row in ours.values()} == {None}


def test_ours_can_be_written_down_and_are_the_same_prompts(tmp_path: Path) -> None:
    written = write_prompts(tmp_path / "new" / "prompts")
    assert {path.stem for path in written} == set(REPLIES)
    assert load_prompts(written[0].parent).texts == load_prompts(None).texts
    with pytest.raises(ConfigError, match="is there already"):
        write_prompts(written[0].parent)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("diagnos.md", MINE, "is `diagnose.md` meant?"),
        ("judge.txt", MINE, "is `judge.md` meant?"),
        ("thesis.tex", MINE, "the prompts are diagnose.md, name_gap.md"),
        ("judge.md", MINE.replace("correct", "right"), "does not name `correct`"),
        ("choose.md", "Which of the two is right? Reply with its letter.", "does not name `options`"),
        ("skills.md", "Name the `skills` of each of the `samples`.", "does not name `index`"),
        ("judge.md", MINE + " The question: {question}", "the placeholder {question}"),
        ("judge.md", MINE + " The question: {{ question }}", "the placeholder {{ question }}"),
        ("judge.md", " \n", "is empty"),
    ],
)
def test_what_cannot_work_is_refused_with_its_file(tmp_path: Path, name: str, text: str, said: str) -> None:
    folder = folder_of(tmp_path / "mine")
    (folder / name).write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_prompts(folder)
    assert str(folder / name) in str(refused.value)
    assert said in str(refused.value)


def test_what_cannot_be_read_is_refused_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere cannot be read"):
        load_prompts(tmp_path / "nowhere")
    folder = folder_of(tmp_path / "mine")
    (folder / "judge.md").write_bytes(MINE.encode("utf-16"))
    with pytest.raises(ConfigError, match=r"judge\.md is not in UTF-8"):
        load_prompts(folder)
    os.remove(folder / "judge.md")
    (folder / "judge.md").mkdir()
    with pytest.raises(ConfigError, match=r"judge\.md cannot be read"):
        load_prompts(folder)


def test_json_and_formulas_are_no_placeholders(tmp_path: Path) -> None:
    text = MINE + r' A reply: {"correct": true}. Half is \frac{a}{b}, x_{n} or {1, 2}.'
    assert load_prompts(folder_of(tmp_path / "mine", judge=text))["judge"] == text


def test_every_prompt_of_ours_names_what_it_must() -> None:
    assert needed("diagnose") == ("wrong_step", "why", "should_say", "skill")
    assert all(name in prompt(kind) for kind in REPLIES for name in needed(kind))


async def test_another_prompt_is_sent_and_is_another_question(ask_at: MakeTeacher, tmp_path: Path) -> None:
    endpoint = Scripted(then={"correct": True})
    folder = folder_of(tmp_path / "mine", judge=MINE)
    for _ in range(2):
        await ask_at(endpoint).ask("judge", DATA, Judged)
        own = ask_at(endpoint, prompts=folder)
        await own.ask("judge", DATA, Judged)
        await own.close()
    assert [seen.body["messages"][0]["content"] for seen in endpoint.requests] == [prompt("judge"), MINE]
    assert len({row["key"] for row in read_jsonl(tmp_path / "teacher.jsonl")}) == 2


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "judge.md")
    with pytest.raises(ConfigError, match=r"judge\.md cannot be read: it is not a file"):
        load_prompts(tmp_path)
    (tmp_path / "judge.md").unlink()
    (tmp_path / "judge.md").write_text("correct " * (1 << 18))
    with pytest.raises(ConfigError, match=r"judge\.md cannot be read: it has 2,097,152 bytes"):
        load_prompts(tmp_path)
    os.mkfifo(tmp_path / "gaptutor.yaml")
    with pytest.raises(ConfigError, match="it is not a file"):
        load_config(tmp_path / "gaptutor.yaml")
    os.mkfifo(tmp_path / "items.jsonl")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        load_items(tmp_path / "items.jsonl")
