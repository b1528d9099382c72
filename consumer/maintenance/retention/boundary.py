"""The moment before which dialogues are expired."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from consumer.ingest.days import BusinessDays
from consumer.maintenance.table_partitions.months import over_at

_TICK = timedelta(microseconds=1)


def boundary(now: datetime, days: BusinessDays, keep_days: int, *, by_month: bool) -> datetime:
    """Return the moment, naive UTC: the beginning of the business day `keep_days` days ago, so that no day expires in
    part.

    :param by_month: return the beginning of a month in UTC instead: the newest one such that every business day that
        overlaps an earlier month has expired
    """
    midnight = days.bounds(days.day_of(now) - timedelta(days=keep_days))[0]
    if not by_month:
        return midnight
    month = midnight.date().replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1)
    return datetime.combine(month if over_at(before, days) <= midnight else before, time.min)


def final_days(after: datetime, before: datetime, days: BusinessDays) -> tuple[date, date]:
    """Return the first and the last day that become final if the boundary moves from `after` to `before`."""
    first = date.min if after == datetime.min else days.day_of(after - _TICK) + timedelta(days=1)  # noqa: DTZ901
    return first, days.day_of(before - _TICK)
