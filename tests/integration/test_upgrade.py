"""Tests the migration of a database in use: no session waits, and the review's test plan works, up and down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from consumer.admin import migrate
from tests.support.psql import BASE_TABLE, ONE_DIALOGUE, catalog, execute, rows, value
from tests.support.service import Environment

pytestmark = pytest.mark.slow

OLD_ROWS = 2_000_000
FILL = f"""
INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), 'q' || n, 'r' || n, 'm', timestamp '2026-01-01' + n * interval '1 second'
FROM generate_series(1, {OLD_ROWS}) AS n
"""


class Writer:
    """Another application: it inserts and updates without a pause, and fails if it waits a second for a lock."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._ending = threading.Event()
        self.written = 0
        self.problem: psycopg.Error | None = None

    def run(self) -> None:
        """Write until stopped, or until a write has waited too long."""
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                connection.execute("SET lock_timeout = '1s'")
                while not self._ending.is_set():
                    connection.execute(ONE_DIALOGUE.encode())
                    connection.execute("UPDATE ai_dialogue_log SET response = 'r2' WHERE query = 'q1'")
                    self.written += 1
        except psycopg.Error as error:
            self.problem = error

    def end(self) -> None:
        self._ending.set()


@contextmanager
def writing(dsn: str) -> Iterator[Writer]:
    """Run a writer."""
    writer = Writer(dsn)
    thread = threading.Thread(target=writer.run)
    thread.start()
    try:
        yield writer
    finally:
        writer.end()
        thread.join(30)


@pytest.mark.timeout(300)
def test_two_million_rows_are_migrated_while_others_write(empty_database: str) -> None:
    """No write waits a second for a lock, while all migrations and all rollbacks run."""
    execute(empty_database, BASE_TABLE, FILL, "CREATE INDEX ON ai_dialogue_log (query)", "ANALYZE ai_dialogue_log")
    with writing(empty_database) as writer:
        asyncio.run(migrate.up(empty_database))
        on_the_way_up = writer.written
        asyncio.run(migrate.down(empty_database, to=0))
    assert writer.problem is None
    assert 0 < on_the_way_up < writer.written
    assert value(empty_database, "SELECT count(*) FROM ai_dialogue_log") == OLD_ROWS + writer.written
    asyncio.run(migrate.up(empty_database))
    assert [check for check in asyncio.run(migrate.verify(empty_database)) if not check.ok] == []


def test_the_schema_is_the_same_on_a_table_with_rows(blank: str) -> None:
    """It does not matter which file has built the indexes."""
    execute(blank, BASE_TABLE, ONE_DIALOGUE)
    asyncio.run(migrate.up(blank))
    filled = catalog(blank)
    asyncio.run(migrate.down(blank, to=0))
    execute(blank, "DROP TABLE ai_dialogue_log")
    asyncio.run(migrate.up(blank))
    assert filled == catalog(blank)


def test_the_whole_plan_of_a_migration(blank: str) -> None:
    """Apply, verify, fill, roll up, query, roll back, apply again: the rehearsal of an administrator."""
    ours = Environment(blank, "127.0.0.1:9", {})
    for arguments in (["migrate", "up"], ["migrate", "verify"]):
        assert ours.run(*arguments).returncode == 0
    execute(blank, ONE_DIALOGUE.replace("model_used)", "model_used, created_at)").replace("'m')", "'m', '2026-01-31')"))
    assert ours.run("rollup", "--day", "2026-01-31").returncode == 0
    assert rows(blank, "SELECT date::date::text, total_dialogues FROM rag_metrics_history") == [
        {"date": "2026-01-31", "total_dialogues": 1}
    ]
    assert ours.run("migrate", "down", "--to", "0").returncode == 0
    assert value(blank, "SELECT count(*) FROM ai_dialogue_log") == 1
    assert value(blank, "SELECT to_regclass('provenance') IS NULL") is True
    for arguments in (["migrate", "up"], ["migrate", "verify"]):
        assert ours.run(*arguments).returncode == 0
