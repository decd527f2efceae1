"""Reading a configuration: a YAML file, what `--set` changes of it, and errors that say which key is meant."""

import difflib
import os
import re
import shutil
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from agent.config.schema import RunConfig
from retrieval.errors import ConfigError
from retrieval.storage.files import read_text

#: More values than any configuration has; a few aliases of aliases make billions of them.
_MOST_VALUES = 10_000


def load_config(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML configuration and apply `a.b=c` overrides; relative paths are relative to the file.

    Raises ConfigError naming the file and the key or line that is wrong.
    """
    try:
        raw = read_yaml(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; `gaptutor init` writes a configuration") from None
    for change in overrides or ():
        override(raw, change)
    return parse_config(anchor(raw, path.parent.resolve()), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises FileNotFoundError, and ConfigError for whatever else is wrong with it."""
    try:
        raw = YAML(typ="safe").load(read_text(path))
        size = _size(raw, {})
    except (FileNotFoundError, NotADirectoryError):
        raise
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path}, line {line}: not YAML ({error.problem})") from None
    except RecursionError:
        raise ConfigError(f"{path} is nested too deeply, or in itself; write its values out") from None
    except (YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no configuration; `gaptutor init` writes one")
    if size > _MOST_VALUES:
        raise ConfigError(f"{path}: its aliases stand for {size:.1e} values; write them out")
    return raw


def _size(value: Any, known: dict[int, int]) -> int:
    """How many values it is with its aliases written out. Raises RecursionError if it holds itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(each, known) for each in parts)
    return known[id(value)]


def parse_config(raw: dict[str, Any], where: str) -> RunConfig:
    """Check a configuration that has been read; `where` names it in errors."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explained(error))) from None


def override(raw: dict[str, Any], change: str) -> None:
    """Set a value, in place. It is read as YAML, or taken as it stands where its key takes a text and nothing else."""
    key, equals, text = change.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {change}: write it as key=value, for instance --set selection.budget=500")
    *sections, name = key.split(".")
    part = raw
    for depth, section in enumerate(sections, 1):
        inner = part.get(section)
        if inner is not None and not isinstance(inner, dict):
            raise ConfigError(f"--set {change}: `{'.'.join(sections[:depth])}` is a value, which holds no keys")
        # A copy, since an alias may stand for it elsewhere too.
        part[section] = part = dict(inner or {})
    part[name] = _read_value(change, _type_of([*sections, name]), text)


def _read_value(change: str, kind: TypeAdapter[Any] | None, text: str) -> Any:
    try:
        value = YAML(typ="safe").load(text)
    except (YAMLError, ValueError):
        if kind is not None and _takes(kind, text):
            return text
        raise ConfigError(f"--set {change}: brackets and quotes must be closed") from None
    if kind is None or _takes(kind, value) or not _takes(kind, text):
        return value
    return text


def _takes(kind: TypeAdapter[Any], value: Any) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True


def _type_of(key: list[str]) -> TypeAdapter[Any] | None:
    """What the value of a key may be; None if there is no such key."""
    model: Any = RunConfig
    for section in key[:-1]:
        field = getattr(model, "model_fields", {}).get(section)
        model = field and field.annotation
    field = getattr(model, "model_fields", {}).get(key[-1])
    if field is None:
        return None
    annotation: Any = Annotated[field.annotation, field]
    return TypeAdapter(annotation)


_PATHS = (
    ("data", "validation"),
    ("data", "holdout"),
    ("data", "images"),
    ("pool", "path"),
    ("pool", "images"),
    ("pool", "store"),
    ("teacher", "prompts"),
)


def anchor(raw: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make paths absolute, in place; a student's name is a path if such a folder exists."""
    for section, key in (*_PATHS, ("student", "model")):
        part = raw.get(section)
        value = part.get(key) if isinstance(part, dict) else None
        if not isinstance(part, dict) or not isinstance(value, str):
            continue
        path = folder / os.path.expanduser(value)  # unlike Path.expanduser, no error for a user that is not there
        if (section, key) != ("student", "model") or path.exists():
            part[key] = os.path.normpath(path)
    student = raw.get("student")
    vllm = student.get("vllm") if isinstance(student, dict) else None
    if isinstance(vllm, dict) and isinstance(vllm.get("python"), str):
        vllm["python"] = _program(vllm["python"], folder)
    return raw


def _program(value: str, folder: Path) -> str:
    """A program's absolute path; a bare name is looked up on PATH, and left as it is where there is none."""
    value = os.path.expanduser(value)
    return str(folder / value) if os.path.dirname(value) else shutil.which(value) or value


def _nearest(key: str) -> str:
    """Which key may have been meant."""
    known: list[str] = []
    for name, field in RunConfig.model_fields.items():
        inner: Any = getattr(field.annotation, "model_fields", None)
        known += [f"{name}.{each}" for each in inner] if inner else [name]
    found = difflib.get_close_matches(key, known, n=1)
    return f" (is `{found[0]}` meant?)" if found else ""


def _explained(error: ValidationError) -> list[str]:
    """A sentence for each key. Where it may be of several kinds, pydantic has an error for each, and names the kind as if it were
    a key in it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in error.errors():
        key = ".".join(
            str(part) for part in each["loc"] if not re.search(r"\[|^constrained-|^(?:int|str|float|bool)$", str(part))
        )
        found.setdefault(key, []).append(dict(each))
    return [_explain(key, some) for key, some in found.items()]


def _explain(key: str, errors: list[dict[str, Any]]) -> str:
    error = errors[0]
    wanted = [each["msg"].partition(", unable")[0].removeprefix("Input should be ") for each in errors]
    if error["type"] == "string_pattern_mismatch" and key.endswith("_env"):
        return f"`{key}` must be the name of an environment variable (letters, digits, _), not what it holds"
    if error["type"] == "extra_forbidden":
        return f"there is no key `{key}`{_nearest(key)}; `gaptutor init` writes a file with all of them"
    if error["type"] == "missing":
        return f"`{key}` is missing"
    if all(each["msg"].startswith("Input should be ") for each in errors):
        kinds = " or ".join(dict.fromkeys(wanted)).replace("a valid integer", "a whole number")
        return f"`{key}` must be {kinds}, and is {str(error['input'])[:60]!r}"
    return (
        f"`{key}`: {error['msg'].removeprefix('Value error, ')}"
        if key
        else str(error["msg"]).removeprefix("Value error, ")
    )
