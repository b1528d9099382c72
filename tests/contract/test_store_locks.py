"""Tests that a transaction with a lock on one row of the ledger does not delay the partitions of other rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from tests.support.stores import A, B, P, PostgresBackend, claim

pytestmark = pytest.mark.timeout(60)

SOON_S = 5.0  # half of the time limit for a lock
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
        async with asyncio.timeout(SOON_S):
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
        async with asyncio.timeout(SOON_S):
            assert await store.stop(claims[A], 0, UNREADABLE) is None
            assert await store.stop(claims[B], 0, UNREADABLE) == UNREADABLE
    assert await store.stop(claims[A], 0, UNREADABLE) == UNREADABLE
