"""Where the state machine keeps its checkpoints."""

import os
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from agent.config.schema import RunConfig
from retrieval.errors import ConfigError, StorageError, first_line
from retrieval.storage.files import storage_errors

#: Seconds in which a lost database may come back before the run is left.
_DATABASE_SECONDS = 60.0
#: Stricter than the driver, which takes a piece of a password with an @ or a / in it for the host, and names that in its
#: errors; those are written down.
_ADDRESS = re.compile(r"postgres(ql)?://([^@/?#]*@)?[^@]*")
_NO_ADDRESS = "holds no postgresql:// address; special characters in its user and password are written as %XX"


def discard_damaged(config: RunConfig, path: Path) -> bool:
    """Remove SQLite checkpoints that cannot be read, and say whether there were any: manifests hold all that they do."""
    file = path / "checkpoints.sqlite"
    if config.checkpoint_url_env is not None or not file.exists() or _is_sound(file):
        return False
    with storage_errors(file):
        for each in path.glob("checkpoints.sqlite*"):
            each.unlink()
    return True


def _is_sound(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(file)) as database:
            if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                return False
            for query in ("SELECT type, checkpoint FROM checkpoints", "SELECT type, value FROM writes"):
                for row in database.execute(query):
                    JsonPlusSerializer().loads_typed(row)
    except sqlite3.OperationalError:  # no tables yet, or the disk or its rights: opening it says more
        return True
    except (sqlite3.DatabaseError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError):
        return False
    return True


@asynccontextmanager
async def checkpointer(config: RunConfig, path: Path) -> "AsyncIterator[BaseCheckpointSaver[Any]]":
    """SQLite in the run folder, or the Postgres database that the environment names. Raises ConfigError, StorageError."""
    if config.checkpoint_url_env is None:
        try:
            async with AsyncSqliteSaver.from_conn_string(str(path / "checkpoints.sqlite")) as saver:
                await saver.setup()  # or there is nothing yet that a thread could be deleted from
                yield saver
        except sqlite3.OperationalError as error:
            raise StorageError(
                f"cannot write {path / 'checkpoints.sqlite'}: {error}; make room, then run again"
            ) from error
    else:
        async with _postgres(config.checkpoint_url_env) as postgres:
            yield postgres


@asynccontextmanager
async def _postgres(variable: str) -> "AsyncIterator[BaseCheckpointSaver[Any]]":
    """A pool instead of the saver's one connection: that is idle for as long as a round is tuned, and would not be made
    again. Raises ConfigError if there is no such database, StorageError if it is lost and does not come back."""
    url = os.environ.get(variable)
    if not url:
        raise ConfigError(f"checkpoint_url_env: the environment variable {variable} is not set")
    if not _ADDRESS.fullmatch(url):
        raise ConfigError(f"checkpoint_url_env: {variable} {_NO_ADDRESS}")
    try:
        import psycopg
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool
    except ImportError:
        raise ConfigError("checkpoint_url_env needs the Postgres saver: pip install 'gaptutor[postgres]'") from None
    # What the saver asks of its connections. In a database without an encoding the ids of threads would come back as bytes,
    # and a run that goes on would be kept under another id.
    options: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": 0,
        "row_factory": dict_row,
        "client_encoding": "utf8",
    }
    try:
        await (await psycopg.AsyncConnection.connect(url)).close()  # a pool would not say why it cannot
    except psycopg.OperationalError as error:
        raise ConfigError(f"checkpoint_url_env: the database that {variable} names: {first_line(error)}") from None
    except psycopg.Error:
        raise ConfigError(f"checkpoint_url_env: {variable} {_NO_ADDRESS}") from None
    pool: Any = AsyncConnectionPool(
        url,
        kwargs=options,
        min_size=1,
        max_size=1,
        open=False,
        check=AsyncConnectionPool.check_connection,
        timeout=_DATABASE_SECONDS,
    )
    try:
        async with pool:
            saver = AsyncPostgresSaver(pool)
            try:
                await saver.setup()
            except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable) as error:
                raise ConfigError(
                    f"checkpoint_url_env: no tables can be made in the database: {first_line(error)}"
                ) from None
            yield saver
    except psycopg.Error as error:
        raise StorageError(
            f"the checkpoints' database, that {variable} names, was lost: {first_line(error)}; when it is there again, "
            "run again to go on"
        ) from None
