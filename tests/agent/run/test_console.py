"""What is printed for people is shown by the terminal, and never obeyed."""

from io import StringIO
from pathlib import Path
from queue import Queue
from threading import Event

import pytest
from rich.console import Console
from rich.markup import escape

from agent.cli.main import main
from agent.run.console import Reporter, terminal, visible
from agent.run.summary import summary, table
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl
from tests.agent.fake_run import Plan, make_fake_run

HOSTILE = "\x1b[2J\x07\x9b31m\r\u202e\udcff"
SHOWN = "\\x1b[2J"


def is_obeyed(text: str) -> bool:
    """Whether a terminal would do something else than show it."""
    return any(letter != "\n" and visible(letter) != letter for letter in text)


def test_what_a_terminal_would_obey_is_visible_and_all_else_stays() -> None:
    assert visible(HOSTILE) == r"\x1b[2J\x07\x9b31m\r\u202e\udcff"
    plain = "Größe 中文 ع ★ – “x”\tπ\n🙂"
    assert visible(plain) == plain


@pytest.mark.parametrize("colours", [False, True])
def test_a_line_of_a_reporter_shows_it(colours: bool) -> None:
    console = Console(file=StringIO(), force_terminal=colours, width=80)
    reporter = Reporter(console)
    reporter.say(f"[bold]round[/bold] {escape(HOSTILE)}")
    with reporter.bar(f"naming {HOSTILE}") as advance:
        advance(1, 2)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert SHOWN in said
    assert "\x1b[2J" not in said
    assert ("\x1b[1m" in said) is colours, "rich's own codes are obeyed"


def test_the_table_of_a_run_shows_it(tmp_path: Path) -> None:
    run = make_fake_run(tmp_path, Plan(items=10, holdout=0, fetched=4, accuracy=(0.4, 0.5), best=0, control=None))
    status = read_json(run / "run.json")
    write_json(run / "run.json", {**status, "error": "b\x1b[2J\x07", "stop_reason": "c\x1b[2J"})
    folder = run / "rounds" / "01"
    write_jsonl(
        folder / "diagnoses.jsonl", [{**row, "state": "d\x1b[2J"} for row in read_jsonl(folder / "diagnoses.jsonl")]
    )
    run = run.rename(run.with_name("a\x1b[2J"))
    console = terminal(Console(file=StringIO(), width=120))
    console.print(table(summary(run)))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for letter in "abcd":
        assert f"{letter}{SHOWN}" in said
    assert not is_obeyed(said)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "/no/such/run\x1b[2J"],
        ["run", "/no/such/config\x1b[2J.yaml"],
        ["init", "/no/such/set\x1b[2J", "--student", "s", "--teacher", "t"],
    ],
)
def test_an_error_of_the_command_shows_it(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert SHOWN in said
    assert not is_obeyed(said)


def test_names_of_written_files_show_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["prompts", str(tmp_path / "mine\x1b[2J")])
    assert ended.value.code == 0
    assert not is_obeyed(capsys.readouterr().out)


@pytest.mark.parametrize("terminal_there", [False, True])
def test_what_takes_long_gives_a_sign_of_life_at_each_pause(terminal_there: bool) -> None:
    """Without a terminal as a line; it is kept either way."""
    pauses: Queue[bool] = Queue()

    def pause(over: Event) -> bool:
        pauses.task_done()
        return pauses.get()

    console = Console(file=StringIO(), force_terminal=terminal_there, width=200)
    reporter, kept = Reporter(console, pause=pause), []
    reporter.keep = kept.append
    notes = [""]
    reporter.notes = (lambda: notes[0], lambda: "")
    pauses.put(False)  # so that the first pause counts as one that is over
    pauses.get()
    with reporter.bar("diagnoses") as advance:
        pauses.join()
        for note, done in (("", None), ("14 waiting [bold]", 3)):
            notes[0] = note
            if done is not None:
                advance(done, 500)
            pauses.put(False)
            pauses.join()
        pauses.put(True)
    assert kept == ["diagnoses: 0 min", "diagnoses: 3 of 500, 0 min; 14 waiting [bold]"]
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert ("  diagnoses: 3 of 500, 0 min; 14 waiting [bold]\n" in said) is not terminal_there
