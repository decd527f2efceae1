"""Damage of a run folder's own files: found, and mended where the other files of the run, or its nodes, can make them again.

A node whose results are damaged is marked as not done, and does again what is missing of them. run.json comes back from
events.jsonl and the manifests. Not mended, but named with what is wrong: what was paid for (the journal), config.yaml, and
gaps.json if a person may have written in it. Items and pictures are compared with the user's, see `agent.run.items`.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import DataError
from retrieval.storage.files import iter_jsonl, read_object, whole_rows, write_json, write_jsonl

#: Of a round or its control.
_OBJECTS = ("evaluation.json", "round.json", "gaps.json")
_LOGS = (
    "answers.jsonl",
    "holdout.jsonl",
    "diagnoses.jsonl",
    "right.jsonl",
    "selection.jsonl",
    "rationales.jsonl",
    "samples.jsonl",
)
#: Of the run: notes that are worth less than the run that they would stop.
_NOTES = ("events.jsonl", "metrics.jsonl")
#: Which samples show an item; found again where it is gone.
_EXCLUDED = ("excluded.json", "excluded.jsonl")


def damage(path: Path) -> Iterator[tuple[Path, DataError]]:
    """The damaged files among those that a run folder is read from, and what is wrong with each."""
    found = [path / name for name in ("run.json", *_NOTES, *_EXCLUDED)]
    for folder in sorted(path.glob("rounds/*")):
        found += sorted(folder.glob(".manifests/*.json"))
        found += [part / name for part in (folder, folder / "control") for name in (*_OBJECTS, *_LOGS)]
    for file in found:
        if file.exists() and (error := _damage_of(file)):
            yield file, error


def _damage_of(file: Path) -> DataError | None:
    try:
        if file.suffix == ".json":
            read_object(file)
        else:
            for _ in iter_jsonl(file):
                pass
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{file} cannot be read: {error.strerror or error}; change its permissions")
    return None


def mend(path: Path, review: bool) -> list[str]:
    """Mend a run folder that this process holds; says of each file what was wrong and what becomes of it. `review`: a person
    may have written in gaps.json, and is told instead. Raises DataError for what cannot be read at all, and if there is nothing
    that run.json could be made from; StorageError."""
    said = []
    for file, error in list(damage(path)):
        if file.name == "run.json" or (review and file.name == "gaps.json"):
            continue
        if not (file.is_file() and os.access(file, os.R_OK)):
            raise error  # what it holds may be whole
        if file.name in _EXCLUDED:
            for name in _EXCLUDED:
                (path / name).unlink(missing_ok=True)
        elif file.suffix == ".json":
            file.unlink()
        else:
            write_jsonl(file, whole_rows(file))
        if file.name in _NOTES:
            said.append(f"{error}: that line is left out")
            continue
        if file.parent != path:
            _do_again(path / file.relative_to(path).parents[-3])
        said.append(f"{error}: what is missing of it is made again")
    return [*said, *_mend_status(path)]


def _do_again(folder: Path) -> None:
    """Mark the nodes of a round as not done, and the end of the run."""
    for manifest in {*folder.glob(".manifests/*.json"), *folder.parent.glob("*/.manifests/finish.json")}:
        if not _damage_of(manifest):
            write_json(manifest, {**read_object(manifest), "done": False})


def _mend_status(path: Path) -> list[str]:
    """Make run.json again if it is damaged or gone."""
    file, began = path / "run.json", None
    why = _damage_of(file) if file.exists() else None
    if file.exists() and why is None:
        return []
    for row in whole_rows(path / "events.jsonl"):
        began = row if row.get("event") == "run_began" else began
    if began is None:
        if why is not None:
            raise why
        return []
    write_json(file, {**began["status"], "best_round": _best_round(path)})
    return [f"{why or f'{file} is gone'}; it was made again from the run's other files"]


def _best_round(path: Path) -> Any:
    """The best round as the last decision has it, None if there was none."""
    best = None
    for manifest in sorted(path.glob("rounds/*/.manifests/decide.json")):
        best = read_object(manifest).get("update", {}).get("best_round", best)
    return best
