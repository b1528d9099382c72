"""Tests foreign keys: an unknown user costs one dead letter with the reason, which can be replayed later."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from consumer.admin import migrate
from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    ids,
    log_lines,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.producers import provenance, random_uuid
from tests.support.psql import (
    APPLICATION_TABLES,
    FILES,
    PARTITIONED_TABLE,
    VERSIONS,
    execute,
    rows,
    run_files,
    server_dsn,
    value,
)
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MANY = 3000
KNOWN, UNKNOWN = UUID("5018c5a3-91f3-46af-94ff-2f9d15565fb4"), UUID("22222222-2222-4222-8222-222222222222")
# All in one batch, so that one unknown user could delay thousands.
ONE_BATCH = {"RAGLEDGER_BATCH__MAX_ROWS": str(MANY + 1), "RAGLEDGER_BATCH__MAX_DELAY_MS": "60000"}


@pytest.fixture(params=VERSIONS)
def environment(request: pytest.FixtureRequest, stack: Servers) -> Iterator[Environment]:
    """Return a migrated database with one known user and one known material."""
    topics = Topics(stack.bootstrap_servers)
    with fresh_database(server_dsn(request)) as dsn:
        execute(dsn, *APPLICATION_TABLES, f"INSERT INTO users VALUES ('{KNOWN}')")
        execute(dsn, f"INSERT INTO materials VALUES ('{KNOWN}')")
        asyncio.run(migrate.up(dsn))
        names = {kind: topics.create(1, prefix=kind) for kind in ("dialogue", "provenance")}
        yield Environment(dsn, stack.bootstrap_servers, names)
    topics.delete_all()


def users_dialogues(topic: str, users: list[UUID]) -> list[Outgoing]:
    """Return a dialogue for each of these users."""
    chance = random.Random(1)
    return [
        Outgoing(topic, as_json(small_dialogue(chance, id=str(random_uuid(chance)), user_id=str(user))))
        for user in users
    ]


def replayed(**counts: int) -> dict[str, int]:
    """Return the output of `dead-letters replay`."""
    return dict.fromkeys(("inserted", "duplicates", "amended", "failed", "erased"), 0) | counts


def test_one_unknown_user_among_thousands(environment: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """The dead letter names column, table and constraint without a value; the others are stored; a replay works."""
    users = [KNOWN] * MANY
    users.insert(MANY // 3, UNKNOWN)
    sent = users_dialogues(environment.topics["dialogue"], users)
    send(bootstrap_servers, sent)
    with ServiceProcess(environment, tmp_path / "log", **ONE_BATCH) as service:
        wait_for_records(environment, MANY + 1)
        eventually(lambda: service.metric("rag_dead_letters_total", reason="unknown_reference") == 1)
        service.wait_metric("rag_batch_rows_count", 1)
        assert service.stop() == 0
    assert counts(environment) == {"inserted": MANY, "duplicates": 0, "dead": 1}
    (letter,) = environment.query("SELECT * FROM dead_letters")
    assert (letter["reason"], letter["sqlstate"], letter["record_offset"]) == ("unknown_reference", "23503", MANY // 3)
    (fault,) = letter["detail"]["faults"]
    assert fault["path"] == "user_id"
    assert "users has no such row (foreign key fk_ai_dialogue_user)" in fault["problem"]
    assert "replay --reason unknown_reference" in fault["problem"]
    assert str(UNKNOWN) not in json.dumps(letter["detail"])
    assert log_lines(tmp_path / "log", "database_unavailable") == []
    assert environment.run_json("dead-letters", "replay") == replayed(failed=1)
    execute(environment.dsn, f"INSERT INTO users VALUES ('{UNKNOWN}')")
    again = environment.run_json("dead-letters", "replay", "--reason", "unknown_reference")
    assert again == replayed(inserted=1)
    assert len(ids(environment)) == MANY + 1


def test_unknown_material_and_unknown_acquirer(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Each is named by its own column; provenance may have no acquirer."""
    chance = random.Random(2)
    pieces = [(KNOWN, KNOWN), (UNKNOWN, KNOWN), (KNOWN, UNKNOWN), (KNOWN, None)]
    events = [
        provenance(chance, content_id=str(content), acquired_by=str(user) if user else None) for content, user in pieces
    ]
    send(bootstrap_servers, [Outgoing(environment.topics["provenance"], as_json(event)) for event in events])
    with ServiceProcess(environment, tmp_path / "log"):
        wait_for_records(environment, len(pieces))
    letters = environment.query("SELECT reason, detail FROM dead_letters ORDER BY record_offset")
    assert [(one["reason"], one["detail"]["faults"][0]["path"]) for one in letters] == [
        ("unknown_reference", "content_id"),
        ("unknown_reference", "acquired_by"),
    ]
    execute(environment.dsn, f"INSERT INTO users VALUES ('{UNKNOWN}')")
    execute(environment.dsn, f"INSERT INTO materials VALUES ('{UNKNOWN}')")
    assert environment.run_json("dead-letters", "replay")["inserted"] == 2
    assert len(ids(environment, "provenance")) == len(pieces)


def test_rows_whose_user_or_material_is_deleted(environment: Environment) -> None:
    """Dialogues are deleted with their user, provenance stays without an acquirer, and content with provenance
    cannot be deleted.
    """
    execute(
        environment.dsn,
        "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used)"
        f" VALUES ('{KNOWN}', '{KNOWN}', 'q', 'r', 'm')",
        "INSERT INTO provenance (content_id, content_type, source_uri, license_type, acquisition_method, acquired_at,"
        f" acquired_by) VALUES ('{KNOWN}', 'material', 'u', 'mit', 'api_fetch', '2026-01-31', '{KNOWN}')",
        f"DELETE FROM users WHERE id = '{KNOWN}'",
    )
    assert value(environment.dsn, "SELECT count(*) FROM ai_dialogue_log") == 0
    assert rows(environment.dsn, "SELECT acquired_by FROM provenance") == [{"acquired_by": None}]
    refused = environment.run("migrate", "verify")
    assert refused.returncode == 0, refused.stdout
    with pytest.raises(psycopg.errors.IntegrityError, match="fk_provenance_content"):
        execute(environment.dsn, f"DELETE FROM materials WHERE id = '{KNOWN}'")


def test_on_a_partitioned_table_the_reason_is_the_same(blank: str) -> None:
    """The partition's own copy of the foreign key rejects the row."""
    execute(blank, PARTITIONED_TABLE, "CREATE TABLE part PARTITION OF ai_dialogue_log DEFAULT", *APPLICATION_TABLES)
    run_files(blank, *(file for file in FILES if not file.name.startswith("0003")))
    (record,) = users_dialogues("rag.dialogue", [UNKNOWN])
    with psycopg.connect(blank, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, reason)"
            " VALUES ('rag.dialogue', 0, 0, '2026-01-01Z', %s, 'not_json')",
            [record.value],
        )
    offline = Environment(blank, "127.0.0.1:9", {"dialogue": "rag.dialogue", "provenance": "rag.provenance"})
    assert offline.run_json("dead-letters", "replay")["failed"] == 1
    assert offline.query("SELECT reason, detail->'faults'->0->>'path' AS path FROM dead_letters") == [
        {"reason": "unknown_reference", "path": "user_id"}
    ]
    execute(blank, f"INSERT INTO users VALUES ('{UNKNOWN}')")
    assert offline.run_json("dead-letters", "replay")["inserted"] == 1


def test_a_deferred_foreign_key_makes_no_difference(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """It would reject the whole transaction at its end, so it is checked at once instead."""
    execute(
        environment.dsn,
        "ALTER TABLE ai_dialogue_log ALTER CONSTRAINT fk_ai_dialogue_user DEFERRABLE INITIALLY DEFERRED",
    )
    sent = users_dialogues(environment.topics["dialogue"], [KNOWN, UNKNOWN, KNOWN])
    send(bootstrap_servers, sent)
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 3)
        assert service.stop() == 0
    assert counts(environment) == {"inserted": 2, "duplicates": 0, "dead": 1}
    assert environment.value("SELECT reason FROM dead_letters") == "unknown_reference"
