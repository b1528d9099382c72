"""Tests dead letters from the record to the command line: every reason is kept, and no other record is delayed."""

import base64
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.support.bad_records import MAX_RECORD_BYTES, SECRET, TEXT, Bad, bad_records, make_rules
from tests.support.ingestion import (
    TABLES,
    Outgoing,
    as_json,
    counts,
    environment_on,
    ids,
    ingest,
    on_other_database,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.producers import provenance
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(120)

GOOD = 40
# One batch for all: it is written only when it is full.
ONE_BATCH = {"RAGLEDGER_BATCH__MAX_DELAY_MS": "60000", "RAGLEDGER_BATCH__MAX_RECORD_BYTES": str(MAX_RECORD_BYTES)}


@dataclass(frozen=True)
class Letters:
    """A database with a dead letter for every reason, and the observations while they were written."""

    environment: Environment
    bad: list[Bad]
    good: Mapping[str, set[str]]
    metrics: Mapping[str, float]
    log: str

    @property
    def by_place(self) -> dict[tuple[str, int], Bad]:
        """Return each bad record by topic and offset; they were published first, in this order."""
        places: dict[str, int] = {}
        found = {}
        for bad in self.bad:
            place = places.setdefault(bad.record.topic, 0)
            found[bad.record.topic, place] = bad
            places[bad.record.topic] += 1
        return found


@pytest.fixture(scope="module")
def letters(stack: Servers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Letters]:
    """Write good and bad records of both kinds in one batch."""
    log = tmp_path_factory.mktemp("letters") / "log"
    with environment_on(stack, migrated_template) as environment:
        make_rules(environment.dsn)
        bad = bad_records(environment.topics)
        good = [(kind, make(random.Random(n))) for n in range(GOOD // 2) for kind, make in makers()]
        outgoing = [Outgoing(environment.topics[kind], as_json(event)) for kind, event in good]
        send(stack.bootstrap_servers, [*(one.record for one in bad), *outgoing])
        total = len(bad) + len(good)
        with ServiceProcess(environment, log, **ONE_BATCH, RAGLEDGER_BATCH__MAX_ROWS=str(total)) as service:
            wait_for_records(environment, total)
            eventually(lambda: service.metric("rag_batch_rows_count") == 1, message="the batch is counted after COMMIT")
            metrics = {name: service.metric(name) for name in ("rag_batch_rows_count", "rag_dead_letters_total")}
            metrics |= {f"dead {topic}": service.metric("rag_dead_letters_total", topic=topic) for topic in TABLES}
            assert service.stop() == 0
        wanted = {kind: {event["id"] for of, event in good if of == kind} for kind in TABLES}
        yield Letters(environment, bad, wanted, metrics, log.read_text())


def makers() -> list[tuple[str, Any]]:
    """Return functions that make events of each kind."""
    return [("dialogue", small_dialogue), ("provenance", provenance)]


@pytest.fixture
def copy(letters: Letters, stack: Servers) -> Iterator[Environment]:
    """Return a copy of that database, to be changed."""
    with fresh_database(stack.dsn, urlsplit(letters.environment.dsn).path.removeprefix("/")) as dsn:
        yield on_other_database(letters.environment, dsn)


def test_every_dead_letter_keeps_key_value_and_headers_byte_for_byte(letters: Letters) -> None:
    """The table has the complete original record, with the reason and the path of each fault."""
    rows = letters.environment.query("SELECT * FROM dead_letters ORDER BY id")
    assert len(rows) == len(letters.bad)
    for row in rows:
        bad = letters.by_place[row["topic"], row["record_offset"]]
        assert (row["reason"], row["sqlstate"]) == (bad.reason, bad.sqlstate), bad
        assert (row["key"], row["value"]) == (bad.record.key, bad.record.value)
        headers = [tuple(header.values()) for header in row["headers"]]
        assert headers == [(name, encoded(value)) for name, value in bad.record.headers]
        assert bad.path in [fault["path"] for fault in row["detail"]["faults"]]
        assert row["detail"]["message"]


def encoded(value: bytes | None) -> str | None:
    """Return bytes as the JSON of this table has them."""
    return None if value is None else base64.b64encode(value).decode()


def test_headers_are_stored_in_the_form_that_the_column_documents(letters: Letters) -> None:
    """A person who reads the table uses the comment on the column, and finds the headers in order."""
    comment = letters.environment.value(
        "SELECT col_description('dead_letters'::regclass, attnum) FROM pg_attribute"
        " WHERE attrelid = 'dead_letters'::regclass AND attname = 'headers'"
    )
    headers = letters.environment.value("SELECT headers FROM dead_letters ORDER BY id LIMIT 1")
    names = [name for name in headers[0] if name != "value"]
    assert [header[names[0]] for header in headers] == [name for name, _ in letters.bad[0].record.headers]
    assert all(f'"{name}"' in comment for name in headers[0]), f"{headers[0]} differs from the comment: {comment}"


def test_a_record_that_the_database_rejects_does_not_affect_its_batch(letters: Letters) -> None:
    """One batch held them all: every good row is stored, the rejected ones are not, and the ledger adds up."""
    assert letters.metrics["rag_batch_rows_count"] == 1
    assert letters.metrics["rag_dead_letters_total"] == len(letters.bad)
    for kind, wanted in letters.good.items():
        assert {str(found) for found in ids(letters.environment, kind)} == wanted
    assert counts(letters.environment) == {"inserted": GOOD, "duplicates": 0, "dead": len(letters.bad)}


def test_neither_details_nor_the_log_quote_the_event(letters: Letters) -> None:
    """Event text may be personal: it is only in the record's own columns, and PostgreSQL's DETAIL is not stored."""
    assert SECRET not in letters.environment.value("SELECT string_agg(detail::text, ' ') FROM dead_letters")
    assert SECRET not in letters.log


def test_a_batch_of_only_rejected_records_becomes_dead_letters(
    stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """The database rejects all of them, or none can be decoded: no row, no endless retry, exact counts."""
    with environment_on(stack, migrated_template) as environment:
        make_rules(environment.dsn)
        bad = bad_records(environment.topics)
        refused = [one.record for one in bad if one.sqlstate] * 5
        undecodable = [one.record for one in bad if not one.sqlstate]
        total = len(refused) + len(undecodable)
        send(stack.bootstrap_servers, refused)
        with ServiceProcess(environment, tmp_path / "log", **ONE_BATCH, RAGLEDGER_BATCH__MAX_ROWS="25") as service:
            wait_for_records(environment, len(refused))
            send(stack.bootstrap_servers, undecodable * 2)
            wait_for_records(environment, len(refused) + 25)
            assert service.stop() == 0
        assert counts(environment) == {"inserted": 0, "duplicates": 0, "dead": total + len(undecodable)}
        assert environment.value("SELECT count(*) FROM dead_letters") == total + len(undecodable)


def test_reading_again_makes_no_duplicate_dead_letter(letters: Letters, copy: Environment, tmp_path: Path) -> None:
    """Another group reads the same records: its ledger counts duplicates and dead letters, and the tables do not
    change.
    """
    before = copy.query("SELECT * FROM dead_letters ORDER BY id")
    copy.group = copy.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{copy.group}-again"
    total = len(letters.bad) + GOOD
    ingest(copy, 2 * total, tmp_path / "log", RAGLEDGER_BATCH__MAX_RECORD_BYTES=str(MAX_RECORD_BYTES))
    assert counts(copy) == {"inserted": 0, "duplicates": GOOD, "dead": len(letters.bad)}
    assert copy.query("SELECT * FROM dead_letters ORDER BY id") == before


def test_list_filters_by_topic_reason_and_time(letters: Letters, copy: Environment) -> None:
    """Newest first; times are half-open and UTC; settled ones are listed only on request."""
    everything = copy.run_json("dead-letters", "list")
    assert [one["id"] for one in everything] == sorted((one["id"] for one in everything), reverse=True)
    assert len(everything) == len(letters.bad)
    provenance_topic = copy.topics["provenance"]
    of_topic = copy.run_json("dead-letters", "list", "--topic", provenance_topic)
    assert len(of_topic) == sum(bad.record.topic == provenance_topic for bad in letters.bad)
    for reason, sqlstate in (("refused_by_database", "54000"), ("unknown_reference", "23503")):
        refused = copy.run_json("dead-letters", "list", "--reason", reason, "--topic", provenance_topic)
        assert {one["sqlstate"] for one in refused} == {sqlstate}
    copy.query(
        "UPDATE dead_letters SET dead_lettered_at = '2026-01-01 12:00Z'::timestamptz + id * '1 h'::interval RETURNING 1"
    )
    since, until = "2026-01-01T14:00:00", "2026-01-01 16:00:00"
    assert [one["id"] for one in copy.run_json("dead-letters", "list", "--since", since, "--until", until)] == [3, 2]
    copy.query("UPDATE dead_letters SET discarded_at = now() WHERE id < 18 RETURNING 1")
    assert [one["id"] for one in copy.run_json("dead-letters", "list", "--limit", "1")] == [18]
    settled = copy.run_json("dead-letters", "list", "--settled", "--reason", "not_json")
    assert len(settled) == 4
    assert copy.run("dead-letters", "list", "--reason", "weather").returncode == 2


def test_list_accepts_the_times_it_prints(copy: Environment) -> None:
    """It accepts a time from its JSON, and RFC 3339 with an offset."""
    [printed] = {one["dead_lettered_at"] for one in copy.run_json("dead-letters", "list")}
    in_tokyo = datetime.fromisoformat(printed).astimezone(ZoneInfo("Asia/Tokyo")).isoformat()
    for time in (printed, in_tokyo):
        since = copy.run("dead-letters", "list", "--since", time, "--json")
        assert since.returncode == 0, since.stderr
        assert len(json.loads(since.stdout)) > 1, time


def test_list_for_people_names_record_reason_and_problem(letters: Letters) -> None:
    """It is a table; an empty list is stated in words."""
    table = letters.environment.run("dead-letters", "list", "--reason", "tombstone").stdout
    assert "tombstone" in table
    none = letters.environment.run("dead-letters", "list", "--topic", "elsewhere")
    assert (none.returncode, none.stderr) == (0, "")
    assert "none" in none.stdout


def test_show_gives_the_original_record(letters: Letters) -> None:
    """In JSON, bytes are base64; for people, text is text. An unknown id gives exit code 1."""
    environment = letters.environment
    letter = environment.value("SELECT id FROM dead_letters WHERE sqlstate = '23514'")
    [bad] = [bad for bad in letters.bad if bad.sqlstate == "23514"]
    shown = environment.run_json("dead-letters", "show", str(letter))
    assert base64.b64decode(shown["key"]) == bad.record.key
    assert base64.b64decode(shown["value"]) == bad.record.value
    assert shown["headers"] == [[name, encoded(value)] for name, value in bad.record.headers]
    assert (shown["reason"], shown["sqlstate"], shown["replayed_at"]) == ("refused_by_database", "23514", None)
    unknown = environment.run("dead-letters", "show", "999999")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "999999" in unknown.stderr
    people = environment.run("dead-letters", "show", str(letter)).stdout
    assert "no_such_question" in people
    assert TEXT in people.replace("\n", ""), "unreadable text"


def test_discard_settles_the_chosen_ones_and_keeps_the_records(letters: Letters, copy: Environment) -> None:
    """They are chosen by id, by filter or with --all. A discarded one is not replayed or discarded again."""
    assert copy.run("dead-letters", "discard").returncode == 2
    assert copy.value("SELECT count(*) FROM dead_letters WHERE discarded_at IS NOT NULL") == 0
    assert copy.run_json("dead-letters", "discard", "1", "2", "999999") == {"discarded": 2}
    assert copy.run_json("dead-letters", "discard", "1") == {"discarded": 0}
    assert copy.run_json("dead-letters", "discard", "--reason", "tombstone") == {"discarded": 1}
    replayed = copy.run_json("dead-letters", "replay", "1", "2")
    assert set(replayed.values()) == {0}
    assert copy.run_json("dead-letters", "discard", "--all") == {"discarded": len(letters.bad) - 3}
    assert copy.value("SELECT count(*) FROM dead_letters WHERE discarded_at IS NOT NULL") == len(letters.bad)
    assert copy.run_json("dead-letters", "list") == []


def test_many_are_discarded_in_chunks(stack: Servers, migrated_template: str) -> None:
    """Each chunk is one transaction; every dead letter of the topic is settled, and none of another topic."""
    with environment_on(stack, migrated_template) as environment:
        many = (
            "INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, reason)"
            " SELECT CASE WHEN n % 10 = 0 THEN 'other' ELSE 't' END, 0, n, now(), 'not_json'"
            " FROM generate_series(1, 20000) AS n RETURNING 1"
        )
        environment.query(many)
        assert environment.run_json("dead-letters", "discard", "--topic", "t") == {"discarded": 18_000}
        moments = "SELECT count(DISTINCT discarded_at) FROM dead_letters WHERE discarded_at IS NOT NULL"
        assert environment.value(moments) == 4
        assert environment.run_json("dead-letters", "discard", "--all") == {"discarded": 2_000}


@pytest.mark.parametrize(("work", "done", "chunk"), [("discard", "discarded", 5_000), ("replay", "processed", 500)])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_reports_how_many_are_settled(
    stack: Servers, migrated_template: str, work: str, done: str, chunk: int, number: signal.Signals
) -> None:
    """The signal comes while the first of three chunks waits for a lock: that chunk is finished, the others are
    left.
    """
    with environment_on(stack, migrated_template) as environment, psycopg.connect(environment.dsn) as other:
        environment.query(
            "INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, reason)"
            f" SELECT 't', 0, n, now(), 'x', 'not_json' FROM generate_series(1, 3 * {chunk}) AS n RETURNING 1"
        )
        other.execute("LOCK TABLE dead_letters IN SHARE MODE")
        command = [sys.executable, "-m", "consumer", "dead-letters", work, "--reason", "not_json"]
        process = subprocess.Popen(
            command, env=os.environ | environment.variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        eventually(lambda: environment.value(waiting) == 1)
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):  # the current chunk is finished
            process.wait(0.5)
        other.rollback()
        said, problem = process.communicate(timeout=60)
        assert (process.returncode, said.strip()) == (1, "")
        assert (
            problem == f"ragledger: interrupted: {chunk:,} dead letters were {done}; run {work} again for the others\n"
        )
        assert environment.run_json("dead-letters", "discard", "--all") == {
            "discarded": 2 * chunk if work == "discard" else 3 * chunk
        }


@pytest.mark.parametrize(("work", "done", "chunk"), [("discard", "discarded", 5_000), ("replay", "processed", 500)])
def test_a_failure_reports_how_many_are_settled(
    stack: Servers, migrated_template: str, work: str, done: str, chunk: int
) -> None:
    """A trigger of the owner's refuses a row of the second chunk; the first chunk is committed."""
    with environment_on(stack, migrated_template) as environment:
        execute(
            environment.dsn,
            "INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, reason)"
            f" SELECT 't', 0, n, now(), 'x', 'not_json' FROM generate_series(1, 2 * {chunk}) AS n",
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not this one''; END'",
            "CREATE TRIGGER refuse BEFORE UPDATE ON dead_letters FOR EACH ROW"
            f" WHEN (OLD.record_offset = {chunk} + 1) EXECUTE FUNCTION refuse()",
        )
        failed = environment.run("dead-letters", work, "--reason", "not_json")
        assert failed.returncode == 1
        assert failed.stderr.endswith(f". {chunk:,} dead letters were {done}; run {work} again for the others\n")
