"""Target tasks: small YAML files beside this one, and the questions drawn from them.

A file names its question programs with shares, filters and a seed; anyone can add one, here or elsewhere (`load_task`
takes a path too). Validation and holdout questions show digits of the validation scans (drawn from disjoint seeds, so
never the same scene), test questions those of the test scans; the pool and the student's pretraining show the training
scans alone.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from eval.microworld.dice import Dice
from eval.microworld.examples import Example, make_example
from eval.microworld.programs import PROGRAMS
from eval.microworld.scene import Split
from retrieval.errors import ConfigError

FOLDER = Path(__file__).parent
Part = Literal["validation", "holdout", "test"]
PARTS: dict[Part, tuple[int, int, Split]] = {  # questions, what is added to the task's seed, digit scans
    "validation": (200, 0, "validation"),
    "holdout": (400, 1, "validation"),
    "test": (400, 2, "test"),
}
FIELDS = {"name", "about", "seed", "programs", "filters"}
FILTERS = {"answers", "min_objects", "max_objects"}


@dataclass(frozen=True)
class Task:
    name: str
    about: str
    seed: int
    """Parts use seed, seed + 1 and seed + 2 of it; keep seeds of different tasks 10 apart."""
    programs: dict[str, float]
    """Share of each question program (`programs.PROGRAMS`); shares are divided by their sum."""
    filters: dict[str, Any]
    """min_objects, max_objects: bounds on a scene's objects; answers: the answers allowed. Empty: all questions."""


def task_names() -> list[str]:
    """The tasks that ship, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_task(name_or_path: str | Path) -> Task:
    """A shipped task by name, or a task file by path. Raises `ConfigError`."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{name_or_path}.yaml"
    if not path.is_file():
        raise ConfigError(f"there is no task {name_or_path}; there are {', '.join(task_names())}, or give a .yaml file")
    try:
        record = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}, line {line}: not YAML ({str(error.problem).splitlines()[0]})") from None
    except (OSError, UnicodeDecodeError, YAMLError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(record, dict) or set(record) - FIELDS or not {"seed", "programs"} <= set(record):
        raise ConfigError(f"{path}: a task has seed and programs, and may have name, about and filters; nothing else")
    task = Task(
        str(record.get("name", path.stem)),
        str(record.get("about", "")),
        record["seed"],
        record["programs"],
        record.get("filters") or {},
    )
    _check(task, path)
    return task


def _check(task: Task, path: Path) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", task.name):  # of a folder and of a run
        raise ConfigError(
            f"{path}: the name {task.name!r} will not do; give a `name` of at most 64 letters (a–z), digits, "
            "dots, _ and -, beginning with a letter or digit"
        )
    if not _whole(task.seed):
        raise ConfigError(f"{path}: seed must be a whole number, 0 or more, not {task.seed!r}")
    if not isinstance(task.programs, dict) or not task.programs:
        raise ConfigError(f"{path}: programs must map question programs to shares")
    for name, share in task.programs.items():
        if name not in PROGRAMS:
            raise ConfigError(f"{path}: no question program is called {name!r}; there are {', '.join(PROGRAMS)}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < math.inf:
            raise ConfigError(f"{path}: the share of {name} must be a positive number, not {share!r}")
    if not isinstance(task.filters, dict) or set(task.filters) - FILTERS:
        raise ConfigError(f"{path}: filters may be {', '.join(sorted(FILTERS))}")
    for bound in ("min_objects", "max_objects"):
        if bound in task.filters and not _whole(task.filters[bound]):
            raise ConfigError(f"{path}: {bound} must be a whole number, 0 or more, not {task.filters[bound]!r}")
    if "answers" in task.filters and not isinstance(task.filters["answers"], list):
        raise ConfigError(f"{path}: answers must be a list, such as [4, 7], not {task.filters['answers']!r}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _passes(example: Example, filters: dict[str, Any]) -> bool:
    objects = len(example.scene.things) if example.scene else 0
    if not filters.get("min_objects", 0) <= objects <= filters.get("max_objects", 16):
        return False
    answers = filters.get("answers")
    return answers is None or example.solution.answer in {str(answer) for answer in answers}


def task_examples(task: Task, part: Part, count: int | None = None) -> list[Example]:
    """The questions of one part, in a fixed order; the first `count` of them (default: all, see `PARTS`).

    Raises `ConfigError` if the filters let fewer than one question in fifty through.
    """
    total, shift, split = PARTS[part]
    dice = Dice(np.random.default_rng((task.seed + shift, 5)))
    wanted, examples, seen = count or total, list[Example](), set[str]()
    for _ in range(50 * wanted):
        if len(examples) == wanted:
            break
        example = make_example(dice.weighted(task.programs), dice, split)
        if example.scene is None and example.question in seen:  # text-only questions could repeat
            continue
        if _passes(example, task.filters):
            seen.add(example.question)
            examples.append(example)
    if len(examples) < wanted:
        raise ConfigError(f"task {task.name}: only {len(examples)} of {wanted} questions pass its filters")
    return examples
