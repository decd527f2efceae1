"""What the loop's checkpoints hold, in SQLite and in a real Postgres server, and what is done about a lost one.

The state machine, the node contract and the driver are real; what most nodes work is replaced by a write of as many rows.
"""

import asyncio
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import agent.loop.checkpoints
import agent.loop.node
import agent.loop.nodes.control
from agent.loop.manifest import node_seconds
from agent.loop.node import Update, Work
from agent.loop.state import State
from agent.run.context import Context
from retrieval.errors import ConfigError, StorageError, TuningError
from retrieval.storage.files import read_json, write_json
from tests.agent.loop.cheap import cheapen, config, ending, go, steps

ROUNDS = 50
#: The mark of the specification.
MOST_BYTES = 5_000_000
VARIABLE = "CHECKPOINTS_OF_A_TEST"
PASSWORD = "canary-4711"


Replace = Callable[[str, int, Work], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Replace:
    """Makes the nodes cheap; call it with a node, a round and what that node is to do there, once, before its work."""
    first: dict[tuple[str, int], Work] = {}
    monkeypatch.setattr(agent.loop.node, "run_once", cheapen(first))

    def add(name: str, number: int, what: Work) -> None:
        first[name, number] = what

    return add


async def stop_by_signal(context: Context, state: State) -> Update:
    os.kill(os.getpid(), signal.SIGTERM)
    return {}


@pytest.mark.slow
async def test_fifty_rounds_of_a_thousand_items_fit_a_small_database(at: Replace, tmp_path: Path) -> None:
    assert await go(config(ROUNDS), tmp_path) == "finished"
    assert steps(tmp_path)[-1] == ("finish", ROUNDS)
    assert sum(path.stat().st_size for path in tmp_path.glob("checkpoints.sqlite*")) < MOST_BYTES


async def test_a_failed_node_is_tried_again_when_the_run_is_started_again(at: Replace, tmp_path: Path) -> None:
    async def fail(context: Context, state: State) -> Update:
        return {"stop_reason": "tuning_failed: no memory"}

    for _ in range(2):
        at("tune", 1, fail)
        assert await go(config(2), tmp_path) == "failed"
        assert read_json(tmp_path / "run.json")["state"] == "failed"
    assert await go(config(2), tmp_path) == "finished"
    assert ending(tmp_path)["stop_reason"] == "max_rounds"
    assert [step for step in steps(tmp_path) if step[0] == "diagnose"] == [("diagnose", 1), ("diagnose", 2)], (
        "paid twice"
    )
    assert await go(config(2), tmp_path) == "finished"
    assert steps(tmp_path)[-1] == ("finish", 2)
    assert steps(tmp_path).count(("finish", 2)) == 1


async def test_a_failed_control_is_tried_once_a_start_and_not_in_every_round(
    at: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    async def fail(context: Context, number: int) -> None:
        tried.append(number)
        raise TuningError("no memory")

    monkeypatch.setattr(agent.loop.nodes.control, "_make", fail)
    every = config(3, control="every")
    assert await go(every, tmp_path) == "finished"
    assert tried == [1, 2, 3]
    assert await go(every, tmp_path) == "finished"
    assert tried == [1, 2, 3, 1, 2, 3]
    assert steps(tmp_path)[-2:] == [("control", 3), ("finish", 3)]


async def test_a_finished_run_gains_the_control_that_it_is_asked_for(
    at: Replace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    async def make(context: Context, number: int) -> None:
        made.append(number)
        write_json(context.folder.control(number) / "evaluation.json", {"n": 1})

    monkeypatch.setattr(agent.loop.nodes.control, "_make", make)
    assert await go(config(3), tmp_path) == "finished"
    assert made == []
    for control, expected in ((2, [2, 3]), (2, [2, 3]), ("every", [2, 3, 1]), ("off", [2, 3, 1])):
        assert await go(config(3, control=control), tmp_path) == "finished"
        assert made == expected
    again = {step: n for step, n in Counter(steps(tmp_path)).items() if n > 1}
    assert again == {("control", 3): 3, ("finish", 3): 3}


async def test_a_finished_run_goes_on_with_more_rounds_and_repeats_none(at: Replace, tmp_path: Path) -> None:
    assert await go(config(1), tmp_path) == "finished"
    assert await go(config(1), tmp_path) == "finished"
    before = steps(tmp_path)
    assert before[-1] == ("finish", 1)
    assert await go(config(3), tmp_path) == "finished"
    assert ending(tmp_path)["stop_reason"] == "max_rounds"
    assert [step for step in steps(tmp_path)[len(before) :] if step[1] == 1] == [("decide", 1), ("control", 1)]
    assert steps(tmp_path)[-1] == ("finish", 3)


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


@pytest.mark.parametrize("how", ["garbage", "cut", "another's", "gone", "unreadable"])
async def test_checkpoints_that_are_damaged_are_made_again_from_what_is_done(
    at: Replace, tmp_path: Path, how: str
) -> None:
    at("retrieve", 1, stop_by_signal)
    assert await go(config(2), tmp_path) == "stopped"
    file = tmp_path / "checkpoints.sqlite"
    for each in tmp_path.glob("checkpoints.sqlite-*"):
        each.unlink()
    match how:
        case "garbage":
            file.write_bytes(os.urandom(9000))
        case "cut":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        case "another's":
            file.write_text("not a database")
        case "gone":
            file.unlink()
        case "unreadable":
            with closing(sqlite3.connect(file)) as database, database:
                database.execute("UPDATE checkpoints SET checkpoint = x'c1ff', type = 'msgpack'")
    assert await go(config(2), tmp_path) == "finished"
    assert set(Counter(steps(tmp_path)).values()) == {1}
    assert ending(tmp_path)["stop_reason"] == "max_rounds"


@pytest.mark.parametrize("how", ["cut", "gone"])
async def test_an_adapter_that_is_damaged_is_tuned_again_and_nothing_else_is_done_again(
    at: Replace, tmp_path: Path, how: str
) -> None:
    at("retrieve", 2, stop_by_signal)
    assert await go(config(3), tmp_path) == "stopped"
    weights = tmp_path / "rounds" / "01" / "adapter" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-2]) if how == "cut" else shutil.rmtree(weights.parent)
    assert await go(config(3), tmp_path) == "finished"
    assert weights.read_bytes() == whole
    assert {step: n for step, n in Counter(steps(tmp_path)).items() if n > 1} == {("tune", 1): 2}


@pytest.mark.parametrize("how", ["cut", "gone"])
async def test_a_finished_run_that_has_lost_its_best_adapter_publishes_it_again(
    at: Replace, tmp_path: Path, how: str
) -> None:
    assert await go(config(1), tmp_path) == "finished"
    weights = tmp_path / "best" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-2]) if how == "cut" else shutil.rmtree(weights.parent)
    assert await go(config(1), tmp_path) == "finished"
    assert weights.read_bytes() == whole
    assert [node for node, n in Counter(steps(tmp_path)).items() if n > 1] == [("finish", 1)]


async def test_a_nodes_time_is_that_of_all_its_attempts(at: Replace, tmp_path: Path) -> None:
    async def wait_and_fail(context: Context, state: State) -> Update:
        await asyncio.sleep(0.2)
        raise StorageError("no room")

    at("tune", 1, wait_and_fail)
    with pytest.raises(StorageError):
        await go(config(1), tmp_path)
    assert await go(config(1), tmp_path) == "finished"
    assert node_seconds(tmp_path / "rounds" / "01")["tune"] >= 0.2
