"""Tests `ragledger dead-letters replay`: when the cause is fixed, every row is written once, in any number of runs."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support.bad_records import BY_CASCADE, BY_RULE, Bad, bad_records, make_rules
from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    dialogues,
    environment_on,
    ids,
    ingest,
    send,
    small_dialogue,
)
from tests.support.psql import execute
from tests.support.service import Environment, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(120)

NOTHING = {"inserted": 0, "duplicates": 0, "amended": 0, "failed": 0, "erased": 0}
CHUNK = 500  # dead letters in one transaction of a replay
DEAD_LETTER = """
    INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, reason)
    VALUES (%s, 0, %s, '2026-01-01Z', %s, 'refused_by_database')
"""


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics, a database, and a service that computes days only at its start."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def offline(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database without Kafka, which a replay does not need."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {"dialogue": "rag.dialogue", "provenance": "rag.provenance"})


def keep_dead_letters(environment: Environment, count: int, seed: int) -> list[UUID]:
    """Insert valid dialogues as dead letters. Return their ids in order."""
    found = dialogues("rag.dialogue", count, seed)
    with psycopg.connect(environment.dsn, autocommit=True) as connection, connection.cursor() as cursor:
        rows = [("rag.dialogue", offset, record.value) for offset, record in enumerate(found.values())]
        cursor.executemany(DEAD_LETTER, rows)
    return list(found)


def start_replay(environment: Environment) -> subprocess.Popen[bytes]:
    """Start a replay of everything and do not wait for it."""
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "dead-letters", "replay", "--json"],
        env=os.environ | environment.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def replayed(environment: Environment) -> int:
    """Return the number of dead letters marked as replayed."""
    return int(environment.value("SELECT count(*) FROM dead_letters WHERE replayed_at IS NOT NULL"))


def test_after_the_cause_is_fixed_the_rows_are_written_once(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """A rule is dropped and a parent inserted: the rows are written and marked, and their days touched; a second
    run does nothing.
    """
    make_rules(environment.dsn)
    bad = [one for one in bad_records(environment.topics) if one.reason != "record_too_large"]
    send(bootstrap_servers, [one.record for one in bad])
    ingest(environment, len(bad), tmp_path / "log")
    assert ids(environment) == set()
    execute(
        environment.dsn,
        "ALTER TABLE ai_dialogue_log DROP CONSTRAINT no_such_question",
        f"INSERT INTO users VALUES ('{BY_CASCADE}')",
        "DELETE FROM touched_days",
    )
    books = environment.query("SELECT * FROM ingest_ledger ORDER BY topic")
    stored_now = sorted(event_id(one) for one in bad if one.sqlstate in ("23514", "23503"))
    failing = len(bad) - len(stored_now)
    done = environment.run_json("dead-letters", "replay")
    assert done == NOTHING | {"inserted": len(stored_now), "failed": failing}
    assert sorted(ids(environment) | ids(environment, "provenance")) == stored_now
    assert replayed(environment) == len(stored_now)
    assert environment.value("SELECT count(*) FROM touched_days") > 0
    assert environment.query("SELECT * FROM ingest_ledger ORDER BY topic") == books
    again = environment.run_json("dead-letters", "replay")
    assert again == NOTHING | {"failed": failing}


def event_id(bad: Bad) -> UUID:
    """Return the id in an event."""
    return UUID(json.loads(bad.record.value or b"")["id"])


def test_a_replayed_row_has_the_same_id_and_time_as_a_row_that_was_read(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """The events have no id and no created_at; another group that reads them finds only duplicates."""
    execute(environment.dsn, f"ALTER TABLE ai_dialogue_log ADD CONSTRAINT rule CHECK (query <> '{BY_RULE}')")
    event = as_json(small_dialogue(random.Random(1), id=None, query=BY_RULE))
    topic = environment.topics["dialogue"]
    times = [1_700_000_000_001, 1_700_000_000_999, 1_700_000_000_999]
    send(bootstrap_servers, [Outgoing(topic, event, timestamp_ms=time) for time in times])
    ingest(environment, 3, tmp_path / "log")
    execute(environment.dsn, "ALTER TABLE ai_dialogue_log DROP CONSTRAINT rule")
    assert environment.run_json("dead-letters", "replay")["inserted"] == 3
    stored = environment.query("SELECT created_at::text AS moment FROM ai_dialogue_log ORDER BY created_at")
    assert [row["moment"] for row in stored] == [f"2023-11-14 22:13:20.{part}" for part in ("001", "999", "999")]
    environment.group = environment.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{environment.group}-again"
    ingest(environment, 6, tmp_path / "log")
    assert counts(environment) == {"inserted": 0, "duplicates": 3, "dead": 0}


def test_a_record_that_fails_again_stays_with_the_new_reason(offline: Environment) -> None:
    """Another rule rejects it, or it is no event at all: the newest reason, SQLSTATE and detail are shown."""
    keep_dead_letters(offline, 2, seed=2)
    execute(
        offline.dsn,
        "UPDATE dead_letters SET value = 'not json' WHERE id = 2",
        "ALTER TABLE ai_dialogue_log ADD CONSTRAINT brand_new CHECK (query = 'x')",
    )
    assert offline.run_json("dead-letters", "replay") == NOTHING | {"failed": 2}
    first, second = offline.query("SELECT * FROM dead_letters ORDER BY id")
    assert (first["reason"], first["sqlstate"], first["replayed_at"]) == ("refused_by_database", "23514", None)
    assert "brand_new" in first["detail"]["message"]
    assert (second["reason"], second["sqlstate"], second["replayed_at"]) == ("not_json", None, None)


def test_a_record_that_was_stored_meanwhile_is_a_duplicate(offline: Environment) -> None:
    """The first write wins, and the dead letter is settled."""
    known, new = keep_dead_letters(offline, 2, seed=3)
    execute(
        offline.dsn,
        "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used)"
        f" VALUES ('{known}', '{known}', '{known}', 'first', 'r', 'm')",
    )
    assert offline.run_json("dead-letters", "replay") == NOTHING | {"inserted": 1, "duplicates": 1}
    assert ids(offline) == {known, new}
    assert offline.value(f"SELECT query FROM ai_dialogue_log WHERE id = '{known}'") == "first"
    assert replayed(offline) == 2


def test_filters_and_ids_choose_dead_letters(offline: Environment) -> None:
    """The filters are ids, topic, reason and time. The others stay open."""
    wanted = keep_dead_letters(offline, 6, seed=4)
    execute(
        offline.dsn,
        "UPDATE dead_letters SET dead_lettered_at = '2026-01-01Z'::timestamptz + id * '1 day'::interval",
        "UPDATE dead_letters SET reason = 'not_json' WHERE id = 6",
    )
    assert offline.run_json("dead-letters", "replay", "1", "2")["inserted"] == 2
    assert offline.run_json("dead-letters", "replay", "--since", "2026-01-04", "--until", "2026-01-05")["inserted"] == 1
    assert offline.run_json("dead-letters", "replay", "--reason", "not_json")["inserted"] == 1
    assert offline.run_json("dead-letters", "replay", "--topic", "elsewhere")["inserted"] == 0
    assert ids(offline) == {wanted[0], wanted[1], wanted[2], wanted[5]}


def test_a_replay_that_is_killed_and_repeated_is_exact(offline: Environment) -> None:
    """SIGKILL comes while its third transaction waits: two are committed, and the next replay does the rest."""
    wanted = keep_dead_letters(offline, 3 * CHUNK, seed=5)
    with psycopg.connect(offline.dsn) as holder:
        # An uncommitted id of the third chunk: the replay has to wait for this transaction.
        holder.execute(
            "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used)"
            " VALUES (%s, %s, %s, 'q', 'r', 'm')",
            [wanted[-1]] * 3,
        )
        process = start_replay(offline)
        eventually(lambda: waits_for_lock(offline), message="the replay waits for a lock")
        process.kill()
        process.communicate()
        holder.rollback()
    assert (replayed(offline), len(ids(offline))) == (2 * CHUNK, 2 * CHUNK)
    eventually(lambda: not waits_for_lock(offline), message="the session of the replay has ended")
    assert offline.run_json("dead-letters", "replay") == NOTHING | {"inserted": CHUNK}
    assert ids(offline) == set(wanted)
    assert replayed(offline) == 3 * CHUNK


def waits_for_lock(environment: Environment) -> bool:
    """Return whether a session of this database waits for a lock."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(environment.value(sql))


@pytest.mark.slow
def test_two_concurrent_replays_share_the_work(offline: Environment) -> None:
    """Together they write every row once."""
    wanted = keep_dead_letters(offline, 4 * CHUNK, seed=6)
    both = [start_replay(offline) for _ in range(2)]
    done = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(one["inserted"] for one in done) == len(wanted)
    assert sum(one["duplicates"] + one["failed"] for one in done) == 0
    assert ids(offline) == set(wanted)
    assert replayed(offline) == len(wanted)


def test_a_large_record_is_stored_after_the_limit_is_raised(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """With the same limit it stays too large."""
    [(wanted, record)] = dialogues(environment.topics["dialogue"], 1, seed=7).items()
    environment.variables["RAGLEDGER_BATCH__MAX_RECORD_BYTES"] = "100"
    send(bootstrap_servers, [record])
    ingest(environment, 1, tmp_path / "log")
    assert environment.run_json("dead-letters", "replay") == NOTHING | {"failed": 1}
    assert environment.value("SELECT reason FROM dead_letters") == "record_too_large"
    environment.variables["RAGLEDGER_BATCH__MAX_RECORD_BYTES"] = "100000"
    assert environment.run_json("dead-letters", "replay")["inserted"] == 1
    assert ids(environment) == {wanted}


def test_the_output_of_a_replay_for_people(offline: Environment) -> None:
    """It is a table of rows, duplicates, and records that failed again."""
    keep_dead_letters(offline, 3, seed=8)
    done = offline.run("dead-letters", "replay")
    assert (done.returncode, done.stderr) == (0, "")
    assert "inserted" in done.stdout
    assert "3" in done.stdout
