"""A task's items as a user would bring them: JSONL with image files, neutral names, no trace of programs or skills."""

import hashlib
import json
from pathlib import Path

from PIL import Image

from eval.microworld.scene import render
from eval.microworld.tasks import Part, Task, task_examples
from retrieval.storage.files import storage_errors, write_text


def write_items(task: Task, part: Part, folder: Path, count: int | None = None) -> Path:
    """Write `folder`/<part>.jsonl and its images; returns the JSONL's path, which is written last. Raises StorageError."""
    examples = task_examples(task, part, count)
    pictures = iter(render([example.scene for example in examples if example.scene is not None]))
    images = folder / "images"
    with storage_errors(images):
        images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, example in enumerate(examples):
        name = hashlib.sha256(f"{task.seed}/{part}/{number}".encode()).hexdigest()[:10]
        row = {"id": name, "question": example.question, "answer": example.solution.answer}
        if example.scene is not None:
            with storage_errors(images):
                Image.fromarray(next(pictures)).save(images / f"{name}.png")
            row["image"] = f"images/{name}.png"
        rows.append(row)
    path = folder / f"{part}.jsonl"
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return path
