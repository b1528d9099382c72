"""`ragledger dead-letters replay`: once the cause is gone, every row appears once, however often it is tried."""

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
CHUNK = 500  # dead letters that one transaction of a replay takes
DEAD_LETTER = """
    INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, reason)
    VALUES (%s, 0, %s, '2026-01-01Z', %s, 'refused_by_database')
"""


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Topics and a database, and a service that computes days only when it starts."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def offline(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """A database alone: a replay needs no Kafka."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {"dialogue": "rag.dialogue", "provenance": "rag.provenance"})


def keep_dead_letters(environment: Environment, count: int, seed: int) -> list[UUID]:
    """Put valid dialogues into the table of dead letters; their ids in order."""
    found = dialogues("rag.dialogue", count, seed)
    with psycopg.connect(environment.dsn, autocommit=True) as connection, connection.cursor() as cursor:
        rows = [("rag.dialogue", offset, record.value) for offset, record in enumerate(found.values())]
        cursor.executemany(DEAD_LETTER, rows)
    return list(found)


def start_replay(environment: Environment) -> subprocess.Popen[bytes]:
    """A replay of everything, not waited for."""
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "dead-letters", "replay", "--json"],
        env=os.environ | environment.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def replayed(environment: Environment) -> int:
    """Dead letters that are marked."""
    return int(environment.value("SELECT count(*) FROM dead_letters WHERE replayed_at IS NOT NULL"))


def test_when_the_cause_is_gone_the_rows_appear_once(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """A rule dropped, a parent inserted: those rows appear, marked, their days touched; again: nothing."""
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
    mended = sorted(event_id(one) for one in bad if one.sqlstate in ("23514", "23503"))
    failing = len(bad) - len(mended)
    done = environment.run_json("dead-letters", "replay")
    assert done == NOTHING | {"inserted": len(mended), "failed": failing}
    assert sorted(ids(environment) | ids(environment, "provenance")) == mended
    assert replayed(environment) == len(mended)
    assert environment.value("SELECT count(*) FROM touched_days") > 0
    assert environment.query("SELECT * FROM ingest_ledger ORDER BY topic") == books
    again = environment.run_json("dead-letters", "replay")
    assert again == NOTHING | {"failed": failing}


def event_id(bad: Bad) -> UUID:
    """The id an event brings along."""
    return UUID(json.loads(bad.record.value or b"")["id"])


def test_a_row_has_the_id_and_time_that_reading_would_have_given_it(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Events without id and created_at, refused and then replayed: another group that reads them finds duplicates."""
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


def test_what_fails_again_stays_with_the_new_reason(offline: Environment) -> None:
    """Another rule refuses it now, or it never was an event: the newest reason, SQLSTATE and detail are shown."""
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


def test_an_event_that_came_by_another_way_meanwhile_is_a_duplicate(offline: Environment) -> None:
    """First write wins; the dead letter is settled."""
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


def test_filters_and_ids_choose_what_is_replayed(offline: Environment) -> None:
    """Ids, topic, reason and time; the rest stays open."""
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


def test_a_replay_killed_in_the_middle_and_repeated_is_exact(offline: Environment) -> None:
    """SIGKILL while its third transaction waits: two are in for good, the third is not, and the next replay ends it."""
    wanted = keep_dead_letters(offline, 3 * CHUNK, seed=5)
    with psycopg.connect(offline.dsn) as holder:
        # An id of the third chunk, not committed: the replay has to wait for the end of this transaction.
        holder.execute(
            "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used)"
            " VALUES (%s, %s, %s, 'q', 'r', 'm')",
            [wanted[-1]] * 3,
        )
        process = start_replay(offline)
        eventually(lambda: waits_for_lock(offline), message="the replay waits")
        process.kill()
        process.communicate()
        holder.rollback()
    assert (replayed(offline), len(ids(offline))) == (2 * CHUNK, 2 * CHUNK)
    eventually(lambda: not waits_for_lock(offline), message="its session is gone")
    assert offline.run_json("dead-letters", "replay") == NOTHING | {"inserted": CHUNK}
    assert ids(offline) == set(wanted)
    assert replayed(offline) == 3 * CHUNK


def waits_for_lock(environment: Environment) -> bool:
    """Whether somebody in this database waits for a lock."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return bool(environment.value(sql))


def test_two_replays_at_once_share_the_work(offline: Environment) -> None:
    """Together they write every row once."""
    wanted = keep_dead_letters(offline, 4 * CHUNK, seed=6)
    both = [start_replay(offline) for _ in range(2)]
    done = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(one["inserted"] for one in done) == len(wanted)
    assert sum(one["duplicates"] + one["failed"] for one in done) == 0
    assert ids(offline) == set(wanted)
    assert replayed(offline) == len(wanted)


def test_a_record_too_large_is_stored_once_the_limit_is_raised(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Under the same limit it stays too large; under a higher one it is a row."""
    [(wanted, record)] = dialogues(environment.topics["dialogue"], 1, seed=7).items()
    environment.variables["RAGLEDGER_BATCH__MAX_RECORD_BYTES"] = "100"
    send(bootstrap_servers, [record])
    ingest(environment, 1, tmp_path / "log")
    assert environment.run_json("dead-letters", "replay") == NOTHING | {"failed": 1}
    assert environment.value("SELECT reason FROM dead_letters") == "record_too_large"
    environment.variables["RAGLEDGER_BATCH__MAX_RECORD_BYTES"] = "100000"
    assert environment.run_json("dead-letters", "replay")["inserted"] == 1
    assert ids(environment) == {wanted}


def test_replay_for_people_says_how_much_became_of_it(offline: Environment) -> None:
    """A table of what was written, what was there before, and what failed again."""
    keep_dead_letters(offline, 3, seed=8)
    done = offline.run("dead-letters", "replay")
    assert (done.returncode, done.stderr) == (0, "")
    assert "inserted" in done.stdout
    assert "3" in done.stdout
