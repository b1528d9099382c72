"""Tests errors of the database that no row causes, and rejected amendments."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Cause, Unavailable
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.psql import execute
from tests.support.refusals import FUNCTION, NOON, TRIGGER, assert_reported, event, ingest, prepare, raising
from tests.support.roles import login
from tests.support.stores import (
    REAL,
    A,
    F,
    G,
    Line,
    P,
    PostgresBackend,
    V,
    batch_of,
    claim,
    records,
    said,
    texts,
    write,
)

pytestmark = pytest.mark.timeout(60)

# ── errors that no row causes ──

EVERY_STATEMENT = (
    "CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'closed'; END $$",
    "CREATE TRIGGER closed BEFORE INSERT ON ai_dialogue_log FOR EACH STATEMENT EXECUTE FUNCTION closed()",
)
# The owner's change, the statement that undoes it, and the service's report: the cause, and the SQLSTATE or words.
OF_NO_ROW: dict[str, tuple[Sequence[str], str, str, str]] = {
    "table": (("ALTER TABLE provenance RENAME TO gone",), "ALTER TABLE gone RENAME TO provenance", "schema", "42P01"),
    "column": (
        ("ALTER TABLE ai_dialogue_log RENAME query TO question",),
        "ALTER TABLE ai_dialogue_log RENAME question TO query",
        "schema",
        "42703",
    ),
    "wider column": (
        ("ALTER TABLE ai_dialogue_log ALTER context_window_size TYPE bigint",),
        "ALTER TABLE ai_dialogue_log ALTER context_window_size TYPE integer",
        "schema",
        "context_window_size has the type bigint, not integer",
    ),
    # The bytes of an integer are those of another number.
    "column of the same length": (
        ("ALTER TABLE ai_dialogue_log ALTER context_window_size TYPE real",),
        "ALTER TABLE ai_dialogue_log ALTER context_window_size TYPE integer",
        "schema",
        "context_window_size has the type real, not integer",
    ),
    # Every row would be rejected.
    "text column": (
        ("ALTER TABLE ai_dialogue_log ALTER session_id TYPE text",),
        "ALTER TABLE ai_dialogue_log ALTER session_id TYPE uuid USING session_id::uuid",
        "schema",
        "session_id has the type text, not uuid",
    ),
    "statement trigger": (EVERY_STATEMENT, "DROP TRIGGER closed ON ai_dialogue_log", "refused", "P0001"),
    "rule": (
        ("CREATE RULE own AS ON INSERT TO ai_dialogue_log WHERE false DO ALSO SELECT 1",),
        "DROP RULE own ON ai_dialogue_log",
        "refused",
        "0A000",
    ),
    "dead letters": (
        ("CREATE UNIQUE INDEX own ON dead_letters ((1))",),
        "DROP INDEX own",
        "refused",
        "23505",
    ),
    "dead letters left out": (
        (
            FUNCTION.format("RETURN NULL;"),
            TRIGGER.format(when="BEFORE INSERT", table="dead_letters"),
        ),
        "DROP TRIGGER own ON dead_letters",
        "refused",
        "02000",
    ),
    "ledger": (
        ("ALTER TABLE ingest_ledger ADD CONSTRAINT own CHECK (next_offset < 2)",),
        "ALTER TABLE ingest_ledger DROP CONSTRAINT own",
        "refused",
        "23514",
    ),
}


async def wait_for_report(backend: PostgresBackend, words: str) -> tuple[str, str]:
    """Return the first report of the store with these words or this SQLSTATE: cause and message."""
    while True:
        for cause, message in backend.telemetry.all("unavailable"):
            if words in message:
                return cause, message
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("case", OF_NO_ROW)
@pytest.mark.parametrize("place", ["template18"], indirect=True)
async def test_an_error_that_no_row_causes_is_waited_out_and_reported(backend: PostgresBackend, case: str) -> None:
    """There is no dead letter; the message has the problem and the fix."""
    statements, undo, cause, words = OF_NO_ROW[case]
    store = backend.store("one")
    first = [event(A, 0, "a")] if case == "rule" else records(A, 0, "bad")
    await write(store, batch_of(await claim(store, A), first))
    execute(backend.dsn, *statements)
    known, claims = await backend.dead_letters(), await claim(store, A, P)
    batch = batch_of(claims, [event(A, 1, "a"), event(A, 2, "b")], records(A, 3, "bad"), [event(P, 0, "p")])
    if case == "rule":  # COPY ignores rules, so a duplicate of a stored row is needed
        batch = batch_of(claims, [event(A, 1, "a", number=0)], [event(P, 0, "p")])
    writing = asyncio.create_task(write(store, batch))
    report = await wait_for_report(backend, words)
    assert report[0] == cause
    assert "ragledger" in report[1]
    assert await backend.dead_letters() == known
    execute(backend.dsn, undo)
    written = await writing
    assert len(written.dead_letters) == (0 if case == "rule" else 1)
    assert "p" in await texts(backend)


@pytest.mark.parametrize("does", ["RAISE EXCEPTION 'no'", "RAISE EXCEPTION USING ERRCODE = 'RL001'", "ASSERT false"])
@pytest.mark.parametrize("place", ["template18"], indirect=True)
async def test_a_rule_on_the_ledger_is_waited_out(backend: PostgresBackend, does: str) -> None:
    """It refuses a claim, or the record of a stop. The process must not end, because others of its partitions work."""
    store = backend.store("one")
    execute(
        backend.dsn,
        FUNCTION.format(f"IF NEW.topic = '{P.topic}' OR NEW.stopped_at IS NOT NULL THEN {does}; END IF; RETURN NEW;"),
        TRIGGER.format(when="BEFORE INSERT OR UPDATE", table="ingest_ledger"),
    )
    (claimed,) = await claim(store, A)
    for attempt in (claim(store, P), store.stop(claimed, 0, StopReason("damaged"))):
        with pytest.raises(Unavailable) as refused:
            await attempt
        assert refused.value.cause is Cause.REFUSED
    execute(backend.dsn, "DROP TRIGGER own ON ingest_ledger")
    assert await store.stop(claimed, 0, StopReason("damaged")) == StopReason("damaged")
    assert len(await claim(store, P)) == 1


@pytest.mark.parametrize("neighbours", ["alone", "refused"])
@pytest.mark.parametrize("place", ["template18", "template15"], indirect=True)
async def test_an_outage_inside_a_trigger_is_waited_out_and_its_origin_named(
    backend: PostgresBackend, neighbours: str
) -> None:
    """A row may cause an error that PostgreSQL itself calls an outage, and no check can show this."""
    prepare(backend, A, raising("PERFORM pg_read_file('/nowhere/at all')"))
    store = backend.store("one")
    others = records(A, 1, "refused") if neighbours == "refused" else []
    writing = asyncio.create_task(write(store, batch_of(await claim(store, A), [event(A, 0, "offending")], others)))
    cause, message = await wait_for_report(backend, "58P01")
    assert (cause, "a trigger's" in message, "nowhere" in message) == ("system", True, False)
    execute(backend.dsn, "DROP TRIGGER own ON ai_dialogue_log")
    assert len((await writing).dead_letters) == len(others)


@pytest.mark.parametrize("place", ["template18", "partitioned18", "template15"], indirect=True)
async def test_a_policy_rejects_single_rows_and_a_missing_right_does_not(backend: PostgresBackend) -> None:
    """Both have the SQLSTATE 42501."""
    execute(
        backend.dsn,
        "CREATE POLICY own ON ai_dialogue_log AS RESTRICTIVE FOR INSERT WITH CHECK (query <> 'offending')",
    )
    with login(backend.dsn, "ragledger_ingest") as service:
        database = Database(Postgres(dsn=SecretStr(service)))
        await database.open()
        try:
            mine = PostgresBackend(backend.dsn, database)
            letters = await ingest(mine, A, "good", ["offending", "offending"])
            assert_reported(backend, letters, ["42501"] * 2, None)
            role = service.split("://")[1].split("@")[0].split(":")[0]
            store = mine.store("two")
            claims = await claim(store, A)
            execute(backend.dsn, "REVOKE INSERT ON ai_dialogue_log FROM ragledger_ingest")
            writing = asyncio.create_task(write(store, batch_of(claims, [event(A, 90, "a"), event(A, 91, "b")])))
            assert (await wait_for_report(mine, "42501"))[0] == "privilege"
            execute(backend.dsn, f'GRANT INSERT ON ai_dialogue_log TO "{role}"')
            assert (await writing).dead_letters == []
        finally:
            execute(backend.dsn, "GRANT INSERT ON ai_dialogue_log TO ragledger_ingest")
            await database.close(5)


@pytest.mark.parametrize("place", REAL, indirect=True)
async def test_a_row_that_a_trigger_skips_does_not_use_its_id(backend: PostgresBackend) -> None:
    """After the trigger is dropped, the same id can be stored. Nothing of the first row is left."""
    prepare(backend, A, raising("RETURN NULL"))
    store = backend.store("one")
    await write(store, batch_of(await claim(store, A), [event(A, 0, "offending"), event(A, 1, "b")]))
    execute(backend.dsn, "DROP TRIGGER own ON ai_dialogue_log")
    again = event(A, 2, "offending", number=0)
    written = await write(store, batch_of(await claim(store, A), [again]))
    assert [row.record for rows in written.inserted.values() for row in rows] == [again]
    assert await backend.ledger() == {A: Line(0, 3, inserted=2, dead=1)}


# ── amendments ──

LATER = "2026-03-04T13:00:00Z"
SOMEBODY = "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"
AMENDING: dict[Partition, tuple[str, str, dict[str, Any]]] = {
    F: ("kept_feedback", "user_feedback = -1", {"dialogue_id": SOMEBODY, "user_feedback": -1, "given_at": NOON}),
    V: ("kept_verifications", "license_type = 'mit'", {"provenance_id": SOMEBODY, "license_type": "mit"}),
    G: ("plugin_registry", "version = '9'", {"name": "own", "source": "s", "capabilities": {}, "version": "9"}),
}
AMENDING[V][2]["verified_at"] = AMENDING[G][2]["reported_at"] = NOON


@pytest.mark.parametrize(
    ("does", "sqlstate"), [("RETURN NULL", "02000"), ("RAISE EXCEPTION '' USING ERRCODE = 'RL001'", "RL001")]
)
@pytest.mark.parametrize("partition", AMENDING, ids=lambda one: one.topic)
@pytest.mark.parametrize("place", ["template18"], indirect=True)
async def test_an_amendment_that_its_table_rejects_is_a_dead_letter(
    backend: PostgresBackend, partition: Partition, does: str, sqlstate: str
) -> None:
    """Those around it are kept."""
    table, condition, members = AMENDING[partition]
    execute(
        backend.dsn,
        FUNCTION.format(f"IF NEW.{condition} THEN {does}; END IF; RETURN NEW;"),
        TRIGGER.format(when="BEFORE INSERT OR UPDATE", table=table),
    )
    store = backend.store("one")
    good = {"user_feedback": 1, "license_type": "cc0", "version": "1"}
    first = members | {name: value for name, value in good.items() if name in members}
    other = first | {name: str(UUID(int=7)) for name in members if name.endswith("_id")}
    other |= {"name": "other"} if "name" in members else {}
    offending = members | {name: LATER for name in members if name.endswith("_at")}
    batch = [said(partition, place, **one) for place, one in enumerate([first, offending, other])]
    written = await write(store, batch_of(await claim(store, partition), batch))
    assert [len(rows) for rows in written.amended.values()] == [2]
    assert await backend.ledger() == {partition: Line(0, 3, amended=2, dead=1)}
    assert [(letter.offset, letter.sqlstate) for letter in await backend.dead_letters()] == [(1, sqlstate)]
