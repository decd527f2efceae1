"""`gaptutor microworld`: mistakes are one sentence and exit code 2, and nothing is promised or written before."""

import socket
from pathlib import Path

import pytest

from agent.cli.main import main


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code, said = ended.value.code, capsys.readouterr()
    return (code if isinstance(code, int) else 0), said.out, said.err


def test_a_port_in_use_is_said_before_anything_is_promised(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = call(capsys, "microworld", "teacher", "--port", port)
    assert (code, out) == (2, "")
    assert err == f"gaptutor: port {port} cannot be served: Address already in use; name another with --port\n"


def test_a_folder_below_a_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = call(capsys, "microworld", "make", tmp_path / "file" / "x", "--pool", 10)
    assert code == 2
    assert "Not a directory; name another path" in err


def test_a_task_whose_name_leads_elsewhere_writes_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("seed: 5\nprograms: {largest: 1}\nname: ../esc\n")
    code, _, err = call(capsys, "microworld", "make", tmp_path / "out", "--task", tmp_path / "mine.yaml", "--pool", 10)
    assert code == 2
    assert "mine.yaml" in err
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml"}


def test_a_demo_whose_run_cannot_bear_its_folders_name_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, _, _ = call(capsys, "demo", "--run-dir", tmp_path / "my run")
    assert code == 2
    assert not list(tmp_path.iterdir())
