"""Tests `ragledger erase`: no data names the user any more, other users lose nothing, and a receipt is written."""

import hashlib
import hmac
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.support.erasing import KEY, add_dialogues, add_letters, records_of, spellings, tables_with_user
from tests.support.ingestion import Outgoing, counts, environment_on, ids, ingest, log_lines, send, wait_for_records
from tests.support.notices import ALICE, BOB, acquired, insert
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def offline(stack: Servers, migrated_template: str, tmp_path: Path) -> Iterator[Environment]:
    """Return a database without Kafka, which erasure does not need."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)


@pytest.fixture
def online(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics and a database for the service."""
    with environment_on(stack, migrated_template, RAGLEDGER_ERASURE__KEY=KEY) as made:
        yield made


def erase(environment: Environment, user: UUID | str, directory: Path, *options: str) -> Any:
    """Erase a user and return the receipt."""
    return environment.run_json("erase", "--user", str(user), "--receipt", str(directory), *options)


def counted(receipt: Any, part: str = "deleted") -> dict[str, int]:
    """Return the counts of a part of a receipt."""
    return {line["name"]: line["count"] for line in receipt[part]}


NO_TRACES = {"staged_spans": 0, "traces": 0}


def test_all_data_of_the_user_is_removed_and_no_other(offline: Environment, tmp_path: Path) -> None:
    """Dialogues, feedback, and dead letters in every spelling go; provenance, its archive and notices stay
    without the user.
    """
    gone = add_dialogues(offline.dsn, ALICE, "2026-01-01 10:00", "2026-01-02 10:00")
    stays = add_dialogues(offline.dsn, BOB, "2026-01-01 11:00")
    execute(
        offline.dsn,
        f"INSERT INTO kept_feedback VALUES ('{gone[0]}', 1, now()), ('{stays[0]}', 1, now())",
    )
    named = add_letters(offline.dsn, spellings(ALICE))
    others = add_letters(offline.dsn, spellings(BOB))
    insert(offline.dsn, acquired(3, ALICE), acquired(2, BOB))
    execute(
        offline.dsn,
        "INSERT INTO retention_archive (id, run_id, retention_ended_at, provenance)"
        " SELECT id, gen_random_uuid(), acquired_at, to_jsonb(p) FROM provenance AS p",
        "INSERT INTO retention_notices (run_id, owner, notice)"
        " SELECT id, acquired_by, jsonb_build_object('owner', acquired_by) FROM provenance",
    )
    before = offline.query("SELECT * FROM dead_letters WHERE id = ANY (%s) ORDER BY id", others)
    assert len(tables_with_user(offline, ALICE)) == 5
    receipt = erase(offline, ALICE, tmp_path)
    assert tables_with_user(offline, ALICE) == []
    assert counted(receipt) == {"dialogues": 2, "feedback": 1, "dead_letters": len(named), **NO_TRACES}
    assert counted(receipt, "kept_without_the_user") == {"provenance": 3, "archived_provenance": 3, "notices": 3}
    assert ids(offline) == set(stays)
    assert offline.query("SELECT dialogue_id FROM kept_feedback") == [{"dialogue_id": stays[0]}]
    assert offline.query("SELECT * FROM dead_letters WHERE id = ANY (%s) ORDER BY id", others) == before
    emptied = offline.query("SELECT * FROM dead_letters WHERE id = ANY (%s)", named)
    assert {(row["key"], row["value"], row["reason"], str(row["headers"])) for row in emptied} == {
        (None, None, "erased_user", "[]")
    }
    assert all(row["discarded_at"] for row in emptied)
    assert len(offline.run_json("dead-letters", "list")) == len(others)
    owners = offline.query("SELECT acquired_by, count(*)::int AS n FROM provenance GROUP BY 1 ORDER BY 1")
    assert [tuple(row.values()) for row in owners] == [(BOB, 2), (None, 3)]
    assert len(tables_with_user(offline, BOB)) == 5


def test_traces_of_the_user_are_removed_with_all_of_their_spans(offline: Environment, tmp_path: Path) -> None:
    """This includes spans without a user, if another span or the dialogue of the trace names the user."""
    spans = [(1, ALICE), (1, None), (2, BOB), (2, None), (3, None), (4, None)]
    for number, (trace, user) in enumerate(spans):
        offline.query(
            "INSERT INTO staged_spans (id, trace_id, user_id, is_log, is_outline, resource, content)"
            " VALUES (%s, %s, %s, false, false, 'r', 'c') RETURNING id",
            UUID(int=number),
            UUID(int=trace),
            user,
        )
    for trace, user in ((2, BOB), (3, ALICE)):
        offline.query(
            "INSERT INTO dialogue_traces (dialogue_id, trace_id, user_id, created_at, spans, model_calls, retrievals,"
            " tool_calls, embeddings, errors, mapping, content_hash)"
            " VALUES (%s, '', %s, now(), 1, 1, 0, 0, 0, 0, 1, '') RETURNING dialogue_id",
            UUID(int=trace),
            user,
        )
    receipt = erase(offline, ALICE, tmp_path)
    assert counted(receipt) == {"dialogues": 0, "feedback": 0, "dead_letters": 0, "staged_spans": 3, "traces": 1}
    left = offline.query("SELECT trace_id, user_id FROM staged_spans WHERE content <> '' ORDER BY id")
    assert [(row["trace_id"].int, row["user_id"]) for row in left] == [(2, BOB), (2, None), (4, None)]
    assert offline.query("SELECT user_id FROM dialogue_traces") == [{"user_id": BOB}]
    assert offline.value("SELECT count(*) FROM staged_spans WHERE user_id = %s", ALICE) == 0
    assert tables_with_user(offline, ALICE) == []


def test_the_days_are_recomputed_at_once(offline: Environment, tmp_path: Path) -> None:
    """They are days of the business time zone; a day without dialogues gets zeros."""
    offline.variables["RAGLEDGER_ROLLUP__TIMEZONE"] = "Asia/Tokyo"
    add_dialogues(offline.dsn, ALICE, "2026-01-01 14:59", "2026-01-01 15:01")
    add_dialogues(offline.dsn, BOB, "2026-01-01 10:00")
    offline.run("rollup", "--since", "2026-01-01", "--until", "2026-01-02")
    receipt = erase(offline, ALICE, tmp_path)
    assert receipt["days_recomputed"] == ["2026-01-01", "2026-01-02"]
    days = offline.query(
        "SELECT date::date::text AS day, total_dialogues, unique_users FROM rag_metrics_history ORDER BY 1"
    )
    assert [tuple(day.values()) for day in days] == [("2026-01-01", 1, 1), ("2026-01-02", 0, 0)]
    assert offline.value("SELECT count(*) FROM touched_days") == 0


def test_dialogues_at_times_that_python_cannot_hold_are_erased(offline: Environment, tmp_path: Path) -> None:
    """An application may write them; they are in no day."""
    offline.query(
        "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)"
        f" SELECT '{ALICE}', gen_random_uuid(), 'q', 'r', 'm', moment::timestamp FROM unnest(ARRAY['20000-01-01',"
        " '0044-03-15 BC', '0001-01-01', 'infinity', '-infinity', '2026-01-01']) AS moment RETURNING 1"
    )
    arguments = ("erase", "--user", str(ALICE), "--receipt", str(tmp_path))
    for options in (("--dry-run",), ()):
        receipt = offline.run_json(*arguments, *options)
        assert next(one["count"] for one in receipt["deleted"] if one["name"] == "dialogues") == 6
        assert "2026-01-01" in receipt["days_recomputed"]
    assert tables_with_user(offline, ALICE) == []


def test_provenance_under_a_hold_and_policies_with_the_user_are_kept_and_reported(
    offline: Environment, tmp_path: Path
) -> None:
    """The receipt has the reason. After the hold is released, a second erasure removes the user."""
    held = insert(offline.dsn, acquired(1, ALICE, access_policy={"legal_hold": True}))
    insert(offline.dsn, acquired(2, BOB, access_policy={"users": [str(ALICE)]}), acquired(1, ALICE))
    receipt = erase(offline, ALICE, tmp_path)
    kept = {line["name"]: line for line in receipt["kept"]}
    assert (kept["provenance_on_hold"]["count"], kept["provenance_named_in_policy"]["count"]) == (1, 2)
    assert "legal hold" in kept["provenance_on_hold"]["why"]
    assert {row["id"] for row in offline.query("SELECT id FROM provenance WHERE acquired_by = %s", ALICE)} == held
    execute(offline.dsn, "UPDATE provenance SET access_policy = access_policy - 'legal_hold'")
    assert counted(erase(offline, ALICE, tmp_path), "kept_without_the_user")["provenance"] == 1


def test_a_failed_receipt_reports_that_the_user_is_erased(offline: Environment, tmp_path: Path) -> None:
    """The disk was full; the receipt of the next run includes both erasures."""
    add_dialogues(offline.dsn, ALICE, "2026-01-01T00:00")
    command = shlex.join([sys.executable, "-m", "consumer", "erase", "--user", str(ALICE), "--receipt", str(tmp_path)])
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 1; exec {command} --reference first"],
        env=os.environ | offline.variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert done.stderr.startswith("ragledger: the user is erased, but the receipt could not be written: ")
    assert tables_with_user(offline, ALICE) == []
    again = erase(offline, ALICE, tmp_path)
    assert [(one["reference"], one["dialogues"]) for one in again["earlier_erasures"]] == [("first", 1)]


def test_the_receipt_is_two_private_files(offline: Environment, tmp_path: Path) -> None:
    """They do not name the user, and other tools can compute the hash."""
    add_dialogues(offline.dsn, ALICE, "2026-01-01 10:00")
    done = offline.run("erase", "--user", str(ALICE), "--receipt", str(tmp_path), "--reference", "DSR-2026-17")
    assert done.returncode == 0
    written, text = sorted(tmp_path.iterdir())
    assert {path.stat().st_mode & 0o777 for path in (written, text)} == {0o600}
    receipt = json.loads(written.read_text())
    assert receipt["user"]["hmac_sha256"] == hmac.new(KEY.encode(), ALICE.bytes, hashlib.sha256).hexdigest()
    assert receipt["reference"] == "DSR-2026-17"
    assert "database role" in receipt["requested_by"]
    assert receipt["begun_at"] <= receipt["finished_at"]
    assert set(receipt["left_afterwards"].values()) == {0}
    for content in (written.read_text(), text.read_text(), done.stdout, done.stderr):
        assert not any(name in content.lower() for name in (str(ALICE), ALICE.hex, KEY))
    assert hashlib.sha256(written.read_bytes()).hexdigest() in text.read_text()
    topic = offline.variables["RAGLEDGER_TOPICS__DIALOGUE"]
    for said in ("DSR-2026-17", "1  rows deleted from ai_dialogue_log", "Backups", topic, "Kept"):
        assert said in text.read_text()


def test_a_dry_run_has_the_same_counts_and_changes_nothing(offline: Environment, tmp_path: Path) -> None:
    """It changes no row, remembers no user and writes no file."""
    (dialogue,) = add_dialogues(offline.dsn, ALICE, "2026-01-01 10:00")
    execute(offline.dsn, f"INSERT INTO kept_feedback VALUES ('{dialogue}', 1, now())")
    add_letters(offline.dsn, spellings(ALICE))
    insert(offline.dsn, acquired(2, ALICE))
    dry = erase(offline, ALICE, tmp_path, "--dry-run")
    assert "dry run" in dry["receipt"]
    assert offline.value("SELECT count(*) FROM erased_users") == 0
    assert len(tables_with_user(offline, ALICE)) == 3
    assert list(tmp_path.iterdir()) == []
    real = erase(offline, ALICE, tmp_path)
    for part in ("user", "deleted", "kept_without_the_user", "days_recomputed"):
        assert dry[part] == real[part], part


def test_a_second_erasure_finds_nothing_and_lists_the_first(offline: Environment, tmp_path: Path) -> None:
    """Erasing an unknown user works too, because it prevents later storage."""
    add_dialogues(offline.dsn, ALICE, "2026-01-01 10:00")
    erase(offline, ALICE, tmp_path, "--reference", "first")
    again = erase(offline, ALICE, tmp_path)
    assert set(counted(again).values()) == {0}
    assert [(earlier["reference"], earlier["dialogues"]) for earlier in again["earlier_erasures"]] == [("first", 1)]
    assert set(counted(erase(offline, uuid4(), tmp_path)).values()) == {0}
    assert offline.value("SELECT count(*) FROM erased_users") == 2


@pytest.mark.parametrize(
    "user",
    ["", "nobody", "0190b6f2-7c3e-7a1b-8c4d", str(UUID(int=0)), str(UUID(int=2**128 - 1)), "%", f"{ALICE} {BOB}"],
)
def test_an_id_of_no_user_is_refused(offline: Environment, tmp_path: Path, user: str) -> None:
    """A missing, incomplete or shared id is wrong use, and no user is remembered."""
    done = offline.run("erase", "--user", user, "--receipt", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert offline.value("SELECT count(*) FROM erased_users") == 0


def test_without_a_directory_for_the_receipt_nothing_is_erased(offline: Environment, tmp_path: Path) -> None:
    """It is wrong use, and the message says what to do."""
    add_dialogues(offline.dsn, ALICE, "2026-01-01 10:00")
    assert offline.run("erase", "--user", str(ALICE), "--receipt", str(tmp_path / "x")).returncode == 2
    done = offline.run("erase", "--user", str(ALICE), "--receipt", "/proc")
    assert done.returncode == 2
    assert "name another place with --receipt" in done.stderr
    assert offline.run("erase", "--user", str(ALICE), "--receipt", "/proc", "--dry-run").returncode == 0
    assert len(ids(offline)) == 1


def test_without_a_key_the_database_keeps_one(online: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """No preparation is needed. Erased users stay erased, also after a key is set."""
    del online.variables["RAGLEDGER_ERASURE__KEY"]
    topic = online.topics["dialogue"]
    dry, real = (erase(online, ALICE, tmp_path, *options) for options in (["--dry-run"], []))
    assert dry["user"] == real["user"]
    send(bootstrap_servers, records_of(ALICE, topic, 3))
    ingest(online, 6, tmp_path / "log")
    online.variables["RAGLEDGER_ERASURE__KEY"] = KEY
    assert erase(online, BOB, tmp_path)["user"]["key_id"] != real["user"]["key_id"]
    send(bootstrap_servers, [*records_of(ALICE, topic, 4), *records_of(BOB, topic, 5)])
    ingest(online, 18, tmp_path / "log")
    assert counts(online)["inserted"] == 0
    assert tables_with_user(online, ALICE) == tables_with_user(online, BOB) == []


def test_days_of_archived_months_are_unchanged(offline: Environment, tmp_path: Path) -> None:
    """A late dialogue of such a day is deleted too, and the erasure finishes."""
    now = datetime.now(UTC)
    archived = (now.replace(day=1) - timedelta(days=70)).replace(day=10, hour=12)
    add_dialogues(offline.dsn, BOB, archived.isoformat(" ", "seconds"), now.isoformat(" ", "seconds"))
    offline.run("partition", "convert")
    offline.run("rollup", "--day", archived.date().isoformat())
    before = (now.replace(day=1) - timedelta(days=31)).strftime("%Y-%m")
    done = offline.run("partition", "archive", "--before", before, "--to", str(tmp_path))
    assert done.returncode == 0, done.stderr
    add_dialogues(offline.dsn, ALICE, archived.isoformat(" ", "seconds"))
    receipt = erase(offline, ALICE, tmp_path)
    assert (counted(receipt)["dialogues"], receipt["finished_at"] is None) == (1, False)
    assert tables_with_user(offline, ALICE) == []
    assert offline.value("SELECT total_dialogues FROM rag_metrics_history") == 1


def test_a_new_key_needs_the_old_one_too(offline: Environment, tmp_path: Path) -> None:
    """Otherwise users erased with the old key would be forgotten; with both keys they stay erased."""
    erase(offline, ALICE, tmp_path)
    offline.variables["RAGLEDGER_ERASURE__KEY"] = "n" * 32
    refused = offline.run("erase", "--user", str(BOB), "--receipt", str(tmp_path))
    assert refused.returncode == 1
    assert "RAGLEDGER_ERASURE__PREVIOUS_KEYS" in refused.stderr
    offline.variables["RAGLEDGER_ERASURE__PREVIOUS_KEYS"] = KEY
    erase(offline, BOB, tmp_path)
    letters = add_letters(offline.dsn, [spellings(ALICE)[0], spellings(BOB)[0], (None, b"not JSON", [])])
    assert offline.run_json("dead-letters", "replay")["erased"] == 2
    assert offline.value("SELECT count(*) FROM dead_letters WHERE value IS NOT NULL AND id = ANY (%s)", letters) == 1


def test_a_role_that_sees_only_some_rows_is_refused(offline: Environment, tmp_path: Path) -> None:
    """Row-level security would hide rows from the deletion. A policy that shows all rows is enough."""
    add_dialogues(offline.dsn, ALICE, "2026-01-01 10:00")
    role = f"eraser_{uuid4().hex[:8]}"
    execute(
        offline.dsn,
        f"CREATE ROLE {role} LOGIN PASSWORD 'p'",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        "ALTER TABLE ai_dialogue_log ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY own ON ai_dialogue_log FOR SELECT USING (user_id = gen_random_uuid())",
    )
    try:
        restricted = Environment(with_role(offline.dsn, role), "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)
        refused = restricted.run("erase", "--user", str(ALICE), "--receipt", str(tmp_path))
        assert refused.returncode == 1
        assert "row-level security hides rows of ai_dialogue_log" in refused.stderr.replace("\n", " ")
        for table in ("ai_dialogue_log", "provenance", "dialogue_traces"):
            execute(offline.dsn, f"CREATE POLICY everything ON {table} TO {role} USING (true)")
        assert counted(erase(restricted, ALICE, tmp_path))["dialogues"] == 1
        execute(offline.dsn, "CREATE POLICY less ON ai_dialogue_log AS RESTRICTIVE USING (latency_ms > 0)")
        assert restricted.run("erase", "--user", str(BOB), "--receipt", str(tmp_path)).returncode == 1
    finally:
        execute(offline.dsn, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def with_role(dsn: str, role: str) -> str:
    """Return the same database with another role."""
    scheme, _, rest = dsn.partition("://")
    return f"{scheme}://{role}:p@{rest.rpartition('@')[2]}"


def test_an_erased_user_stays_erased_when_the_topic_is_read_again(
    online: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Another group processes every record; those of the user become empty dead letters."""
    topic = online.topics["dialogue"]
    of_alice, of_bob = records_of(ALICE, topic, 1), records_of(BOB, topic, 2)
    send(bootstrap_servers, [*of_alice, *of_bob])
    ingest(online, 12, tmp_path / "log")
    assert counts(online) == {"inserted": 8, "duplicates": 0, "dead": 4}
    assert counted(erase(online, ALICE, tmp_path)) == {"dialogues": 4, "feedback": 0, "dead_letters": 2, **NO_TRACES}
    assert tables_with_user(online, ALICE) == []
    execute(online.dsn, "DELETE FROM dead_letters WHERE reason = 'erased_user'")
    online.group = online.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{online.group}-again"
    ingest(online, 24, tmp_path / "log")
    assert counts(online) == {"inserted": 0, "duplicates": 4, "dead": 8}
    assert tables_with_user(online, ALICE) == []
    assert len(ids(online)) == 4
    emptied = online.query("SELECT * FROM dead_letters WHERE reason = 'erased_user'")
    assert len(emptied) == 6
    assert all(row["discarded_at"] and row["value"] is None and row["key"] is None for row in emptied)
    assert online.value("SELECT count(*) FROM dead_letters WHERE value IS NOT NULL") == 2


def test_a_running_service_notices_an_erasure_at_once(
    online: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Without a restart, new dialogues of the user are not stored, and those of others are."""
    topic = online.topics["dialogue"]
    of_alice = records_of(ALICE, topic, 1)
    with ServiceProcess(online, tmp_path / "log") as service:
        send(bootstrap_servers, of_alice)
        wait_for_records(online, 6)
        erase(online, ALICE, tmp_path)
        send(bootstrap_servers, [*of_alice, *records_of(ALICE, topic, 3), *records_of(BOB, topic, 2)])
        wait_for_records(online, 24)
        assert tables_with_user(online, ALICE) == []
        assert len(ids(online)) == 4
        assert counts(online) == {"inserted": 8, "duplicates": 0, "dead": 16}
        service.wait_metric("rag_dead_letters_total", 12, reason="erased_user")


def test_provenance_of_an_erased_user_is_stored_without_the_user(
    online: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Content needs its provenance."""
    erase(online, ALICE, tmp_path)
    events = [{**row, "content_type": "material", "acquisition_method": "api_fetch"} for row in acquired(2, ALICE)]
    values = [json.dumps(event, default=str).encode() for event in events]
    send(bootstrap_servers, [Outgoing(online.topics["provenance"], value) for value in values])
    ingest(online, 2, tmp_path / "log")
    assert ids(online, "provenance") == {event["id"] for event in events}
    assert tables_with_user(online, ALICE) == []


def test_a_service_without_the_key_waits_for_it(online: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """It stores nothing, gives the reason and is not ready; with the key it continues."""
    erase(online, ALICE, tmp_path)
    del online.variables["RAGLEDGER_ERASURE__KEY"]
    send(
        bootstrap_servers,
        [*records_of(ALICE, online.topics["dialogue"], 1), *records_of(BOB, online.topics["dialogue"], 2)],
    )
    with ServiceProcess(online, tmp_path / "log") as service:
        eventually(lambda: log_lines(tmp_path / "log", "database_unavailable"), message="the reason is logged")
        said = log_lines(tmp_path / "log", "database_unavailable")[0]
        assert said["cause"] == "erasure"
        assert "RAGLEDGER_ERASURE__KEY" in said["problem"]
        service.wait_page("/readyz", 503)
        assert online.accounted_for() == 0
    online.variables["RAGLEDGER_ERASURE__KEY"] = KEY
    ingest(online, 12, tmp_path / "log")
    assert counts(online) == {"inserted": 4, "duplicates": 0, "dead": 8}
    assert tables_with_user(online, ALICE) == []


def test_a_user_who_is_removed_from_the_list_is_stored_again(
    online: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """The row of erased_users is found by the hash in the receipt and deleted by hand; a running service notices it."""
    receipt = erase(online, ALICE, tmp_path)
    with ServiceProcess(online, tmp_path / "log"):
        send(bootstrap_servers, records_of(ALICE, online.topics["dialogue"], 1)[:1])
        wait_for_records(online, 1)
        assert ids(online) == set()
        hashed = receipt["user"]["hmac_sha256"]
        with psycopg.connect(online.dsn, autocommit=True) as connection:
            assert (
                connection.execute("DELETE FROM erased_users WHERE user_hash = decode(%s, 'hex')", [hashed]).rowcount
                == 1
            )
        send(bootstrap_servers, records_of(ALICE, online.topics["dialogue"], 2)[:1])
        wait_for_records(online, 2)
        assert len(ids(online)) == 1
