"""Tests conversions and archives that are killed in every step, as processes, and then continue."""

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from consumer.maintenance.table_partitions import FormatName
from tests.support.archives import COUNT, Interrupted, archived, interrupt
from tests.support.partitions import ALL_ROWS, assert_sound, converted, fill, is_partitioned, one_dialogue
from tests.support.psql import execute, rows, value
from tests.support.service import Environment, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STEPS = {
    "make the new table": "made",
    "mirror what is written": "mirrored",
    "copy": "copied",
    "settle deletions": "copied",
    "compare": "verified",
    "replace the table": "switched",
    "drop the old table": "done",
}
"""The progress text of each step, and the name that is stored when it is done."""


def advance_to(dsn: str, step: str) -> None:
    """Convert up to the beginning of a step."""

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(dsn, on_progress=on_progress)


@contextmanager
def started(environment: Environment, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a command; kill it at the end if it still runs."""
    command = [sys.executable, "-m", "consumer", *arguments]
    process = subprocess.Popen(
        command, env=os.environ | environment.variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def waits_for(dsn: str, table: str) -> Callable[[], bool]:
    """Return whether a session waits for a lock on the table."""
    waiting = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    return lambda: bool(value(dsn, waiting))


def kill_before_noting(environment: Environment, books: str, *arguments: str) -> None:
    """Run a command, and kill it when a step is done except for storing its name."""
    with psycopg.connect(environment.dsn) as barrier:
        barrier.execute(f"LOCK TABLE {books} IN SHARE MODE".encode())
        with started(environment, *arguments) as process:
            eventually(waits_for(environment.dsn, books), message=f"the step is done: {process.poll()}")
            process.kill()
            process.wait(30)
    gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'ragledger admin')"
    eventually(lambda: value(environment.dsn, gone), message="the server has noticed the kill")


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_conversion_continues(filled: str, step: str) -> None:
    """It is killed at the end of each step: the table is complete and writable, and the next run converts it."""
    before = fill(filled)
    environment = Environment(filled, "127.0.0.1:9", {})
    advance_to(filled, step)
    kill_before_noting(environment, "partition_conversions", "partition", "convert")
    assert rows(filled, ALL_ROWS) == before
    execute(filled, one_dialogue())
    done = environment.run_json("partition", "convert")
    assert done["state"] == "done"
    assert value(filled, "SELECT count(*) FROM ai_dialogue_log") == len(before) + 1
    assert_sound(filled)


def test_a_conversion_survives_any_number_of_kills(filled: str) -> None:
    """They come at random times during inserts, updates and deletes: no row is lost, duplicated or restored."""
    fill(filled)
    execute(filled, MANY)
    execute(filled, "CREATE TABLE wanted AS SELECT id, query FROM ai_dialogue_log")
    environment = Environment(filled, "127.0.0.1:9", {})
    chance, kills = random.Random(7), 0
    with writing(filled):
        while not is_partitioned(filled):
            with started(environment, "partition", "convert") as process:
                try:
                    process.wait(0.25 + chance.random() * 0.3 + kills * 0.15)
                except subprocess.TimeoutExpired:
                    kills += 1
    assert kills >= 3
    assert environment.run_json("partition", "convert")["state"] in ("done", "already partitioned")
    assert_sound(filled)
    assert rows(filled, "TABLE wanted EXCEPT SELECT id, query FROM ai_dialogue_log") == []
    assert rows(filled, "SELECT id, query FROM ai_dialogue_log EXCEPT TABLE wanted") == []


@contextmanager
def writing(dsn: str) -> Iterator[None]:
    """Insert, update and delete rows, with the same changes in the table `wanted`, in the same transactions."""
    stop, failed = threading.Event(), []

    def write() -> None:
        with psycopg.connect(dsn) as connection:
            while not stop.is_set():
                try:
                    connection.execute(WRITE.encode())
                    connection.commit()
                except psycopg.Error as error:
                    failed.append(error)
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join(60)
    assert failed == []


MANY = """
INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'many', repeat('answer', 100), 'm',
       now() AT TIME ZONE 'UTC' - n * interval '10 minutes'
FROM generate_series(1, 20000) AS n
"""
CHOSEN = "(SELECT id FROM wanted ORDER BY random() LIMIT 1)"
WRITE = f"""
WITH new AS ({one_dialogue("now() AT TIME ZONE 'UTC' - random() * interval '200 days'")} RETURNING id, query)
INSERT INTO wanted SELECT * FROM new;
WITH gone AS (DELETE FROM ai_dialogue_log WHERE id = {CHOSEN} RETURNING id) DELETE FROM wanted WHERE id IN (TABLE gone);
WITH changed AS (UPDATE ai_dialogue_log SET query = random()::text, created_at = created_at - interval '3 days'
    WHERE id = {CHOSEN} AND isfinite(created_at) RETURNING id, query)
UPDATE wanted SET query = changed.query FROM changed WHERE wanted.id = changed.id;
"""


@pytest.mark.parametrize("name", FormatName)
@pytest.mark.parametrize("phase", ["detached", "exported", "dropped"])
def test_a_killed_archiving_continues(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str, name: FormatName
) -> None:
    """It is killed before each step is stored; the rows are in the table or in a file that was read back."""
    environment = Environment(hourly, "127.0.0.1:9", {})
    command = ("partition", "archive", "--before", "2026-02", "--to", str(tmp_path), "--format", name)
    with monkeypatch.context() as patch:
        if phase != "detached":
            interrupt(patch, {"exported": "copy_out", "dropped": "DROP TABLE"}[phase])
            with pytest.raises(Interrupted):
                archived(hourly, tmp_path, "2026-02-01", file_format=name)
    kill_before_noting(environment, "partition_archives", *command)
    assert [month["rows"] for month in environment.run_json(*command)] == [744]
    assert value(hourly, COUNT) == 2160 - 744
    manifest = tmp_path / "ai_dialogue_log_2026_01.manifest.json"
    kill_before_noting(environment, "partition_archives", "partition", "archive", "--restore", str(manifest))
    assert value(hourly, COUNT) == 2160 - 744
    assert environment.run("partition", "archive", "--restore", str(manifest)).returncode == 0
    assert value(hourly, COUNT) == 2160
