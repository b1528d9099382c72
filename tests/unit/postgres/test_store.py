"""Tests how the store writes batches, without a database: which ones concurrently, and which ones again."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumer.events.dialogue import DIALOGUE
from consumer.ingest.batch import Batch
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Cause, Telemetry, Unavailable, Written
from consumer.ingest.writer import CommitTurn, Writer
from consumer.postgres.client import Database
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.errors import CopyNotSupported, Objection
from consumer.postgres.insert import InsertStrategy
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.preparation import Preparation, Prepared
from consumer.postgres.store import PostgresStore, _Writing
from consumer.settings.model import DeadLetters
from tests.support.builders import ROOMY
from tests.support.fakes import Changes, FakeTelemetry, LoopClock, aside_in_virtual_time


class Store(PostgresStore):
    """A store whose transactions take a moment and only record that they ran."""

    def __init__(self) -> None:
        database, ledger = cast(Database, SimpleNamespace(statement_seconds=60.0)), cast(PostgresLedger, None)
        telemetry, limit = FakeTelemetry(Changes()), DeadLetterLimit(DeadLetters())
        super().__init__(database, telemetry, BusinessDays("UTC"), ledger, limit)
        self.under_way: list[Batch] = []
        self.met: set[frozenset[int]] = set()
        self.strategies: list[InsertStrategy] = []
        self.fails: Callable[[InsertStrategy], Exception | None] = lambda _: None

    async def _transact(self, writing: _Writing, prepared: Prepared, strategy: InsertStrategy) -> Written:
        batch = prepared.batch
        self.strategies.append(strategy)
        if (error := self.fails(strategy)) is not None:
            try:
                raise error
            finally:
                del error  # a cycle of error, traceback and frame would keep the batch
        self.met |= {frozenset((other.records, batch.records)) for other in self.under_way}
        self.under_way.append(batch)
        await asyncio.sleep(0.01)
        await writing.turn.wait_turn()
        self.under_way.remove(batch)
        return Written(batch, {}, [], [])


class FakeRow:
    """A row; unlike a real one, it can be referred to weakly."""

    def __init__(self, own: bytes) -> None:
        self.id, self.record = own, SimpleNamespace(headers=())


def batch_of(number: int, *ids: bytes) -> Batch:
    """Return a batch with dialogues of these ids; its number identifies it."""
    rows: list[Any] = [FakeRow(own) for own in ids]
    return Batch(ROOMY, rows={DIALOGUE: rows}, records=number)


async def write_all(store: Store, batches: Sequence[Batch]) -> None:
    """Write the batches as the pipeline does, two at a time."""
    writer = Writer(store, store._telemetry, LoopClock(), lambda _: None, lambda *_: None)
    async with asyncio.TaskGroup() as tasks:
        works = [tasks.create_task(work) for work in writer.workers()]
        for batch in batches:
            await writer.slot()
            writer.put(batch)
        await writer.idle()
        for work in works:
            work.cancel()


async def test_no_two_transactions_with_one_id_run_at_once() -> None:
    """They would wait for each other. The second transaction begins when it waits for its turn."""
    store = Store()
    await write_all(store, [batch_of(1, b"x"), batch_of(2, b"x", b"y"), batch_of(3, b"y"), batch_of(4, b"z")])
    assert store.met == {frozenset((3, 4))}


async def test_an_unsupported_feature_without_copy_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no row causes the error, the store waits, and does not try again at once without end."""
    monkeypatch.setattr(
        "consumer.postgres.preparation.aside", aside_in_virtual_time
    )  # virtual time does not wait for a thread
    store = Store()
    said = ("a trigger of somebody's", Cause.REFUSED, "0A000")
    store.fails = lambda strategy: CopyNotSupported(*said) if strategy is InsertStrategy.DIRECT else Objection(*said)
    with pytest.raises(Unavailable, match="a trigger"):
        await store._attempt(_Writing(batch := batch_of(1, b"x"), Preparation(batch), CommitTurn(None), False))
    assert store.strategies == [InsertStrategy.DIRECT, InsertStrategy.MERGE, InsertStrategy.SPLIT]


async def test_a_written_batch_is_freed_at_once() -> None:
    """No reference cycle keeps it, also after a failed attempt: the garbage collector would find it only much later.
    A writer that waits for the next batch does not keep it either.
    """
    store = Store()
    outages = iter([Unavailable("killed", Cause.CONNECTION)])
    store.fails = lambda _: next(outages, None)
    telemetry = cast(Telemetry, SimpleNamespace(written=lambda *_: None))  # the fake one would keep the batch
    writer = Writer(store, telemetry, LoopClock(), lambda _: None, lambda *_: None)
    works = [asyncio.create_task(work) for work in writer.workers()]
    batch = batch_of(1, b"x")
    row = weakref.ref(batch.rows[DIALOGUE][0])
    gc.disable()
    try:
        await writer.slot()
        writer.put(batch)
        del batch
        await writer.idle()
        await asyncio.sleep(0)
        assert store.strategies == [InsertStrategy.DIRECT] * 2
        assert row() is None
    finally:
        gc.enable()
        for work in works:
            work.cancel()


async def test_a_write_that_began_before_an_outage_does_not_end_it() -> None:
    """When the server is killed, one of two writers may still get its answer. The outage is reported once."""
    store = Store()
    late, failed = batch_of(1, b"x"), batch_of(2, b"y")
    answered = asyncio.Event()
    outages = iter([Unavailable("killed", Cause.CONNECTION)])

    async def transact(writing: _Writing, prepared: Prepared, _: InsertStrategy) -> Written:
        if writing.batch is late:
            await answered.wait()
        elif (error := next(outages, None)) is not None:
            answered.set()
            raise error
        return Written(prepared.batch, {}, [], [])

    store._transact = transact  # type: ignore[method-assign,assignment]
    await asyncio.gather(store.write(late, CommitTurn(None)), store.write(failed, CommitTurn(None)))
    assert reported(store) == ["unavailable", "available"]


async def test_a_session_that_was_lost_in_an_outage_does_not_begin_another_outage() -> None:
    """The second writer waits for its turn, and finds its session closed after the first one has written again."""
    store = Store()
    first, second = batch_of(1, b"x"), batch_of(2, b"y")
    outages, lost = iter([Unavailable("killed", Cause.SHUTDOWN)]), iter([Unavailable("closed", Cause.CONNECTION)])

    async def transact(writing: _Writing, prepared: Prepared, strategy: InsertStrategy) -> Written:
        await writing.turn.wait_turn()
        if (error := next(outages if writing.batch is first else lost, None)) is not None:
            raise error
        return Written(prepared.batch, {}, [], [])

    store._transact = transact  # type: ignore[method-assign]
    before = CommitTurn(None)
    before.over()
    turn = CommitTurn(before)

    async def write_first() -> None:
        await store.write(first, turn)
        turn.over()

    await asyncio.gather(write_first(), store.write(second, CommitTurn(turn)))
    assert reported(store) == ["unavailable", "available", "retried", "available"]


async def test_waiting_for_the_turn_is_not_an_outage() -> None:
    """Another batch of this replica is only slower."""
    store = Store()
    late = iter([Unavailable("an earlier batch is not committed yet", Cause.TURN)])
    store.fails = lambda _: next(late, None)
    await write_all(store, [batch_of(1, b"x")])
    assert reported(store) == ["retried", "available"]


def reported(store: Store) -> list[str]:
    """Return the store's reports about the database."""
    telemetry = store._telemetry
    assert isinstance(telemetry, FakeTelemetry)
    return [name for name, *_ in telemetry.calls if name in ("unavailable", "available", "retried")]
