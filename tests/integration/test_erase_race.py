"""Tests an erasure beside a flush or a replay that holds a dialogue of the user: in any order, nothing is left."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import SecretStr

from consumer.admin.dead_letters import DeadLetters, Filter
from consumer.admin.erasure import Erasure
from consumer.events.dialogue import DIALOGUE
from consumer.events.record import StoredRecord
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import Key
from consumer.ingest.ports import Bounds, Turn, Unavailable, Written
from consumer.ingest.rollup_basis import Basis
from consumer.postgres.client import Database
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.history import PostgresHistory
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.store import PostgresStore
from consumer.settings.model import DeadLetters as Limits
from consumer.settings.servers import Postgres
from tests.support.erasing import KEY, add_letters, tables_with_user
from tests.support.fakes import Changes, FakeTelemetry
from tests.support.ingestion import as_json, small_dialogue
from tests.support.notices import ALICE, BOB
from tests.support.service import Environment
from tests.support.stack import wait_for
from tests.support.stores import A, ImmediateTurn, batch_of

pytestmark = pytest.mark.timeout(60)

KEYS = [Key(KEY.encode())]
NO_LIMIT = DeadLetterLimit(Limits())
IN_TRANSACTION = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction' AND pid <> pg_backend_pid()
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Gate:
    """A turn that comes when the test opens it."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.waited_for = asyncio.Event()

    async def wait_turn(self) -> None:
        self.waited_for.set()
        await self._open.wait()

    def open(self) -> None:
        """Let the turn come."""
        self._open.set()


def ledger_of(database: Database) -> PostgresLedger:
    """Return the ledger of one group."""
    return PostgresLedger(database, group="g", owner="o", begin_at_end=False)


class Scene:
    """A database with a writer, an eraser and an observer on separate connections."""

    def __init__(self, dsn: str, writing: Database, erasing: Database) -> None:
        self.environment = Environment(dsn, "127.0.0.1:9", {})
        telemetry = FakeTelemetry(Changes())
        days = BusinessDays("UTC")
        self.store = PostgresStore(writing, telemetry, days, ledger_of(writing), NO_LIMIT, KEYS)
        self.letters = DeadLetters(writing, {"dialogues": DIALOGUE}, "UTC", 1 << 20, KEYS)
        self._erasure = Erasure(erasing, PostgresHistory(erasing, Basis("UTC", []), "eraser"), "UTC", KEYS)

    async def flush(self, users: list[UUID], turn: Turn) -> Written:
        """Write a batch with a dialogue of each user, and a broken record that names the first."""
        claims = await self.store.claim({A: Bounds(0, 1000)})
        return await self.store.write(batch_of(claims, records_of(users)), turn)

    async def erase(self, user: UUID) -> Any:
        """Erase as the command does. Return the totals of this run."""
        history, _ = await self._erasure.erase(user, "test", None, lambda *_: None)
        return history[0]

    def are_waiting(self, sessions: int) -> bool:
        """Return whether so many sessions wait for a lock."""
        return bool(self.environment.value(WAITING) == sessions)

    def outcome(self) -> dict[str, Any]:
        """Return the ledger's counts, the users with dialogues, and the content of open dead letters."""
        (ledger,) = self.environment.query("SELECT inserted, duplicates, dead_lettered FROM ingest_ledger")
        users = self.environment.query("SELECT user_id FROM ai_dialogue_log ORDER BY user_id")
        return {**ledger, "users": [row["user_id"] for row in users]}


def records_of(users: list[UUID]) -> list[StoredRecord]:
    """Return a dialogue of each user, then an invalid record that names the first."""
    chance = random.Random(1)
    values = [as_json(small_dialogue(chance, user_id=str(user))) for user in users]
    values.append(f'{{"user_id": "{users[0]}"'.encode())
    return [StoredRecord(*A, n, 1_767_225_600_000, str(users[0]).encode(), value) for n, value in enumerate(values)]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """Return a connection pool of its own."""
    database = Database(Postgres(dsn=SecretStr(dsn)))
    await database.open()
    try:
        yield database
    finally:
        await database.close(5)


@pytest.fixture
async def scene(database: str) -> AsyncIterator[Scene]:
    """Return a scene on one migrated database."""
    async with opened(database) as writing, opened(database) as erasing:
        yield Scene(database, writing, erasing)


async def both(one: Awaitable[Any], other: Awaitable[Any]) -> tuple[Any, Any]:
    """Return the results of both tasks."""
    return await one, await other


async def test_a_flush_that_has_copied_the_row_before_the_erasure_starts_over(scene: Scene) -> None:
    """The erasure does not wait for it and finds nothing; the flush notices the erasure before its commit, and
    starts over.
    """
    gate = Gate()
    flush = asyncio.create_task(scene.flush([ALICE, BOB], gate))
    await gate.waited_for.wait()
    assert scene.environment.value(IN_TRANSACTION) == 1
    done = await scene.erase(ALICE)
    assert (done["dialogues"], done["dead_letters"]) == (0, 0)
    gate.open()
    written = await flush
    assert len(written.inserted[DIALOGUE]) == 1
    assert scene.outcome() == {"inserted": 1, "duplicates": 0, "dead_lettered": 2, "users": [BOB]}
    assert tables_with_user(scene.environment, ALICE) == []


async def test_an_erasure_waits_for_a_flush_that_is_about_to_commit(scene: Scene) -> None:
    """The flush holds the version and waits only for the ledger's row; the erasure then finds the committed
    dialogue.
    """
    claims = await scene.store.claim({A: Bounds(0, 1000)})
    with psycopg.connect(scene.environment.dsn) as holder:
        holder.execute("SELECT * FROM ingest_ledger FOR UPDATE")
        flush = asyncio.create_task(scene.store.write(batch_of(claims, records_of([ALICE, BOB])), ImmediateTurn()))
        await wait_for(lambda: scene.are_waiting(1), message="the flush waits for the ledger")
        erasing = asyncio.create_task(scene.erase(ALICE))
        await wait_for(lambda: scene.are_waiting(2), message="the erasure waits for the flush")
        holder.rollback()
    written, done = await both(flush, erasing)
    assert len(written.inserted[DIALOGUE]) == 2
    assert (done["dialogues"], done["dead_letters"]) == (1, 1)
    assert scene.outcome() == {"inserted": 2, "duplicates": 0, "dead_lettered": 1, "users": [BOB]}
    assert tables_with_user(scene.environment, ALICE) == []


async def test_a_flush_that_begins_after_the_erasure_respects_it(scene: Scene) -> None:
    """Its claim is much older."""
    claims = await scene.store.claim({A: Bounds(0, 1000)})
    await scene.erase(ALICE)
    await scene.store.write(batch_of(claims, records_of([ALICE, BOB])), ImmediateTurn())
    assert scene.outcome() == {"inserted": 1, "duplicates": 0, "dead_lettered": 2, "users": [BOB]}
    assert tables_with_user(scene.environment, ALICE) == []


async def test_an_erasure_waits_for_a_replay_that_has_begun(scene: Scene) -> None:
    """The replay waits for a row lock and the erasure for the replay; then it finds and deletes the dialogue."""
    chance = random.Random(2)
    event = small_dialogue(chance, user_id=str(ALICE))
    add_letters(scene.environment.dsn, [(None, as_json(event), [])])
    execute = "UPDATE dead_letters SET topic = 'dialogues'"
    with psycopg.connect(scene.environment.dsn, autocommit=True) as connection:
        connection.execute(execute)
    with psycopg.connect(scene.environment.dsn) as holder:
        holder.execute(
            "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used)"
            " VALUES (%(id)s, %(id)s, %(id)s, 'q', 'r', 'm')",
            {"id": event["id"]},
        )
        replay = asyncio.create_task(scene.letters.replay(Filter()))
        await wait_for(lambda: scene.are_waiting(1), message="the replay waits for the row")
        erasing = asyncio.create_task(scene.erase(ALICE))
        await wait_for(lambda: scene.are_waiting(2), message="the erasure waits for the replay")
        holder.rollback()
    replayed, done = await both(replay, erasing)
    assert (replayed.inserted, done["dialogues"], done["dead_letters"]) == (1, 1, 1)
    assert tables_with_user(scene.environment, ALICE) == []
    (letter,) = scene.environment.query("SELECT value, replayed_at, discarded_at FROM dead_letters")
    assert (letter["value"], letter["discarded_at"]) == (None, None)
    assert letter["replayed_at"]


async def test_an_erasure_waits_for_a_run_of_retention_that_is_writing_notices(scene: Scene) -> None:
    """The run has read the owner from the archive and not committed; the erasure finds the notice that it writes."""
    with psycopg.connect(scene.environment.dsn) as retention:
        retention.execute("SELECT pg_advisory_xact_lock(hashtextextended('ragledger retention', 0))")
        retention.execute(
            "INSERT INTO retention_notices (run_id, owner, notice)"
            " VALUES (gen_random_uuid(), %(user)s, jsonb_build_object('owner', %(user)s::text))",
            {"user": ALICE},
        )
        erasing = asyncio.create_task(scene.erase(ALICE))
        await wait_for(lambda: scene.are_waiting(1), message="the erasure waits for the run")
        retention.commit()
    assert (await erasing)["notices"] == 1
    assert tables_with_user(scene.environment, ALICE) == []


async def test_a_replay_after_the_erasure_stores_nothing(scene: Scene) -> None:
    """This includes a dead letter that arrived meanwhile."""
    await scene.erase(ALICE)
    chance = random.Random(3)
    values = [as_json(small_dialogue(chance, user_id=str(user))) for user in (ALICE, BOB)]
    add_letters(scene.environment.dsn, [(None, value, []) for value in values])
    with psycopg.connect(scene.environment.dsn, autocommit=True) as connection:
        connection.execute("UPDATE dead_letters SET topic = 'dialogues'")
    replayed = await scene.letters.replay(Filter())
    assert (replayed.inserted, replayed.erased, replayed.failed) == (1, 1, 0)
    assert tables_with_user(scene.environment, ALICE) == []


async def test_without_the_key_a_claim_is_refused(scene: Scene, database: str) -> None:
    """A replica that cannot recognise erased users writes nothing."""
    await scene.erase(ALICE)
    async with opened(database) as other:
        telemetry, days = FakeTelemetry(Changes()), BusinessDays("UTC")
        store = PostgresStore(other, telemetry, days, ledger_of(other), NO_LIMIT)
        with pytest.raises(Unavailable) as refused:
            await store.claim({A: Bounds(0, 1)})
    assert refused.value.cause == "erasure"
    assert json.dumps(str(refused.value)).count("RAGLEDGER_ERASURE__KEY") == 1
