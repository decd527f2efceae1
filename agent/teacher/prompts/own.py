"""The prompts of a run: ours, and those of the user's that stand in their place (`teacher.prompts`).

A prompt is sent as it stands, so there is nothing in it to fill in; what it must do is name the fields of the reply.
Whether it asks well is not looked at.
"""

import difflib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.teacher.prompts.replies import REPLIES, json_schema, prompt
from retrieval.errors import ConfigError
from retrieval.storage.files import read_text, storage_errors, write_text

#: `{question}` or `{{ question }}`, but not JSON, nor what belongs to a formula (\\frac{a}{b}, x_{n}).
_PLACEHOLDER = re.compile(r"(?<![\w\\}^])\{\{?[ \t]*([A-Za-z_]\w*)[ \t]*\}\}?")
#: What a prompt must name where the reply has no fields.
_NEEDED = {"choose": ("options",)}


@dataclass(frozen=True)
class Prompts:
    """The system message of each kind, and the files of those that are the user's."""

    texts: Mapping[str, str]
    files: Mapping[str, Path]

    def __getitem__(self, kind: str) -> str:
        return self.texts[kind]

    def as_rows(self) -> dict[str, dict[str, Any]]:
        """What run.json says of each: its hash, and where it comes from (`file` is null for ours)."""
        return {
            kind: {
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
                "file": str(self.files[kind]) if kind in self.files else None,
            }
            for kind, text in self.texts.items()
        }


def load_prompts(folder: Path | None) -> Prompts:
    """Our prompts, but for those that `folder` has a file of the same name for; hidden files in it are left alone.

    Raises ConfigError if a file there is no prompt of ours, cannot be read, holds a placeholder, or does not name a field
    that the reply must have.
    """
    files = {} if folder is None else _found(folder)
    own = {kind: _read(kind, path) for kind, path in files.items()}
    return Prompts({kind: own.get(kind) or prompt(kind) for kind in REPLIES}, files)


def write_prompts(folder: Path) -> list[Path]:
    """Write our prompts to `folder`, to be changed there. Raises ConfigError if one of them is there already."""
    paths = {kind: folder / f"{kind}.md" for kind in REPLIES}
    for path in paths.values():
        if path.exists():
            raise ConfigError(f"{path} is there already; name another folder, or move it away")
    with storage_errors(folder):
        for kind, path in paths.items():
            write_text(path, prompt(kind) + "\n")
    return list(paths.values())


def _found(folder: Path) -> dict[str, Path]:
    """The files of a folder by kind."""
    ours, found = {f"{kind}.md": kind for kind in REPLIES}, {}
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ConfigError(
            f"teacher.prompts: the folder {folder} cannot be read ({error.strerror}); `gaptutor prompts DIR` makes one"
        ) from None
    for path in paths:
        if path.name not in ours:
            near = difflib.get_close_matches(path.name, ours, n=1)
            cure = f"is `{near[0]}` meant?" if near else f"the prompts are {', '.join(ours)}"
            raise ConfigError(f"teacher.prompts: {path} is no prompt of gaptutor's; {cure}")
        found[ours[path.name]] = path
    return found


def _read(kind: str, path: Path) -> str:
    try:
        text = read_text(path).strip()
    except OSError as error:
        raise ConfigError(f"teacher.prompts: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"teacher.prompts: {path} is not in UTF-8; save it as UTF-8") from None
    if not text:
        raise ConfigError(f"teacher.prompts: {path} is empty; delete it, and ours is used")
    if found := _PLACEHOLDER.search(text):
        raise ConfigError(
            f"teacher.prompts: {path} holds the placeholder {found[0]}, but a prompt is sent as it stands; the question's "
            f"data come as JSON in the message below it, so write of `{found[1]}` without braces"
        )
    if missing := [name for name in needed(kind) if not re.search(rf"(?<!\w){name}(?!\w)", text)]:
        what = "which the data hold" if kind in _NEEDED else "which the reply must have"
        raise ConfigError(f"teacher.prompts: {path} does not name `{missing[0]}`, {what}; say what it stands for")
    return text


def needed(kind: str) -> tuple[str, ...]:
    """What a prompt of this kind must name."""
    reply = REPLIES[kind]
    if reply is None:
        return _NEEDED[kind]
    schema = json_schema(reply)
    shapes = [schema, *schema.get("$defs", {}).values()]
    return tuple(dict.fromkeys(name for shape in shapes for name in shape["properties"]))
