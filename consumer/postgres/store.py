"""Writes batches: one batch, one transaction, under the ledger's fence.

an attempt     one transaction. It ends committed, fenced, or unavailable; after `Unavailable` another one follows
committed      rows, amendments, dead letters, touched days and the ledger's move are in the database
fenced         the ledger is not at the beginning of the batch: another process has claimed a partition
unavailable    an outage, a lock, a full disk. Nothing was written, unless only the answer to COMMIT was lost: then
               the next attempt finds the ledger at the end of this batch, and the batch counts as committed
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from operator import attrgetter
from uuid import UUID

from consumer.events.record import Partition
from consumer.ingest.batch import Batch
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import Key
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Bounds, Cause, Fenced, Holder, Refused, Telemetry, Turn, Unavailable, Written
from consumer.postgres.client import Database, Transaction
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.dead_letters import insert_dead_letters
from consumer.postgres.erasures import ErasuresChanged, RecordErasures
from consumer.postgres.errors import CopyNotSupported, Objection
from consumer.postgres.insert import InsertStrategy, StrategyChoice, insert_rows, no_row_is_the_cause
from consumer.postgres.ledger import PostgresLedger, partition_of
from consumer.postgres.preparation import Preparation, Prepared
from consumer.postgres.queries import load
from consumer.postgres.retry import retry_after
from consumer.postgres.touched_days import touch_days

TURN_SECONDS = 5.0
SILENT_SECONDS = 10.0
_LOST = frozenset({Cause.CONNECTION, Cause.SHUTDOWN})

_ID = attrgetter("id")


@dataclass(slots=True)
class _Writing:
    """A batch, over all attempts at writing it.

    :param waits_first: whether the transaction begins only when its turn has come
    :param is_slow: whether an attempt took too long
    :param began_at: when the newest attempt began, on the monotonic clock
    :param unconfirmed: the result that the newest COMMIT was sent for
    """

    batch: Batch
    preparation: Preparation
    turn: Turn
    waits_first: bool
    is_slow: bool = False
    began_at: float = 0.0
    unconfirmed: Written | None = None


class PostgresStore:
    """See :class:`consumer.ingest.ports.Store`."""

    def __init__(
        self,
        database: Database,
        telemetry: Telemetry,
        days: BusinessDays,
        ledger: PostgresLedger,
        limit: DeadLetterLimit,
        erasure_keys: Sequence[Key] = (),
        namespace: UUID | None = None,
    ) -> None:
        self._database, self._telemetry, self._days = database, telemetry, days
        self._ledger, self._limit = ledger, limit
        self._erasures = RecordErasures(erasure_keys, namespace)
        self._choice = StrategyChoice(database.statement_seconds)
        self._in_progress = _IdsInProgress()
        self._outages = _Outages()

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        """See :meth:`consumer.ingest.ports.Claims.claim`. Also reads the set of erased users."""
        with no_row_is_the_cause():
            claims = await self._ledger.claim(bounds)
        await self._erasures.learn(self._database)
        return claims

    async def stop(self, claim: Claim, offset: int, reason: StopReason) -> StopReason | None:
        """See :meth:`consumer.ingest.ports.Claims.stop`."""
        with no_row_is_the_cause():
            return await self._ledger.stop(claim, offset, reason)

    async def holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        """See :meth:`consumer.ingest.ports.Claims.holders`."""
        return await self._ledger.holders(partitions)

    async def write(self, batch: Batch, turn: Turn) -> Written:
        """See :meth:`consumer.ingest.ports.Store.write`."""
        # Two of our transactions that share an id would wait for each other.
        writing = _Writing(batch, Preparation(batch), turn, waits_first=self._in_progress.overlaps(batch))
        with self._in_progress.holding(batch):
            written = await retry_after(
                Unavailable,
                attempt=partial(self._attempt, writing),
                report=partial(self._report_failure, writing),
            )
        if self._outages.end(writing.began_at):
            self._telemetry.available()
        return written

    def _report_failure(self, writing: _Writing, error: Unavailable) -> None:
        if error.cause is not Cause.TURN and self._outages.begin(writing.began_at, error.cause):
            self._telemetry.unavailable(error.cause, str(error))
        else:
            self._telemetry.retried(error.cause)

    async def _attempt(self, writing: _Writing) -> Written:
        if writing.waits_first:
            await writing.turn.wait_turn()
        writing.waits_first = True  # from the second attempt on: the first may have failed because it was not its turn
        try:
            return await self._write_with_any_strategy(writing)
        except Unavailable as error:
            writing.is_slow |= error.cause is Cause.TIMEOUT
            if error.cause is Cause.LOCK:
                await self._end_silent_writers()
                if writing.unconfirmed is None:
                    await self._ledger.demand_unlocked(writing.batch)
            raise
        except Fenced:
            if writing.unconfirmed is not None and await self._ledger.is_moved_by(writing.batch):
                return writing.unconfirmed
            raise

    async def _write_with_any_strategy(self, writing: _Writing) -> Written:
        strategy = InsertStrategy.SLOW if writing.is_slow else self._choice.current
        writing.began_at, copy_refused = time.monotonic(), False
        while True:
            prepared = await writing.preparation.under(
                self._erasures.known, rows_may_be_refused=strategy.finds_refused_rows
            )
            try:
                written = await self._transact(writing, prepared, strategy)
            except ErasuresChanged:
                await self._erasures.learn(self._database)
            except (Refused, Objection) as error:
                strategy = strategy.after(error)
                copy_refused = copy_refused or isinstance(error, CopyNotSupported)
            else:
                self._choice.succeeded(
                    strategy, written, time.monotonic() - writing.began_at, copy_refused=copy_refused
                )
                return written

    async def _transact(self, writing: _Writing, prepared: Prepared, strategy: InsertStrategy) -> Written:
        async with self._database.transaction() as transaction:
            written = await insert_rows(transaction, prepared, strategy, self._telemetry)
            await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an error at COMMIT would name no row
            await insert_dead_letters(transaction, written.dead_letters, prepared.headers)
            await self._touch_days(transaction, written)
            await _wait_turn(writing.turn)
            await self._erasures.hold(transaction, prepared.erased)  # late, because an erasure waits while it is held
            await self._ledger.move(transaction, written)
            written = await self._stop_over_limit(transaction, written)
            writing.unconfirmed = written
        return written

    async def _touch_days(self, transaction: Transaction, written: Written) -> None:
        inserted = (row.created_at for rows in written.inserted.values() for row in rows)
        await touch_days(transaction, self._days, chain(inserted, written.amended_moments))

    async def _stop_over_limit(self, transaction: Transaction, written: Written) -> Written:
        partitions = set(map(partition_of, written.dead_letters))
        exceeded = await self._limit.exceeded(transaction, self._ledger.group, partitions)
        for partition, reason in exceeded.items():
            span = written.batch.spans[partition]
            await self._ledger.stop_within(transaction, partition, span.epoch, span.next, reason)
        return replace(written, stopped=exceeded)

    async def _end_silent_writers(self) -> None:
        """End the sessions that a frozen replica left in the middle of a COPY."""
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("end_silent_writers"), SILENT_SECONDS)


class _Outages:
    """The knowledge about outages that two writers share. The result of an attempt does not count if the newest outage
    began or ended after the attempt began.
    """

    def __init__(self) -> None:
        self._changed_at = float("-inf")
        self._is_out = False

    def begin(self, began_at: float, cause: Cause) -> bool:
        """An attempt failed. Return whether there is an outage now. A writer often notices only after an outage that
        the outage has ended its session, because its transaction waited for its turn.
        """
        if not self._is_out and began_at < self._changed_at and cause in _LOST:
            return False
        self._changed_at, self._is_out = time.monotonic(), True
        return True

    def end(self, began_at: float) -> bool:
        """An attempt succeeded. Return whether there is no outage now."""
        if self._is_out and began_at > self._changed_at:
            self._changed_at, self._is_out = time.monotonic(), False
        return not self._is_out


class _IdsInProgress:
    """The ids in the batches that are being written."""

    def __init__(self) -> None:
        self._batches: list[set[bytes]] = []

    def overlaps(self, batch: Batch) -> bool:
        """Whether one of the batch's ids is being written."""
        return not all(ids.isdisjoint(_ids(batch)) for ids in self._batches)

    @contextmanager
    def holding(self, batch: Batch) -> Iterator[None]:
        """Mark the batch as being written inside this context."""
        ids = set(_ids(batch))
        self._batches.append(ids)
        try:
            yield
        finally:
            self._batches.remove(ids)


def _ids(batch: Batch) -> Iterator[bytes]:
    return chain.from_iterable(map(_ID, rows) for rows in batch.rows.values())


async def _wait_turn(turn: Turn) -> None:
    """Wait for the turn, for a limited time, because an earlier transaction may be waiting for this one."""
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await turn.wait_turn()
    except TimeoutError:
        raise Unavailable("an earlier batch is not committed yet", Cause.TURN) from None
