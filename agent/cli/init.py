"""`gaptutor init`: a configuration that explains itself."""

import copy
import io
import os
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from agent.config.loading import anchor, parse_config
from agent.config.schema import RunConfig
from agent.run.error_budget import check_read
from agent.run.items import Read, read_items, words_of
from agent.student.engine import Request, prompt_for
from agent.student.vllm.room import Ruler
from agent.teacher.endpoint.connection import check_address
from eval.gold import Answers
from eval.scorers import make_scorer
from eval.task import HOLDOUT_FROM, Item
from retrieval.errors import ConfigError
from retrieval.pool.glance import glance
from retrieval.storage.files import write_text
from training.families.families import HubAwayError, check_model

#: Items whose prompts are measured.
LOOKED_AT = 1000
_WIDTH = 110
#: OpenAI's models that reason before they reply, and what leaves them room to.
_REASONS = re.compile(r"(.*/)?(gpt-5(?!.*chat)|o\d)")
_REASONING = {"max_tokens": 8192, "reasoning_effort": "low"}


class Given(NamedTuple):
    """What `gaptutor init` was told; paths as they were typed."""

    validation: Path
    student: str
    teacher: str
    pool: Path | None = None
    images: Path | None = None
    holdout: Path | None = None
    base_url: str | None = None
    answers: Answers = "auto"


def write_config(given: Given, out: Path, force: bool) -> list[str]:
    """Write `out` and return what there is to say about it, a line each.

    Raises ConfigError if `out` is there and `force` is not given, if a name is empty or there is no such student; DataError if
    the run would refuse the validation set or the holdout, or there is no such pool.
    """
    for option, value in (("--student", given.student), ("--teacher", given.teacher)):
        if not value.strip():
            raise ConfigError(f"{option} is empty; give the name of a model")
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name a file with --out")
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; name another with --out, or replace it with --force")
    of_pool = glance(given.pool, None) if given.pool is not None else []
    raw = _raw(given, out.parent.resolve())
    if given.base_url:
        check_address(given.base_url)
    config = parse_config(anchor(copy.deepcopy(raw), out.parent.resolve()), str(out))
    read = read_items(config)
    check_read(given.validation, read.validation, config.error_budget)
    check_read(given.holdout or given.validation, read.extra, config.error_budget)
    scorer = make_scorer("auto", [*read.items, *read.holdout], config.data.tolerance)
    tokens, said = _room(config, [*read.items, *read.holdout])
    raw["student"] |= tokens
    write_text(out, render(parse_config(raw, str(out))))
    lines = [*words_of(read.validation), *(words_of(read.extra) if given.holdout else [])]
    lines += [f"pool: {line}" for line in of_pool]
    lines += [f"answers scored by `{scorer.name}` ({scorer.why})", _holdout(read, config), *said]
    if given.pool is None:
        lines.append(f"{out}: put the path of your pool of training samples at pool.path")
    return [*lines, f"wrote {out}; next: gaptutor run {out} --dry-run, which says what the teacher will cost"]


def _raw(given: Given, folder: Path) -> dict[str, Any]:
    """The keys that are set, paths relative to the configuration's folder so that both can be moved together."""

    def path(one: Path | None) -> str | None:
        return None if one is None else os.path.relpath(one.resolve(), folder)

    name = re.sub(r"[^A-Za-z0-9._-]+", "-", given.validation.stem).strip("-._")[:64] or "run"
    address = {"base_url": given.base_url} if given.base_url else {}
    return {
        "name": name,
        "data": {
            "validation": path(given.validation),
            "images": path(given.images),
            "holdout": path(given.holdout),
            "answers": given.answers,
        },
        "pool": {"path": path(given.pool) or "POOL.json"},
        "student": {"model": path(Path(given.student)) if Path(given.student).is_dir() else given.student},
        "teacher": {"model": given.teacher, **address, **(_REASONING if _REASONS.match(given.teacher) else {})},
    }


def _room(config: RunConfig, items: Sequence[Item]) -> tuple[dict[str, int], list[str]]:
    """The longest answer that the student has room for behind the longest prompt, where that is less than the default; and what
    there is to say. Raises ConfigError if there is no such student."""
    student = config.student
    try:
        check_model(student.model)
    except HubAwayError as error:
        return {}, [str(error)]
    if not Path(student.model).is_dir():
        return {}, []  # it has not been fetched yet
    ruler = Ruler(student)
    requests = [Request(i.id, prompt_for(student.rationale_prompt, i.prompt_text), i.images) for i in items[:LOOKED_AT]]
    longest = max(ruler.lengths(requests), default=0) - student.max_new_tokens
    room = ruler.holds - longest
    if room >= student.max_new_tokens or room < 1:
        return {}, []
    said = f"student.max_new_tokens is {room}: the student holds {ruler.holds} tokens, and prompts take up to {longest}"
    return {"max_new_tokens": room}, [said]


def _holdout(read: Read, config: RunConfig) -> str:
    """What the holdout is, or what it means that there is none."""
    if read.holdout:
        share = (
            ""
            if config.data.holdout
            else f", drawn from the validation set (data.holdout_share {config.data.holdout_share})"
        )
        return f"{len(read.items)} items decide, {len(read.holdout)} are held out and decide nothing{share}"
    return (
        f"no holdout: with fewer than {HOLDOUT_FROM} items all of them decide which round is kept, so that the figures lean "
        "upward; bring more items, or a file of others with --holdout"
    )


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
