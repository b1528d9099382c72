"""Tests that a transaction with a lock on one row of the ledger does not delay the partitions of other rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from pydantic import SecretStr

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import LedgerLocked
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.stack import wait_for
from tests.support.stores import A, B, Line, P, PostgresBackend, batch_of, claim, records, write

pytestmark = pytest.mark.timeout(60)

PROMPT_S = 5.0  # half of the time limit for a lock
BOTH = pytest.mark.parametrize("place", ["template18", "template15"], indirect=True)
UNREADABLE = StopReason("damaged", "9", 2, 9)


@contextmanager
def held(backend: PostgresBackend, partition: Partition) -> Iterator[None]:
    """Hold a transaction open with a lock."""
    with psycopg.connect(backend.dsn) as somebody:
        somebody.execute("SELECT FROM ingest_ledger WHERE (topic, partition) = (%s, %s) FOR UPDATE", partition)
        yield


@BOTH
async def test_a_locked_row_delays_no_other_claim(backend: PostgresBackend) -> None:
    """The partition itself is claimed when its row is free; an unknown one is claimed at once."""
    store = backend.store("one")
    before = {one.partition: one for one in await claim(store, A, B)}
    with held(backend, A):
        async with asyncio.timeout(PROMPT_S):
            claims = {one.partition: one for one in await claim(store, A, B, P)}
    assert claims.keys() == {B, P}
    assert claims[B].epoch > before[B].epoch
    [later] = await claim(store, A)
    assert later.epoch == before[A].epoch + 1


@BOTH
async def test_a_locked_row_delays_no_other_stop(backend: PostgresBackend) -> None:
    """The stop of the partition itself is stored by a later attempt."""
    store = backend.store("one")
    claims = {one.partition: one for one in await claim(store, A, B)}
    with held(backend, A):
        async with asyncio.timeout(PROMPT_S):
            assert await store.stop(claims[A], 0, UNREADABLE) is None
            assert await store.stop(claims[B], 0, UNREADABLE) == UNREADABLE
    assert await store.stop(claims[A], 0, UNREADABLE) == UNREADABLE


@BOTH
async def test_a_row_locked_after_its_claim_delays_no_other_partition(backend: PostgresBackend) -> None:
    """The batch is given up instead of waiting, because batches of the other partitions wait behind it. Every
    claim is kept.
    """
    database = Database(Postgres(dsn=SecretStr(backend.dsn), lock_timeout_s=0.2))
    await database.open()
    try:
        mine = PostgresBackend(backend.dsn, database)
        store = mine.store("one")
        claims = await claim(store, A, B)
        with held(backend, A):
            with pytest.raises(LedgerLocked, match=str(A)) as locked:
                await write(store, batch_of(claims, records(A, 0, "a"), records(B, 0, "b")))
            assert locked.value.partitions == frozenset()
            [again] = await claim(store, A, B)
            await write(store, batch_of([again], records(B, 0, "b")))
        assert await backend.ledger() == {A: Line(0, 0), B: Line(0, 1, inserted=1)}
        await write(store, batch_of(await claim(store, A), records(A, 0, "a")))
        assert await backend.ledger() == {A: Line(0, 1, inserted=1), B: Line(0, 1, inserted=1)}
    finally:
        await database.close(5)


@BOTH
async def test_a_locked_table_is_waited_for(backend: PostgresBackend) -> None:
    """No row of the ledger is locked by the batch, so giving it up would not help."""
    database = Database(Postgres(dsn=SecretStr(backend.dsn), lock_timeout_s=0.2))
    await database.open()
    try:
        mine = PostgresBackend(backend.dsn, database)
        store = mine.store("one")
        claims = await claim(store, A)
        with psycopg.connect(backend.dsn) as somebody:
            somebody.execute("LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE")
            writing = asyncio.create_task(write(store, batch_of(claims, records(A, 0, "a"))))
            await wait_for(lambda: mine.telemetry.all("unavailable"))
        await writing
        assert await backend.ledger() == {A: Line(0, 1, inserted=1)}
    finally:
        await database.close(5)
