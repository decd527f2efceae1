"""`gaptutor init`: a configuration that explains itself."""

import io
import re
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from agent.config.loading import parse_config
from agent.config.schema import RunConfig
from agent.run.items import words_of
from eval.scorers import make_scorer
from eval.task import load_items
from retrieval.errors import ConfigError
from retrieval.reading.sources import record_files
from retrieval.storage.files import write_text

_WIDTH = 110
#: OpenAI's models that reason before they reply, and what leaves them room to.
_REASONS = re.compile(r"(.*/)?(gpt-5(?!.*chat)|o\d)")
_REASONING = {"max_tokens": 8192, "reasoning_effort": "low"}


def write_config(
    validation: Path, student: str, teacher: str, pool: Path | None, images: Path | None, out: Path, force: bool
) -> list[str]:
    """Write `out` and return what there is to say about it, a line each. `images`: the folder that the validation set's
    image paths are relative to, if it is not that of the file.

    Raises ConfigError if `out` is there and `force` is not given, or if a name is empty; DataError if the validation set
    cannot be read or there is no such pool.
    """
    for option, value in (("--student", student), ("--teacher", teacher)):
        if not value.strip():
            raise ConfigError(f"{option} is empty; give the name of a model")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name a file with --out")
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; name another with --out, or replace it with --force")
    if pool is not None:
        record_files(pool)
    items = load_items(validation, images)
    scorer = make_scorer("auto", items.items, 1e-3)
    raw: dict[str, Any] = {
        "name": re.sub(r"[^A-Za-z0-9._-]+", "-", validation.stem).strip("-._")[:64] or "run",
        "data": {"validation": str(validation.resolve()), "images": str(images.resolve()) if images else None},
        "pool": {"path": str(pool.resolve()) if pool else "POOL.json"},
        "student": {"model": str(Path(student).resolve()) if Path(student).is_dir() else student},
        "teacher": {"model": teacher, **(_REASONING if _REASONS.match(teacher) else {})},
    }
    config = parse_config(raw, str(out))
    write_text(out, render(config))
    lines = [*words_of(items), f"answers scored by `{scorer.name}` ({scorer.why})"]
    if pool is None:
        lines.append(f"{out}: put the path of your pool of training samples at pool.path")
    return [*lines, f"wrote {out}; next: gaptutor run {out}"]


def render(config: RunConfig) -> str:
    """The YAML text of a configuration, each key under the text that documents it."""
    text = io.StringIO()
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.dump(_commented(config, 0), text)
    return text.getvalue()


def _commented(section: BaseModel, indent: int) -> CommentedMap:
    made = CommentedMap()
    values = section.model_dump(mode="json")
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        nested = isinstance(value, BaseModel)
        made[name] = _commented(value, indent + 2) if nested else values[name]
        about = (value.__doc__ if nested else field.description) or ""
        made.yaml_set_comment_before_after_key(
            name, before="\n".join(textwrap.wrap(" ".join(about.split()), _WIDTH - indent)), indent=indent
        )
    return made
