"""Strategies for inserting the rows of a batch.

    DIRECT  COPY into the table. The fastest way; it needs every id to be new. Of rows of the batch with equal ids, it
            takes the first
    MERGE   COPY into a staging table, then INSERT … ON CONFLICT (id) DO NOTHING. For duplicates of stored rows, and for
            roles that PostgreSQL refuses COPY
    SPLIT   MERGE in portions under savepoints, until each row that the database refuses is alone: a dead letter
    SLOW    SPLIT, starting with one row and with portions of at most a second. For tables whose triggers are so slow
            that a batch takes longer than a statement may

After a duplicate id, MERGE follows DIRECT, also if Citus reports it: it gives errors of a COPY on a worker the SQLSTATE
of an internal error, and those of an INSERT their own. After any other refusal, SPLIT follows. If PostgreSQL also
refuses a statement in SPLIT and no row is the cause, the batch waits, and its error gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from consumer.events.kind import Kind
from consumer.events.otlp.kinds import SPAN
from consumer.ingest.ports import Cause, Refused, Telemetry, Unavailable, Written
from consumer.postgres.amendments import apply_to_new
from consumer.postgres.client import Transaction
from consumer.postgres.costs import keep_costs
from consumer.postgres.errors import INTERNAL_ERROR, UNIQUE_VIOLATION, CopyNotSupported, Objection
from consumer.postgres.preparation import Prepared
from consumer.postgres.spans import results_of, touch_traces
from consumer.postgres.splitting import insert_splitting
from consumer.postgres.staging import Outcome, insert_direct, insert_merging, join, rows_first


class InsertStrategy(IntEnum):
    """How rows are written."""

    DIRECT = 0
    MERGE = 1
    SPLIT = 2
    SLOW = 3

    @property
    def finds_refused_rows(self) -> bool:
        """Whether refused rows become dead letters. With the other strategies, a refused row fails the batch."""
        return self >= InsertStrategy.SPLIT

    def after(self, error: Refused | Objection) -> InsertStrategy:
        """The strategy to try next, in the same attempt.

        :raises Unavailable: there is no other strategy, because no row is the cause
        """
        if self.finds_refused_rows:
            raise _not_about_a_row(error) from error
        merging_helps = isinstance(error, CopyNotSupported) or error.sqlstate in (UNIQUE_VIOLATION, INTERNAL_ERROR)
        return InsertStrategy.MERGE if self is InsertStrategy.DIRECT and merging_helps else InsertStrategy.SPLIT


class StrategyChoice:
    """The strategy for the next batch, learned from the previous ones.

    :param statement_seconds: the longest time that one statement may take
    """

    def __init__(self, statement_seconds: float) -> None:
        self._statement_seconds = statement_seconds
        self._copy_supported = True
        self.current = InsertStrategy.DIRECT

    def succeeded(self, strategy: InsertStrategy, written: Written, seconds: float, *, copy_refused: bool) -> None:
        """Learn from a batch that was written.

        :param copy_refused: whether PostgreSQL refused COPY for it. This alone proves nothing, because a trigger may
            raise the same error. If MERGE then succeeds, PostgreSQL does not support COPY here
        """
        if strategy is InsertStrategy.MERGE and copy_refused:
            self._copy_supported = False
        # SLOW stays as long as no batch would fit into one statement. Duplicates often follow each other (a topic is
        # read again), so MERGE stays until a batch has no duplicate of a stored row.
        if strategy is InsertStrategy.SLOW and seconds > self._statement_seconds / 2:
            self.current = strategy
        elif not self._copy_supported or (strategy is not InsertStrategy.DIRECT and _has_stored_duplicates(written)):
            self.current = InsertStrategy.MERGE
        else:
            self.current = InsertStrategy.DIRECT


def _has_stored_duplicates(written: Written) -> bool:
    inserted = {row.id for rows in written.inserted.values() for row in rows} if written.duplicates else set()
    return any(row.id not in inserted for row in written.duplicates)


async def insert_rows(
    transaction: Transaction, prepared: Prepared, strategy: InsertStrategy, telemetry: Telemetry
) -> Written:
    """Insert all rows of a batch and apply all amendments.

    :raises Refused: :raises Objection: the strategy does not work for these rows
    """
    screened = prepared.screened
    outcomes: dict[Kind, Outcome] = {
        kind: await _insert_kind(transaction, kind, prepared, strategy, telemetry) for kind in rows_first(screened.rows)
    }
    spans = results_of(prepared.batch.span_records, outcomes.pop(SPAN, Outcome()))
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
    transaction: Transaction, kind: Kind, prepared: Prepared, strategy: InsertStrategy, telemetry: Telemetry
) -> Outcome:
    rows = prepared.screened.rows[kind]
    if strategy is InsertStrategy.DIRECT:
        outcome = await insert_direct(transaction, kind, rows)
    elif strategy is InsertStrategy.MERGE:
        outcome = await insert_merging(transaction, kind, rows)
    else:
        first = 1 if strategy is InsertStrategy.SLOW else None
        outcome = await insert_splitting(transaction, kind, rows, telemetry.split, first)
    report = telemetry.set_aside if strategy.finds_refused_rows else None
    await apply_to_new(transaction, kind, outcome.inserted, report)
    await keep_costs(transaction, outcome.inserted)
    if kind is SPAN:
        await touch_traces(transaction, outcome.inserted)
    return outcome


@contextmanager
def no_row_is_the_cause() -> Iterator[None]:
    """For statements about our own tables: a rule of the owner's that refuses them is waited out.

    :raises Unavailable: the database refuses a statement
    """
    try:
        yield
    except Refused as error:
        raise _not_about_a_row(error) from error


def _not_about_a_row(error: Refused | Objection) -> Unavailable:
    statement = f", in the statement {error.statement}" if isinstance(error, Refused) and error.statement else ""
    advice = "`ragledger doctor` checks rights and schema; look at the table's triggers and rules, and PostgreSQL's log"
    cause = error.cause if isinstance(error, Objection) else Cause.REFUSED
    return Unavailable(f"{error}{statement}: no record is the cause. {advice}", cause)
