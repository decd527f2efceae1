"""What the loop's checkpoints hold, in SQLite and in a real Postgres server, and what is done about a lost one.

The state machine, the node contract and the driver are real; what most nodes work is replaced by a write of as many rows.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agent.loop.checkpoints
import agent.loop.node
from agent.config.loading import parse_config
from agent.config.schema import RunConfig
from agent.loop.drive import drive
from agent.loop.node import Node, Update, Work
from agent.loop.state import State
from agent.run.console import Reporter
from agent.run.context import Context
from eval.microworld import WEIGHTS
from retrieval.errors import ConfigError, StorageError
from retrieval.storage.files import read_json, read_jsonl, write_json, write_jsonl, write_text

ROUNDS, ITEMS = 50, 1000
#: The mark of the specification.
MOST_BYTES = 5_000_000
VARIABLE = "CHECKPOINTS_OF_A_TEST"
PASSWORD = "canary-4711"


def config(rounds: int, **changes: Any) -> RunConfig:
    raw = {
        "name": "checkpoints",
        "max_rounds": rounds,
        "control": "off",
        "data": {"validation": "/items.jsonl"},
        "pool": {"path": "/pool.json"},
        "student": {"model": str(WEIGHTS)},
        "teacher": {"model": "teacher"},
    }
    return parse_config({**raw, **changes}, "test")


async def prepare(context: Context, state: State) -> Update:
    write_jsonl(context.folder.path / "items.jsonl", ({"id": f"item-{number:04d}"} for number in range(ITEMS)))
    return {}


async def evaluate(context: Context, state: State) -> Update:
    number = state["round"]
    text = "Step 1: the digits are 3 and 4.\nStep 2: 3 plus 4 is 7.\nAnswer: 7"
    rows = [{"item": f"item-{each:04d}", "text": text, "correct": each % (number + 2) > 0} for each in range(ITEMS)]
    write_jsonl(context.folder.round(number) / "answers.jsonl", rows)
    return {"accuracies": [*state["accuracies"][:number], sum(row["correct"] is True for row in rows) / ITEMS]}


async def decide(context: Context, state: State) -> Update:
    number = state["round"]
    write_json(context.folder.round(number) / "round.json", {"round": number})
    reason = "max_rounds" if number == context.config.max_rounds else None
    return {"best_round": number, "stop_reason": reason}


async def diagnose(context: Context, state: State) -> Update:
    folder = context.folder.round(state["round"])
    write_jsonl(folder / "diagnoses.jsonl", ({"item": f"item-{each:04d}"} for each in range(ITEMS)))
    write_json(folder / "gaps.json", {"gaps": []})
    return {"stop_reason": None}


async def retrieve(context: Context, state: State) -> Update:
    rows = ({"sample": f"s{each:04d}"} for each in range(ITEMS))
    write_jsonl(context.folder.round(state["round"]) / "selection.jsonl", rows)
    return {}


async def tune(context: Context, state: State) -> Update:
    write_text(context.folder.round(state["round"]) / "adapter" / "adapter_model.safetensors", str(state["round"]))
    return {}


async def finish(context: Context, state: State) -> Update:
    failed = str(state["stop_reason"]).startswith("tuning_failed")
    context.folder.status(state="failed" if failed else "finished", stop_reason=state["stop_reason"])
    write_text(context.folder.path / "report.html", json.dumps(state))
    return {}


#: `control` and `review` work as ever: they have nothing to do here but to move the loop on.
CHEAP: dict[str, Work] = {work.__name__: work for work in (prepare, evaluate, decide, diagnose, retrieve, tune, finish)}

Replace = Callable[[str, int, Work], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Makes the nodes cheap; call it with a node, a round and what that node is to do there, once, before its work."""
    first: dict[tuple[str, int], Work] = {}
    run_once = agent.loop.node.run_once

    async def run_cheap(context: Context, state: State, spec: Node, work: Work) -> Update:
        async def all_of_it(context: Context, state: State) -> Update:
            if (spec.name, state["round"]) in first:
                found = await first.pop((spec.name, state["round"]))(context, state)
                if found:
                    return found
            return await CHEAP.get(spec.name, work)(context, state)

        return await run_once(context, state, spec._replace(reads_data=False), all_of_it)

    monkeypatch.setattr(agent.loop.node, "run_once", run_cheap)

    def add(name: str, number: int, what: Work) -> None:
        first[name, number] = what

    return add


async def go(config: RunConfig, run: Path) -> str:
    return await drive(config, run, "resume", Reporter(quiet=True))


def steps(run: Path) -> list[tuple[str, int]]:
    """The nodes in the order of their starts."""
    return [(row["node"], row["round"]) for row in read_jsonl(run / "events.jsonl") if row["event"] == "node_started"]


async def stop_by_signal(context: Context, state: State) -> Update:
    os.kill(os.getpid(), signal.SIGTERM)
    return {}


@pytest.mark.slow
async def test_fifty_rounds_of_a_thousand_items_fit_a_small_database(at: Replace, tmp_path: Path) -> None:
    assert await go(config(ROUNDS), tmp_path) == "finished"
    assert steps(tmp_path)[-1] == ("finish", ROUNDS)
    assert sum(path.stat().st_size for path in tmp_path.glob("checkpoints.sqlite*")) < MOST_BYTES


async def test_a_failed_run_is_still_failed_when_it_is_called_again(at: Replace, tmp_path: Path) -> None:
    async def fail(context: Context, state: State) -> Update:
        return {"stop_reason": "tuning_failed: no memory"}

    at("tune", 1, fail)
    for _ in range(2):
        assert await go(config(2), tmp_path) == "failed"
        assert read_json(tmp_path / "run.json")["state"] == "failed"


async def test_a_run_that_cannot_begin_says_why_and_lets_go_of_its_folder(tmp_path: Path) -> None:
    kept = []  # what an error holds would be let go with it
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"set student\.model") as caught:
            await go(config(1, student={"model": "no/such/student"}), tmp_path)
        kept.append(caught)
    assert "set student.model" in read_json(tmp_path / "run.json")["error"]


async def test_a_mark_without_its_report_is_not_the_end(at: Replace, tmp_path: Path) -> None:
    at("control", 1, stop_by_signal)
    assert await go(config(1), tmp_path) == "stopped"
    # As a kill in `finish` leaves it: the mark is new, the report is the one of the stop.
    write_json(tmp_path / "run.json", {**read_json(tmp_path / "run.json"), "state": "finished"})
    assert await go(config(1), tmp_path) == "finished"
    assert steps(tmp_path)[-1] == ("finish", 1)
    assert ending(tmp_path)["stop_reason"] == "max_rounds"


@pytest.mark.parametrize(
    "url",
    [
        f"postgres:/tester:{PASSWORD}@/db",
        f"postgresql://tester:{PASSWORD}/x@/db",
        f"postgresql://tester:x@{PASSWORD}@/db",
        f"postgresql://tester:{PASSWORD}@/db?no_such_option=1",
        f"host=nowhere password={PASSWORD}",
    ],
)
async def test_what_is_no_address_is_refused_and_not_quoted(
    at: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(ConfigError, match=f"{VARIABLE} holds no postgresql:// address") as caught:
        await go(config(1, checkpoint_url_env=VARIABLE), tmp_path / "run")
    assert PASSWORD not in str(caught.value)
    assert holding(tmp_path, PASSWORD) == []


def holding(folder: Path, text: str) -> list[Path]:
    """The files that a text stands in."""
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


class Postgres:
    """A server of our own on a socket in its own folder; it listens to no port."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries, self._folder = binaries, folder
        # Postgres does not run as root.
        self._user = _someone_else() if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        secret = folder / "secret"
        secret.write_text(PASSWORD)
        # SQL_ASCII, the encoding that takes any bytes for text, is the harder one to get right.
        password = ["-A", "scram-sha-256", f"--pwfile={secret}"]
        self._call("initdb", "-D", "data", "-U", "tester", *password, "--no-locale", "-E", "SQL_ASCII", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://tester:{PASSWORD}@/postgres?host={self._folder}"

    def threads(self) -> set[str]:
        """The runs that have checkpoints here."""
        import psycopg

        with psycopg.connect(self.url, client_encoding="utf8") as connection:
            return {row[0] for row in connection.execute("SELECT DISTINCT thread_id FROM checkpoints")}

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        self._call("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", "data", "-m", "immediate", "-w", "stop")

    def _call(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / name), *arguments],
            cwd=self._folder,
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def _someone_else() -> int:
    """The user id under which root runs the server."""
    known = {user.pw_name: user.pw_uid for user in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((place for place in places if (place / "pg_ctl").exists() and (place / "initdb").exists()), None)


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    pytest.importorskip("langgraph.checkpoint.postgres.aio", reason="the extra `postgres` is not installed")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("there is no Postgres on this machine (initdb and pg_ctl)")
    # Not under tmp_path: a socket's path must be short, and the server's user must reach it.
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        server = Postgres(binaries, Path(folder))
        monkeypatch.setenv(VARIABLE, server.url)
        yield server
        server.stop()


@pytest.mark.served
async def test_a_run_with_postgres_is_stopped_resumed_and_ends_as_with_sqlite(
    at: Replace, postgres: Postgres, tmp_path: Path
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    with_postgres = config(2, checkpoint_url_env=VARIABLE)
    at("retrieve", 1, stop_by_signal)
    assert await go(with_postgres, run) == "stopped"
    assert steps(run)[-1] == ("retrieve", 1)
    assert await go(with_postgres, tmp_path / "neighbour") == "finished"
    assert await go(with_postgres, run) == "finished"
    assert await go(config(2), other) == "finished"
    assert steps(run) == steps(other)
    assert ending(run) == ending(other)
    assert postgres.threads() == {read_json(each / "run.json")["id"] for each in (run, tmp_path / "neighbour")}
    assert not list(run.glob("checkpoints.sqlite*"))
    assert holding(run, PASSWORD) == []


def ending(run: Path) -> Any:
    """The last state, as `finish` got it, but for the folder's own path."""
    return {**read_json(run / "report.html"), "run": None}


@pytest.mark.served
async def test_a_connection_lost_while_a_node_works_is_made_again(
    at: Replace, postgres: Postgres, tmp_path: Path
) -> None:
    async def restart(context: Context, state: State) -> Update:
        postgres.stop()
        postgres.start()
        return {}

    at("tune", 1, restart)
    assert await go(config(2, checkpoint_url_env=VARIABLE), tmp_path) == "finished"


@pytest.mark.served
async def test_a_run_whose_database_stays_away_is_left_and_goes_on_when_it_is_back(
    at: Replace, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stop(context: Context, state: State) -> Update:
        postgres.stop()
        return {}

    monkeypatch.setattr(agent.loop.checkpoints, "_DATABASE_SECONDS", 2.0)
    at("tune", 1, stop)
    with pytest.raises(StorageError, match=f"{VARIABLE} names, was lost: .*run again"):
        await go(config(2, checkpoint_url_env=VARIABLE), tmp_path)
    assert "was lost" in read_json(tmp_path / "run.json")["error"]
    postgres.start()
    assert await go(config(2, checkpoint_url_env=VARIABLE), tmp_path) == "finished"
    assert set(Counter(steps(tmp_path)).values()) == {1}


@pytest.mark.served
async def test_a_wrong_password_is_refused_and_not_quoted(
    at: Replace, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, postgres.url.replace(PASSWORD, "another-4712"))
    with pytest.raises(ConfigError, match=f"{VARIABLE} names: .*password authentication failed") as caught:
        await go(config(1, checkpoint_url_env=VARIABLE), tmp_path)
    assert "4712" not in str(caught.value)
    assert holding(tmp_path, "4712") == []
