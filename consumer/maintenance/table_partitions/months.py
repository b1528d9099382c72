"""Months and business days: a monthly partition is a month in UTC, a day belongs to the business time zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

from consumer.ingest.days import BusinessDays
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load


async def business_zone(db: AdminConnection, own: str) -> str:
    """Return the time zone of the basis in force, or `own` if no service has run yet."""
    rows = await db.rows(load("basis_in_force"))
    return str(rows[0]["time_zone"]) if rows else own


def over_at(month: date, days: BusinessDays) -> datetime:
    """Return when the last business day that overlaps the month ends, naive UTC.

    Depending on the time zone, this is up to a day after the end of the month.
    """
    last_moment = datetime.combine(_next(month), time.min) - timedelta(microseconds=1)
    return days.bounds(days.day_of(last_moment))[1]


def _next(month: date) -> date:
    return (month.replace(day=1) + timedelta(days=31)).replace(day=1)


def demand_over(month: date, zones: Sequence[str], now: datetime) -> None:
    """Raise if a business day that overlaps the month has not ended: archiving would change its figures.

    :param now: naive UTC
    :raises ArchiveError: such a day has not ended
    """
    over = max(over_at(month, BusinessDays(zone)) for zone in zones)
    if now < over:
        raise ArchiveError(
            f"{month:%Y-%m} cannot be archived yet: its last business day ({', '.join(sorted(set(zones)))}) is over at"
            f" {over:%Y-%m-%d %H:%M} UTC"
        )


async def demand_computed(db: AdminConnection, month: date, partition: str, zone: str) -> None:
    """Raise if a day of the month was never rolled up. No lock is held: a row that arrives later touches its day.

    :raises ArchiveError: some days were never rolled up
    """
    async with short_transaction(db, 0):
        days = await db.rows(load("partition_days_without_history").format(partition=partition), zone)
    missing = [row["day"] for row in days]
    if missing:
        raise ArchiveError(
            f"{month:%Y-%m} has days that were never rolled up: {_listed(missing)}. Compute them first:"
            f" ragledger rollup --since {missing[0]} --until {missing[-1]}"
        )


async def demand_unmarked(db: AdminConnection, month: date, zone: str) -> None:
    """Raise if a touched day of the month waits for the roll-up. The caller holds the lock of the roll-up.

    :raises ArchiveError: some days wait
    """
    marked = [row["day"] for row in await db.rows(load("partition_touched_days"), month, zone)]
    if marked:
        raise ArchiveError(
            f"{month:%Y-%m} has days that have to be rolled up first: {_listed(marked)}."
            " The service does so within its interval, or `ragledger rollup`"
        )


def _listed(days: Sequence[date]) -> str:
    shown = ", ".join(map(str, days[:5]))
    return f"{shown} and {len(days) - 5} more" if len(days) > 5 else shown
