"""The tables and the fenced ledger: one batch, one transaction.

Ways to write rows, tried in this order:

    DIRECT  COPY straight into the table: the fastest, as long as every id is new
    MERGE   COPY into a stage, INSERT … ON CONFLICT (id) DO NOTHING: when ids were there before, or COPY is refused
    SPLIT   MERGE in portions under savepoints, until what the database refuses is alone: dead letters
    SLOW    SPLIT, beginning with one row: portions of a second at most, where a batch takes longer than a statement
            may, because somebody's trigger takes long about each row

Whatever PostgreSQL does not call an outage leads to SPLIT. What is refused there although no row is in it is nobody's
record: the batch waits, and says for what.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import IntEnum
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any

from consumer.decode.rows import Row
from consumer.events.kind import Kind
from consumer.events.otlp.staged import SPAN
from consumer.events.record import Partition
from consumer.ingest.batch import Batch
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import Key
from consumer.ingest.offsets import Claim, Span
from consumer.ingest.ports import Bounds, Fenced, Refused, Telemetry, Turn, Unavailable, Written
from consumer.postgres.amendments import apply_to_new
from consumer.postgres.client import UNIQUE_VIOLATION, CopyNotSupported, Database, Objection, Transaction
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.dead_letters import insert_dead_letters
from consumer.postgres.erasures import Erasures, ErasuresChanged
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.preparation import Preparation, Prepared
from consumer.postgres.queries import load
from consumer.postgres.retry import while_raises
from consumer.postgres.spans import became, touch_traces
from consumer.postgres.splitting import insert_splitting
from consumer.postgres.staging import Outcome, insert_direct, insert_merging, join, rows_first

TURN_SECONDS = 5.0
SILENT_SECONDS = 10.0

# Of a row or a dead letter; equal to a Partition. One of these is looked at for every record, so no call of ours.
_ID = attrgetter("id")
_PARTITION = attrgetter("record.topic", "record.partition")


class InsertStrategy(IntEnum):
    """How rows are written."""

    DIRECT = 0
    MERGE = 1
    SPLIT = 2
    SLOW = 3


class PostgresStore(PostgresLedger):
    """See :class:`consumer.ingest.ports.Store`."""

    def __init__(
        self,
        database: Database,
        telemetry: Telemetry,
        days: BusinessDays,
        *,
        group: str,
        owner: str,
        begin_at_end: bool,
        limit: DeadLetterLimit,
        erasure_keys: Sequence[Key] = (),
    ) -> None:
        super().__init__(database, group=group, owner=owner, begin_at_end=begin_at_end)
        self._telemetry, self._days, self._limit = telemetry, days, limit
        self._erasures = Erasures(erasure_keys)
        self._under_way = _UnderWay()
        self._copy_supported = True
        self._strategy = InsertStrategy.DIRECT

    async def claim(self, bounds: Mapping[Partition, Bounds]) -> Sequence[Claim]:
        """See :meth:`consumer.ingest.ports.Claims.claim`. What was erased is read anew."""
        claims = await super().claim(bounds)
        await self._erasures.learn(self._database)
        return claims

    async def write(self, batch: Batch, turn: Turn) -> Written:
        """See :meth:`consumer.ingest.ports.Store.write`."""
        is_disjoint, attempts = self._under_way.disjoint(batch), _Attempts(self, batch, turn)
        with self._under_way.held(batch):
            if not is_disjoint:
                await turn.wait_turn()  # or two of our own transactions could wait for each other over an id in both
            async for attempt in while_raises(Unavailable, tell=self._tell_unavailable):
                with attempt:
                    written = await attempts.next()
        self._telemetry.available()
        return written

    def _tell_unavailable(self, error: Unavailable) -> None:
        self._telemetry.unavailable(error.cause, str(error))

    async def write_once(
        self, preparation: Preparation, turn: Turn, settle: Callable[[Written], None], *, is_slow: bool = False
    ) -> Written:
        """One transaction, with whichever strategy can write the rows; `settle` is called right before COMMIT.

        :param is_slow: whether an attempt has taken too long
        :raises Unavailable: not now, or its turn does not come
        :raises Fenced: the ledger does not stand where the batch begins
        """
        strategy, is_copy_refused, began = InsertStrategy.SLOW if is_slow else self._strategy, False, time.monotonic()
        while True:
            prepared = await preparation.under(
                self._erasures.known, rows_may_be_refused=strategy >= InsertStrategy.SPLIT
            )
            try:
                written = await self._transact(prepared, turn, strategy, settle)
            except ErasuresChanged:
                await self._erasures.learn(self._database)
            except CopyNotSupported:
                strategy, is_copy_refused = InsertStrategy.MERGE, True
            except (Refused, Objection) as error:
                if strategy >= InsertStrategy.SPLIT:
                    raise _of_no_record(error) from error
                strategy = _next_try(strategy, error)
            else:
                # A failed COPY alone proves nothing: a trigger may have been what had no support.
                if strategy is InsertStrategy.MERGE and is_copy_refused:
                    self._copy_supported = False
                self._strategy = self._next_strategy(strategy, written, time.monotonic() - began)
                return written

    async def _transact(
        self, prepared: Prepared, turn: Turn, strategy: InsertStrategy, settle: Callable[[Written], None]
    ) -> Written:
        async with self._database.transaction() as transaction:
            written = await self._insert(transaction, prepared, strategy)
            await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what COMMIT would refuse names no row
            await insert_dead_letters(transaction, written.dead_letters, prepared.headers)
            await self._touch_days(transaction, written)
            await _come(turn)
            await self._erasures.hold(transaction, prepared.erased)  # late: while it is held, an erasure waits
            await self._move_ledger(transaction, written)
            written = await self._stop_over_limit(transaction, written)
            settle(written)
        return written

    def _next_strategy(self, strategy: InsertStrategy, written: Written, seconds: float) -> InsertStrategy:
        """Duplicates come in runs (a producer retries, a topic is read again): MERGE until a batch has none. SLOW as
        long as no batch would fit into a statement.
        """
        if strategy is InsertStrategy.SLOW and seconds > self._database.statement_seconds / 2:
            return strategy
        return InsertStrategy.MERGE if written.duplicates or not self._copy_supported else InsertStrategy.DIRECT

    async def _insert(self, transaction: Transaction, prepared: Prepared, strategy: InsertStrategy) -> Written:
        screened = prepared.screened
        outcomes = {
            kind: await self._insert_kind(transaction, kind, screened.rows[kind], strategy)
            for kind in rows_first(screened.rows)
        }
        spans = became(prepared.batch.span_records, outcomes.pop(SPAN, Outcome()))
        traced = {SPAN: spans.inserted} if prepared.batch.span_records else {}
        total = join([Outcome(), *outcomes.values()])
        return Written(
            prepared.batch,
            {**{kind: outcome.inserted for kind, outcome in outcomes.items()}, **traced},
            [*total.duplicates, *spans.duplicates],
            [*screened.dead_letters, *screened.later([*total.dead_letters, *spans.dead_letters])],
            {kind: outcome.amended for kind, outcome in outcomes.items()},
            total.moments,
            {kind: outcome.news for kind, outcome in outcomes.items()},
            ignored=spans.ignored,
            staged=spans.spans,
        )

    async def _insert_kind(
        self, transaction: Transaction, kind: Kind, rows: Sequence[Row], strategy: InsertStrategy
    ) -> Outcome:
        outcome: Outcome = await self._strategies()[strategy](transaction, kind, rows)
        tell = self._telemetry.set_aside if strategy >= InsertStrategy.SPLIT else None
        await apply_to_new(transaction, kind, outcome.inserted, tell)
        if kind is SPAN:
            await touch_traces(transaction, outcome.inserted)
        return outcome

    def _strategies(self) -> Mapping[InsertStrategy, Any]:
        return {
            InsertStrategy.DIRECT: insert_direct,
            InsertStrategy.MERGE: insert_merging,
            InsertStrategy.SPLIT: partial(insert_splitting, tell=self._telemetry.split),
            InsertStrategy.SLOW: partial(insert_splitting, tell=self._telemetry.split, first=1),
        }

    async def _touch_days(self, transaction: Transaction, written: Written) -> None:
        inserted = (row.created_at for rows in written.inserted.values() for row in rows)
        days = self._days.days_of(chain(inserted, written.amended_moments))
        if days:
            await transaction.execute(load("touch_days"), sorted(days))

    async def _move_ledger(self, transaction: Transaction, written: Written) -> None:
        spans = _moved(written.batch)
        moved = await transaction.fetch(load("move_ledger"), self._group, *_ledger_columns(spans, written))
        held = {Partition(row["topic"], row["partition"]) for row in moved}
        lost = [span.partition for span in spans if span.partition not in held]
        if lost:
            raise Fenced(lost)

    async def _stop_over_limit(self, transaction: Transaction, written: Written) -> Written:
        partitions = set(map(Partition._make, map(_PARTITION, written.dead_letters)))
        return replace(written, stopped=await self._limit.stop(transaction, self._group, partitions))

    async def end_silent_writers(self) -> None:
        """End what a frozen replica left in the middle of a COPY.

        :raises Unavailable: not now
        """
        async with self._database.transaction() as transaction:
            await transaction.fetch(load("end_silent_writers"), SILENT_SECONDS)

    async def stands_behind(self, batch: Batch) -> bool:
        """Whether the ledger stands, under our epoch, where this batch ends: it was committed before."""
        spans = {span.partition: span for span in _moved(batch)}
        rows = await self._read(spans)
        standing = {partition: (row["epoch"], row["next_offset"]) for partition, row in rows.items()}
        return standing == {partition: (span.epoch, span.next) for partition, span in spans.items()}


class _Attempts:
    """The attempts at one batch. After a COMMIT without an answer the ledger tells whether it happened."""

    def __init__(self, store: PostgresStore, batch: Batch, turn: Turn) -> None:
        self._store, self._batch, self._turn = store, batch, turn
        self._preparation = Preparation(batch)
        self._unanswered: Written | None = None
        self._first, self._is_slow = True, False

    async def next(self) -> Written:
        if not self._first:
            await self._turn.wait_turn()  # what failed may have failed for want of its turn
        self._first = False
        try:
            return await self._store.write_once(
                self._preparation, self._turn, self._before_commit, is_slow=self._is_slow
            )
        except Unavailable as error:
            self._is_slow = self._is_slow or error.cause == "timeout"
            if error.cause == "lock":
                await self._store.end_silent_writers()
            raise
        except Fenced:
            if self._unanswered is not None and await self._store.stands_behind(self._batch):
                return self._unanswered
            raise

    def _before_commit(self, written: Written) -> None:
        self._unanswered = written


class _UnderWay:
    """The ids that are being written."""

    def __init__(self) -> None:
        self._batches: list[set[bytes]] = []

    def disjoint(self, batch: Batch) -> bool:
        """Whether none of the batch's ids is being written."""
        return all(ids.isdisjoint(_ids(batch)) for ids in self._batches)

    @contextmanager
    def held(self, batch: Batch) -> Iterator[None]:
        """The batch is being written."""
        ids = set(_ids(batch))
        self._batches.append(ids)
        try:
            yield
        finally:
            self._batches.remove(ids)


def _ids(batch: Batch) -> Iterator[bytes]:
    return chain.from_iterable(map(_ID, rows) for rows in batch.rows.values())


async def _come(turn: Turn) -> None:
    """Wait for the turn, but not for long: this transaction may be what an earlier one waits for."""
    try:
        async with asyncio.timeout(TURN_SECONDS):
            await turn.wait_turn()
    except TimeoutError:
        raise Unavailable("an earlier batch is not committed yet", "turn") from None


def _next_try(strategy: InsertStrategy, error: Refused | Objection) -> InsertStrategy:
    is_duplicate = error.sqlstate == UNIQUE_VIOLATION and strategy is InsertStrategy.DIRECT
    return InsertStrategy.MERGE if is_duplicate else InsertStrategy.SPLIT


def _of_no_record(error: Refused | Objection) -> Unavailable:
    """The database refuses what holds no record at all, or what was only found refused with no record left to blame."""
    statement = f", in the statement {error.statement}" if isinstance(error, Refused) and error.statement else ""
    advice = "`ragledger doctor` checks rights and schema; look at the table's triggers and rules, and PostgreSQL's log"
    cause = error.cause if isinstance(error, Objection) else "refused"
    return Unavailable(f"{error}{statement}: no record is the cause. {advice}", cause)


def _moved(batch: Batch) -> list[Span]:
    return sorted((span for span in batch.spans.values() if span.moved), key=lambda span: span.partition)


def _ledger_columns(spans: Sequence[Span], written: Written) -> list[list[Any]]:
    """Every count is counted, none is a remainder: that they add up to the offsets moved over proves something."""
    inserted = Counter(chain.from_iterable(map(_PARTITION, rows) for rows in written.inserted.values()))
    amended = Counter(chain.from_iterable(map(_PARTITION, rows) for rows in written.amended.values()))
    duplicates = Counter(map(_PARTITION, written.duplicates))
    dead = Counter(map(_PARTITION, written.dead_letters))
    ignored = Counter(map(_PARTITION, written.ignored))
    rows = [
        (
            *span.partition,
            span.epoch,
            span.start,
            span.next,
            inserted[span.partition],
            duplicates[span.partition],
            amended[span.partition],
            dead[span.partition],
            ignored[span.partition],
            span.gaps,
            span.leader_epoch,
        )
        for span in spans
    ]
    return [list(column) for column in zip(*rows, strict=True)]
