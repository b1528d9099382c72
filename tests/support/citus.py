"""The Citus cluster whose coordinator `RAGLEDGER_TEST_CITUS_DSN` names, and schemas of ragledger in it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from consumer.admin import distribute, migrate
from consumer.admin.distribute import Key
from consumer.maintenance.table_partitions import convert
from tests.support.psql import rows
from tests.support.service import eventually

VARIABLE = "RAGLEDGER_TEST_CITUS_DSN"
# Tests share one database, because a new one would need the extension on every node. They take turns. None of them
# waits in the database: a migration waits for every statement that runs.
_LOCK = "SELECT pg_try_advisory_lock(hashtextextended('ragledger tests', 0))"
_TURN_S = 600.0


class Form(NamedTuple):
    """How a table is distributed: by which key, and whether it has months."""

    key: Key
    has_months: bool


DISTRIBUTED: Mapping[str, Form] = {
    "distributed_by_id": Form(Key.ID, False),
    "distributed_by_user": Form(Key.USER, False),
    "distributed_months_by_id": Form(Key.ID, True),
    "distributed_months_by_user": Form(Key.USER, True),
}


def is_there() -> bool:
    """Return whether a cluster is named."""
    return bool(os.environ.get(VARIABLE))


@contextmanager
def fresh_schema() -> Iterator[str]:
    """Create a schema. Yield the DSN of sessions in it, and drop it afterwards."""
    if not is_there():
        pytest.skip(f"{VARIABLE} names no coordinator of a Citus cluster")
    dsn, name = os.environ[VARIABLE], f"test_{uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        eventually(lambda: connection.execute(_LOCK).fetchone() == (True,), timeout=_TURN_S, message="the turn")
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
        try:
            options = quote(f"-csearch_path={name} -ccitus.enable_unsafe_triggers=on", safe="")
            yield f"{dsn}{'&' if '?' in dsn else '?'}options={options}"
        finally:
            connection.execute("SET client_min_messages = error")
            drop = sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name))
            eventually(lambda: _succeeds(connection, drop), message="every worker answers")


def _succeeds(connection: psycopg.Connection[Any], statement: sql.Composed) -> bool:
    """Run a statement. Return False if a worker that was killed is not back yet."""
    try:
        connection.execute(statement)
    except (psycopg.OperationalError, psycopg.InternalError):
        return False
    return True


@contextmanager
def migrated_schema() -> Iterator[str]:
    """Yield the DSN of a migrated schema whose table is not distributed yet."""
    with fresh_schema() as dsn:
        _apart(lambda: asyncio.run(migrate.up(dsn)))
        yield dsn


@contextmanager
def distributed_schema(name: str) -> Iterator[str]:
    """Yield the DSN of a migrated schema whose empty table is distributed in the named form."""
    with migrated_schema() as dsn:
        distribute_as(dsn, DISTRIBUTED[name])
        yield dsn


def distribute_as(dsn: str, form: Form) -> None:
    """Distribute the table in a form."""
    if form.has_months:
        _apart(lambda: asyncio.run(convert(dsn, months_ahead=1)))
    _apart(lambda: asyncio.run(distribute.apply(dsn, form.key, None, lambda _: None)))


def _apart(work: Callable[[], object]) -> None:
    """Run this in a thread of its own, because the thread of the caller may run an event loop already."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(work).result()


class Shard(NamedTuple):
    """The part of a distributed table that holds one id, and the worker on which it is."""

    table: str
    host: str
    port: int


def shard_of(dsn: str, table: str, key: str) -> Shard:
    """Return the shard that holds a value of the distribution key."""
    found = rows(
        dsn,
        f"SELECT shard_name AS table, nodename AS host, nodeport AS port FROM citus_shards"
        f" WHERE shardid = get_shard_id_for_distribution_column('{table}', '{key}'::uuid)",
    )
    return Shard(**found[0])


def on_worker(dsn: str, shard: Shard, command: str) -> str:
    """Run statements on the worker of a shard, and return the result."""
    place = f"ARRAY['{shard.host}'], ARRAY[{shard.port}], ARRAY[$command${command}$command$], false"
    (found,) = rows(dsn, f"SELECT success, result FROM master_run_on_worker({place})")
    assert found["success"], found["result"]
    return str(found["result"])


def kill_worker(dsn: str, shard: Shard) -> None:
    """Send SIGKILL to a session of a worker. PostgreSQL then ends all sessions, and recovers as after a crash."""
    place = f"ARRAY['{shard.host}'], ARRAY[{shard.port}], ARRAY[$$COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'$$], false"
    rows(dsn, f"SELECT success, result FROM master_run_on_worker({place})")
