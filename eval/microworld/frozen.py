"""The world is frozen: `python -m eval.microworld.frozen` compares it with frozen.json, `--write` freezes it anew.

Hashes of the student's files, of the expert teacher's (data and code), of each task's file and the items drawn from it (pictures
included), of the digit scans of each split, and of what the pool draws. Whoever changes one of them runs every benchmark again.
"""

import argparse
import ast
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import get_args

from eval.microworld import WEIGHTS
from eval.microworld.pool import make_pool
from eval.microworld.scene import Scene, Split, digit_scans, render
from eval.microworld.tasks import FOLDER, Part, load_task, task_examples, task_names
from retrieval.storage.files import digest, file_digest, read_json, write_json

PATH = Path(__file__).parent / "frozen.json"
#: Samples of the pool that stand for all of them.
POOL_SAMPLES = 300
EXPERT = Path(__file__).parent / "expert"


def hashes() -> dict[str, str]:
    """Everything that is frozen, name → hex SHA-256."""
    found = {f"student/{path.name}": file_digest(path) for path in sorted(WEIGHTS.iterdir())}
    found |= {f"expert/{path.name}": _expert_digest(path) for path in sorted(EXPERT.iterdir()) if path.is_file()}
    for split in get_args(Split):
        found[f"digits/{split}"] = digest([list(numbers) for numbers in digit_scans(split)])
    for name in task_names():
        found[f"tasks/{name}"] = file_digest(FOLDER / f"{name}.yaml")
        for part in get_args(Part):
            examples = task_examples(load_task(name), part)
            texts = [[example.question, example.solution.rationale] for example in examples]
            found[f"tasks/{name}/{part}"] = _digest(texts, [example.scene for example in examples])
    with tempfile.TemporaryDirectory() as scratch:
        found["pool"] = file_digest(make_pool(Path(scratch), POOL_SAMPLES, 0))
    return found


def _expert_digest(path: Path) -> str:
    """A file of the expert, without the lines that import something: what it means does not depend on where that lies."""
    if path.suffix != ".py":
        return file_digest(path)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for node in ast.parse("".join(lines)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(texts: list[list[str]], scenes: list[Scene | None]) -> str:
    pictures = render([scene for scene in scenes if scene is not None])
    return hashlib.sha256(json.dumps(texts).encode() + pictures.tobytes()).hexdigest()


def main() -> int:
    """Exit code 0 if the world is as it was frozen, 1 with the names of what is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="freeze the world as it is now")
    now = hashes()
    if parser.parse_args().write:
        write_json(PATH, now)
        return 0
    then = read_json(PATH)
    changed = sorted(name for name in {*now, *then} if now.get(name) != then.get(name))
    print("\n".join(f"changed: {name}" for name in changed) or f"{len(now)} parts are as they were frozen")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
