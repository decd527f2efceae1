"""docs/architecture.md is the house as it is built, no room is too full, and docs/survival.md names tests that are there."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SURVIVAL = (ROOT / "docs" / "survival.md").read_text(encoding="utf-8")
PACKAGES = ("agent", "eval", "training", "retrieval")
#: Sources of the project, tests and benchmarks too.
SOURCES = sorted(
    path for top in (*PACKAGES, "tests", "benchmarks") for path in (ROOT / top).rglob("*.py") if path.stat().st_size
)


def folders_on_the_page(section: str) -> list[str]:
    """The first column of a section's table."""
    part = PAGE.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^\| `([a-z_/]+)/` \|", part, re.MULTILINE)


def folders_below(package: str) -> set[str]:
    return {path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}


def test_the_page_names_each_folder_of_agent_in_the_order_that_the_linter_enforces() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (inside,) = (each for each in contracts if each.get("containers") == ["agent"])
    assert inside["exhaustive"]
    order = [name for layer in inside["layers"] for name in layer.split(" | ")]
    assert folders_on_the_page("agent, from the top") == order
    assert set(order) == folders_below("agent")


def test_the_page_names_each_folder_of_retrieval_and_training() -> None:
    built = {f"{package}/{name}" for package in ("retrieval", "training") for name in folders_below(package)}
    assert set(folders_on_the_page("retrieval and training")) == built


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:agent|eval|training|retrieval|tests)/[\w./]*)`", PAGE))))
def test_what_the_page_points_to_is_there(path: str) -> None:
    assert (ROOT / path).exists()


def test_no_folder_is_crowded_and_no_file_is_long() -> None:
    crowded = {name: n for name, n in Counter(path.parent for path in SOURCES).items() if n > 15 + 1}
    assert not crowded, "more than fifteen files and what their folder says of itself"
    long = {path.name: n for path in SOURCES if (n := path.read_text(encoding="utf-8").count("\n")) > 400}
    assert not long


@pytest.mark.parametrize("package", PACKAGES)
def test_each_folder_says_what_lives_there(package: str) -> None:
    silent = [
        path for path in (ROOT / package).rglob("__init__.py") if not path.read_text(encoding="utf-8").startswith('"""')
    ]
    assert [path for path in silent if path.parent.parent != ROOT] == []


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", SURVIVAL))))
def test_a_fault_that_is_survived_has_its_test(named: str) -> None:
    path, _, name = named.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)


def test_every_fault_has_one() -> None:
    rows = [line for line in SURVIVAL.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize(
    "page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]), ids=lambda page: page.name
)
def test_what_an_example_imports_is_there(page: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in re.findall(
        r"^from (?:agent|eval|training|retrieval)\b.* import .*$", "\n".join(examples), re.MULTILINE
    ):
        exec(line, {})
