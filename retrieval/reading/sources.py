"""Which files a path means: a file, a folder of files, a clone from a hub, what `save_to_disk` left, or a pattern.

A folder that holds several splits, or several data sets, is refused in words: to read them all would mix what a user keeps apart.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from glob import glob, has_magic
from pathlib import Path

from retrieval.errors import DataError
from retrieval.reading.cells import short

#: File name endings that are read, in lower case.
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow")
#: What stands beside the data and is none: descriptions that `datasets` and hubs write.
_ABOUT = {"dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json", "croissant.json"}
_SPLIT = re.compile(r"(train|training|val|valid|validation|dev|test|testmini)(?![a-z])", re.IGNORECASE)
#: One name for each split.
_SAME = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}


def record_files(path: Path) -> list[Path]:
    """The files of records that a path means, in the order of their names. Raises DataError if there are none, or if they are
    several splits or data sets."""
    try:
        return _files(path)
    except OSError as error:
        raise DataError(f"{short(str(path))} cannot be read: {error.strerror or error}") from None


def _files(path: Path) -> list[Path]:
    if has_magic(str(path)) and not path.exists():
        files = sorted(file for file in map(Path, glob(str(path))) if _is_data(file))
        if not files:
            raise DataError(f"no file ending in {', '.join(SUFFIXES)} is called {path}")
        return files
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_file():
        raise DataError(f"{path} is neither a file nor a folder; write what comes through it to a file")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; use one ending in {', '.join(SUFFIXES)}")
    return [path]


def image_folder(path: Path, images: Path | None) -> Path:
    """The folder that image paths are relative to if it is `images`, or none is given: that of the file, for a folder the
    folder itself; but an ImageFolder's metadata name what lies beside them."""
    if images is not None:
        return images
    files = record_files(path)
    if has_magic(str(path)) or files[0].stem == "metadata" or not path.is_dir():
        return files[0].parent
    return path


def _is_data(file: Path) -> bool:
    return (
        file.suffix.lower() in SUFFIXES and file.name not in _ABOUT and file.is_file() and not file.name.startswith(".")
    )


def _of_folder(folder: Path) -> list[Path]:
    """The data files in a folder, or else in the one folder below it that has some."""
    files = sorted(file for file in folder.iterdir() if _is_data(file))
    if files:
        _refuse_splits(folder, files)
        return files
    below: dict[Path, list[Path]] = defaultdict(list)
    for file in sorted(folder.rglob("*")):
        if _is_data(file) and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            below[file.parent].append(file)
    if not below:
        raise DataError(f"{folder} holds no file ending in {', '.join(SUFFIXES)}")
    if len(below) > 1:
        raise DataError(f"{folder} holds several data sets ({_listed(below, folder)}); name one of these folders")
    ((parent, files),) = below.items()
    _refuse_splits(parent, files)
    return files


def _refuse_splits(folder: Path, files: list[Path]) -> None:
    splits = defaultdict(list)
    for file in files:
        if found := _SPLIT.match(file.name):
            splits[_SAME.get(found[1].lower(), found[1].lower())].append(file)
    if len(splits) > 1:
        first = splits[min(splits)]
        named = first[0] if len(first) == 1 else folder / f"{_SPLIT.match(first[0].name)[0]}*{first[0].suffix}"  # type: ignore[index]
        raise DataError(f"{folder} holds several splits ({', '.join(sorted(splits))}); name one, for instance {named}")


def _listed(folders: Iterable[Path], root: Path) -> str:
    names = [str(each.relative_to(root)) for each in folders]
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
