"""Tests an owner's trigger that is slow for each row or for each statement: a batch may take longer than the
statement timeout and is still written. Slowness is not the fault of a row, so none becomes a dead letter.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

import pytest
from pydantic import SecretStr

from consumer.events.record import StoredRecord
from consumer.ingest.days import BusinessDays
from consumer.postgres.amendments import PostgresAmendments
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.psql import execute
from tests.support.refusals import FUNCTION, NOON, TRIGGER, event
from tests.support.stack import fresh_database
from tests.support.stores import A, F, Line, PostgresBackend, batch_of, claim, said, texts, write

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.parametrize("place", ["template18", "partitioned18", "template15"], indirect=True),
]

STATEMENT_SECONDS = 1.0
ROW_SECONDS = 0.02
ROWS = 150  # three times as many as one statement has time for


@pytest.fixture
async def backend(place: tuple[str, str]) -> AsyncIterator[PostgresBackend]:
    """Return a database with a short statement timeout."""
    with fresh_database(*place) as dsn:
        database = Database(Postgres(dsn=SecretStr(dsn), statement_timeout_s=STATEMENT_SECONDS))
        await database.open()
        try:
            yield PostgresBackend(dsn, database)
        finally:
            await database.close(5)


def slow(backend: PostgresBackend, when: str) -> None:
    """Add a trigger to the table."""
    body = f"PERFORM pg_sleep({ROW_SECONDS}); IF NEW.query = 'offending' THEN RAISE 'no'; END IF; RETURN NEW;"
    execute(backend.dsn, FUNCTION.format(body), TRIGGER.format(when=when, table="ai_dialogue_log"))


@pytest.mark.parametrize("when", ["BEFORE INSERT", "AFTER INSERT"])
async def test_slow_rows_are_written_in_portions(backend: PostgresBackend, when: str) -> None:
    """All in one transaction; the next batch begins like this, and a rejected row is rejected alone. When rows
    are quick again, the normal strategy is used.
    """
    slow(backend, when)
    store = backend.store("one")
    good = [event(A, offset, f"good {offset}") for offset in range(ROWS)]
    await write(store, batch_of(await claim(store, A), good))
    assert await backend.ledger() == {A: Line(0, ROWS, inserted=ROWS)}
    too_long = [cause for cause, _ in backend.telemetry.all("unavailable")]
    assert too_long == ["timeout"]
    more = [event(A, ROWS + place, "offending" if place == 70 else f"more {place}") for place in range(ROWS)]
    await write(store, batch_of(await claim(store, A), more))
    assert len(backend.telemetry.all("unavailable")) == 1
    assert await backend.ledger() == {A: Line(0, 2 * ROWS, inserted=2 * ROWS - 1, dead=1)}
    assert [letter.sqlstate for letter in await backend.dead_letters()] == ["P0001"]
    assert len(await texts(backend)) == 2 * ROWS - 1
    execute(backend.dsn, "DROP TRIGGER own ON ai_dialogue_log")
    splits = len(backend.telemetry.all("split"))
    for number in range(2):
        await write(store, batch_of(await claim(store, A), [event(A, 2 * ROWS + number, "quick")]))
    assert len(backend.telemetry.all("split")) == splits + 1


def verdicts(dialogues: Sequence[StoredRecord]) -> list[StoredRecord]:
    """Return one feedback event for each dialogue."""
    ids = [json.loads(one.value or b"")["id"] for one in dialogues]
    return [said(F, place, dialogue_id=id_, user_feedback=1, given_at=NOON) for place, id_ in enumerate(ids)]


async def test_feedback_on_slow_rows_is_applied_in_portions(backend: PostgresBackend) -> None:
    """This holds if it is applied at once, and if the timer applies it later."""
    store = backend.store("one")
    dialogues = [event(A, offset, f"good {offset}") for offset in range(ROWS)]
    await write(store, batch_of(await claim(store, A), dialogues))
    slow(backend, "BEFORE UPDATE")
    most = ROWS * 2 // 3
    await write(store, batch_of(await claim(store, F), verdicts(dialogues[:most])))
    assert _applied(backend) == most
    execute(
        backend.dsn,
        "UPDATE kept_feedback SET applied_at = NULL",
        f"INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at) SELECT id, 1, '{NOON}' FROM ai_dialogue_log"
        " ON CONFLICT DO NOTHING",
    )
    set_aside: list[tuple[str, str]] = []
    timer = PostgresAmendments(backend._database, BusinessDays("UTC"), 60, lambda *what: set_aside.append(what))
    await timer.settle()
    assert (_applied(backend), set_aside) == (ROWS, [])


def _applied(backend: PostgresBackend) -> int:
    (found,) = backend.query("SELECT count(applied_at) AS applied FROM kept_feedback WHERE sqlstate IS NULL")
    return int(found["applied"])


STATEMENT_TRIGGER = (
    "CREATE SEQUENCE fired",
    "CREATE FUNCTION each() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM nextval('fired'), pg_sleep(0.3); RETURN NULL; END $$",
    "CREATE TRIGGER each AFTER {event} ON ai_dialogue_log FOR EACH STATEMENT EXECUTE FUNCTION each()",
)
MOST_STATEMENTS = 40


def slow_statements(backend: PostgresBackend, event_: str) -> None:
    """Give the table a trigger that takes as long for one row as for many: longer than a portion should."""
    execute(backend.dsn, *(statement.replace("{event}", event_) for statement in STATEMENT_TRIGGER))


def _statements(backend: PostgresBackend) -> int:
    (found,) = backend.query("SELECT last_value FROM fired")
    return int(found["last_value"])


async def test_slow_statements_insert_in_few_portions(backend: PostgresBackend) -> None:
    """Smaller portions would not be quicker, because a rejected row would cost a statement for each row around it."""
    slow_statements(backend, "INSERT")
    execute(backend.dsn, "ALTER TABLE ai_dialogue_log ADD CONSTRAINT own CHECK (query <> 'offending')")
    store = backend.store("one")
    batch = [event(A, place, "offending" if place in (30, 31, 100) else f"good {place}") for place in range(ROWS)]
    await write(store, batch_of(await claim(store, A), batch))
    assert await backend.ledger() == {A: Line(0, ROWS, inserted=ROWS - 3, dead=3)}
    assert [letter.offset for letter in await backend.dead_letters()] == [30, 31, 100]
    assert _statements(backend) < MOST_STATEMENTS


async def test_slow_statements_let_the_timer_use_few_portions(backend: PostgresBackend) -> None:
    """The same holds for feedback that has waited for its dialogues."""
    store = backend.store("one")
    dialogues = [event(A, offset, f"good {offset}") for offset in range(ROWS)]
    await write(store, batch_of(await claim(store, A), dialogues))
    slow_statements(backend, "UPDATE")
    execute(
        backend.dsn,
        f"INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at) SELECT id, 1, '{NOON}' FROM ai_dialogue_log",
    )
    await PostgresAmendments(backend._database, BusinessDays("UTC"), 60, lambda *_: None).settle()
    assert _applied(backend) == ROWS
    assert _statements(backend) < MOST_STATEMENTS
