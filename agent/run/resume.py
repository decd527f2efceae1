"""What may change when a run goes on: how it is done, but nothing that changes a result; and how far it is to go.

The configuration that a run is to go on with is compared with the run's config.yaml, key by key. Keys that an older config.yaml
lacks have their defaults, and those that this version does not know are passed over, and named. `max_rounds` and `patience`
may rise, also when the run is finished: it is extended then.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from agent.config.loading import parse_config, read_yaml
from agent.config.schema import RunConfig
from agent.run.reading import RunRecords
from agent.run.server_args import deciding
from agent.teacher.prompts.own import Prompts, load_prompts
from eval.statistics import significant
from retrieval.errors import ConfigError, RunError
from retrieval.storage.files import read_object

IfExists = Literal["resume", "raise", "delete", "delete-all"]

#: Version of a run folder, in its run.json. A folder of an older one is gone on with; one of a newer one is only read.
#: 2: no digest of the configuration, its `auto` resolved; pictures.jsonl.
SCHEMA = 2

#: What may differ between the configuration of a run and the one it is resumed with, besides what `_choices` sees to.
_FREE = {
    "": {"error_budget", "max_rounds", "patience", "control"},
    "data": {"answers"},  # the items must not
    "teacher": {
        "base_url",
        "app",
        "api_key_env",
        "concurrency",
        "timeout",
        "retries",
        "outage_minutes",
        "batch",
        "batch_poll_minutes",
        "batch_hours",
        "max_tokens",
        "price_in",
        "price_out",
        "price_batch",
        "budget_usd",
        "prompts",  # their contents must not
    },
    "student": {"max_unreadable"},
    "tuning": {"checkpoint_minutes", "gpus"},
    "pool": {"chroma_url"},
    # Not `serve` and `max_length`: the one rounds the weights, the other sets items aside.
    "student.vllm": {
        "url",
        "api_key_env",
        "python",
        "args",  # those that decide answers must not
        "port",
        "sharing",
        "gpu_memory",
        "gpus",
        "concurrency",
        "timeout",
        "start_timeout",
    },
}

#: What a run is stopped by that might have gone on.
_MIGHT_GO_ON = ("max_rounds", "plateau", "no_gain")


def goes_on(path: Path, config: RunConfig, prompts: Prompts, if_exists: IfExists) -> bool:
    """Whether to open the folder is to go on with the run in it. Changes nothing; raises RunError where that is refused,
    DataError where its run.json is damaged."""
    if if_exists in ("delete", "delete-all") or not (path / "run.json").exists():
        return False
    if if_exists == "raise":
        raise RunError(
            f"{path} holds a run already; resume it with --if-exists resume or remove it with --if-exists delete"
        )
    check_schema(path)
    try:
        _check_same(path, config, prompts)
    except (RunError, ConfigError) as error:
        if has_answers(path) and isinstance(error, ConfigError):
            raise RunError(f"{error}; restore it from a copy, or start over with --if-exists delete") from None
        if has_answers(path):
            raise
        return False  # nothing was answered yet: a mistake that has been put right, most likely
    return True


def has_answers(path: Path) -> bool:
    """Whether anything was made in a run folder that another run could not go on with."""
    return any(path.glob("rounds/*/*.jsonl"))


def check_schema(path: Path) -> None:
    """Raise RunError if the folder is of a newer version than this one can go on with."""
    made = RunRecords(path).status.get("schema") if (path / "run.json").exists() else None
    if isinstance(made, int) and made > SCHEMA:
        raise RunError(
            f"{path} was made by a newer gaptutor (its run.json has schema {made}, this one knows {SCHEMA}); go on with that "
            "one, or name another folder with --run-dir"
        )


def read_config(path: Path) -> RunConfig:
    """The configuration that a run folder keeps, as far as this version knows its keys. Raises ConfigError if there is none,
    or if a value is none of this version's."""
    return parse_config(_known(_read(path)), str(path / "config.yaml"))


def unknown_keys(path: Path) -> list[str]:
    """Keys of a run's config.yaml that this version does not know, dotted. Raises ConfigError."""
    return [name for name, value in _walk(_read(path)) if value is _UNKNOWN]


def settled(config: RunConfig, run: RunConfig) -> RunConfig:
    """The configuration with what it leaves to `auto` as the run has it; see `agent.run.machine.resolved`."""
    student = _taken(config.student, run.student, ("engine", "dtype"))
    return config.model_copy(update={"student": student, "tuning": _taken(config.tuning, run.tuning, ("dtype",))})


def extends(path: Path, config: RunConfig) -> bool:
    """Whether the finished run in a folder goes on under a configuration that `goes_on` lets it: it ended by `max_rounds` or for
    want of a gain, and there are rounds and patience left now."""
    run = RunRecords(path)
    if run.state != "finished" or run.status.get("stop_reason") not in _MIGHT_GO_ON:
        return False
    last = rounds_made(path)
    return last < config.max_rounds and last - run.best < config.patience


def controls_lacking(path: Path, config: RunConfig) -> list[int]:
    """Rounds of the finished run in a folder whose control is wanted now and was never tried."""
    run = RunRecords(path)
    evaluated = [files.number for files in run.rounds if files.number and files.evaluation]
    wanted = {"off": [], "kept": [run.best], "every": evaluated}.get(str(config.control), [config.control, run.best])
    if run.state != "finished":
        return []
    made = {files.number for files in run.rounds if files.control.evaluation or files.control.record}
    return [number for number in evaluated if number in wanted and number not in made]


def rounds_made(path: Path) -> int:
    """The last round that was begun, 0 for the student as it came."""
    return max((files.number for files in RunRecords(path).rounds), default=0)


def _check_same(path: Path, config: RunConfig, prompts: Prompts) -> None:
    """Raise RunError if the run began with what `config` and `prompts` differ from."""
    run = read_config(path)
    # A run that began before prompts were noted down had ours.
    began, now = read_object(path / "run.json").get("prompts") or load_prompts(None).as_rows(), prompts.as_rows()
    changed = [f"the prompt {kind}" for kind in now if began.get(kind, {}).get("sha256") != now[kind]["sha256"]]
    changed += _changed(_bound(run.model_dump(mode="json")), _bound(settled(config, run).model_dump(mode="json")))
    changed += [f"student.vllm.args ({name})" for name in _args_changed(run, config)]
    if changed:
        raise RunError(
            f"{path} belongs to a run with another configuration (differs in {', '.join(changed)}); "
            "name another folder with --run-dir, or start over with --if-exists delete"
        )
    _check_length(path, run, config)


def _check_length(path: Path, run: RunConfig, config: RunConfig) -> None:
    """Raise RunError if rounds that are made would not have been, or would have been judged otherwise."""
    made = rounds_made(path)
    if config.max_rounds < made:
        raise RunError(
            f"max_rounds is {config.max_rounds}, but round {made} of {path} has begun; set it to {made} or more"
        )
    if config.patience < run.patience:
        raise RunError(
            f"patience is {config.patience}, but the rounds of {path} were tested under {run.patience}, and it may only "
            "rise; leave it, or name another folder with --run-dir"
        )
    for files in RunRecords(path).rounds:
        p_value = files.record.get("p_value")
        if (
            files.record.get("better")
            and p_value is not None
            and not significant(p_value, config.alpha, config.patience)
        ):
            limit = config.alpha / config.patience
            raise RunError(
                f"under patience={config.patience} round {files.number} of {path} would not have been kept (p = {p_value:.3g}, "
                f"more than alpha / patience = {limit:.3g}); leave it at {run.patience}, or name another folder with --run-dir"
            )


class _Unknown:
    """Stands for the value of a key that this version does not know."""


_UNKNOWN = _Unknown()


def _walk(raw: Mapping[str, Any], model: type[BaseModel] = RunConfig, section: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a configuration by their dotted keys."""
    for key, value in raw.items():
        name, field = f"{section}.{key}".strip("."), model.model_fields.get(key)
        inner = field and field.annotation
        if field is None:
            yield name, _UNKNOWN
        elif isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _walk(value, inner, name)
        else:
            yield name, value


def _known(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without the keys that this version does not know."""
    found: dict[str, Any] = {}
    for name, value in _walk(raw):
        *sections, key = name.split(".")
        part = found
        for section in sections:
            part = part.setdefault(section, {})
        if value is not _UNKNOWN:
            part[key] = value
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path / "config.yaml")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{path} is no run folder: it has no config.yaml") from None


def _taken(part: Any, other: Any, keys: Iterable[str]) -> Any:
    """A section with its values that are `auto` taken from another."""
    return part.model_copy(update={key: getattr(other, key) for key in keys if getattr(part, key) == "auto"})


def _bound(config: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """The part of a configuration that decides the results, as it is nested there."""
    found = {}
    for key, value in config.items():
        if key not in _FREE.get(section, ()):
            found[key] = _bound(value, f"{section}.{key}".strip(".")) if isinstance(value, dict) else value
    return found


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], section: str = "") -> list[str]:
    """The keys whose values differ, dotted."""
    found = []
    for key, value in new.items():
        name, before = f"{section}.{key}".strip("."), old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            found += _changed(before, value, name)
        elif before != value:
            found.append(name)
    return found


def _args_changed(run: RunConfig, config: RunConfig) -> list[str]:
    old, new = deciding(run.student.vllm.args), deciding(config.student.vllm.args)
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
