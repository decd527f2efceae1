"""Reading a run folder from outside, alive or dead: what is missing or torn is left out, nothing is written."""

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from agent.config.loading import read_yaml
from agent.run.lock import is_held
from agent.run.mend import damage
from retrieval.errors import ConfigError, DataError, RunError
from retrieval.storage.files import iter_jsonl, read_object

Row = dict[str, Any]


class RoundRecords:
    """The files of one round (or of its control)."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number

    @cached_property
    def evaluation(self) -> Row:
        """evaluation.json, {} while the round is not evaluated."""
        return object_at(self.folder / "evaluation.json")

    @cached_property
    def record(self) -> Row:
        """round.json, {} before the round is decided."""
        return object_at(self.folder / "round.json")

    @cached_property
    def gaps(self) -> Row:
        """gaps.json, {} in round 0."""
        return object_at(self.folder / "gaps.json")

    @cached_property
    def answers(self) -> dict[str, Row]:
        """Item id -> answer on the validation set."""
        return {str(row.get("item")): row for row in read_rows(self.folder / "answers.jsonl")}

    @cached_property
    def held(self) -> dict[str, Row]:
        """Item id -> answer on the holdout."""
        return {str(row.get("item")): row for row in read_rows(self.folder / "holdout.jsonl")}

    @cached_property
    def diagnoses(self) -> dict[str, Row]:
        """Diagnosis id -> diagnosis."""
        return {str(row.get("id")): row for row in read_rows(self.folder / "diagnoses.jsonl")}

    @cached_property
    def selection(self) -> list[Row]:
        """The samples that the round fetched."""
        return read_rows(self.folder / "selection.jsonl")

    @cached_property
    def quotas(self) -> Row:
        """quotas.json, {} where nothing was to be fetched, and in runs of older versions."""
        return object_at(self.folder / "quotas.json")

    @cached_property
    def control(self) -> "RoundRecords":
        """The round's random control; its evaluation is {} if there is none."""
        return RoundRecords(self.folder / "control", self.number)

    def named(self, key: str) -> list[Row]:
        """The entries of gaps.json under `gaps` or `siblings`."""
        return _objects(self.gaps.get(key))

    @property
    def owed(self) -> list[Row]:
        """The entries of quotas.json, one a need."""
        return _objects(self.quotas.get("needs"))


class RunRecords:
    """A run folder. Raises RunError if it is none."""

    def __init__(self, path: Path) -> None:
        if not any((path / name).exists() for name in ("run.json", "config.yaml", "rounds")):
            what = "is no run folder (it has no run.json)" if path.exists() else "does not exist"
            raise RunError(f"{path} {what}; name the folder of a run, for instance runs/NAME")
        self.path = path

    @cached_property
    def status(self) -> Row:
        """run.json."""
        return object_at(self.path / "run.json")

    @cached_property
    def config(self) -> Row:
        """config.yaml as plain data; not checked, so that a run of another version can still be read."""
        try:
            return read_yaml(self.path / "config.yaml")
        except (OSError, ConfigError):
            return {}

    def setting(self, section: str, key: str) -> Any:
        """A value of the configuration, None if it is not there."""
        part = self.config.get(section)
        return part.get(key) if isinstance(part, Mapping) else None

    @cached_property
    def state(self) -> str:
        """finished, running, waiting, stopped, failed; killed if it says it runs and no process holds it."""
        state = str(self.status.get("state", "running"))
        return "killed" if state == "running" and not self._held() else state

    def _held(self) -> bool:
        try:
            return is_held(self.path)
        except OSError:  # not ours to lock: believe what run.json says
            return True

    @cached_property
    def rounds(self) -> list[RoundRecords]:
        """All rounds that have been begun, in order."""
        folders = [path for path in (self.path / "rounds").glob("*") if path.is_dir() and path.name.isdigit()]
        return [RoundRecords(path, int(path.name)) for path in sorted(folders, key=lambda path: int(path.name))]

    @cached_property
    def best(self) -> int:
        """The kept round, 0 if none was shown to be better than the student as it came."""
        found = self.status.get("best_round")
        return found if isinstance(found, int) else 0

    @cached_property
    def events(self) -> list[Row]:
        """What happened, oldest first."""
        return read_rows(self.path / "events.jsonl")

    @cached_property
    def damage(self) -> list[str]:
        """What is wrong with the files that cannot be read, a sentence each."""
        found = [str(error) for _, error in damage(self.path)]
        try:
            read_yaml(self.path / "config.yaml")
        except ConfigError as error:
            found.append(str(error))
        except OSError:
            pass
        return found

    @cached_property
    def items(self) -> dict[str, Row]:
        """Item id -> item."""
        return {str(row.get("id")): row for row in read_rows(self.path / "items.jsonl")}


def _objects(found: Any) -> list[Row]:
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def object_at(path: Path) -> Row:
    """A JSON object; {} if the file is missing or damaged."""
    try:
        return read_object(path)
    except DataError:
        return {}


def read_rows(path: Path) -> list[Row]:
    """The rows of a log, as far as it can be read."""
    rows: list[Row] = []
    with suppress(DataError, OSError):
        for row in iter_jsonl(path):
            rows.append(row)
    return rows
