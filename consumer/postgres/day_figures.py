"""The figures of a day: from its rows, or from its buckets.

A bucket is a quarter of an hour, UTC. `rollup_buckets` holds the sums of each bucket and of the whole day. It also
holds how often each latency occurs, so percentiles are exact. See docs/adr/0078-buckets-of-a-day.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import accumulate
from math import ceil, floor
from typing import Any

from consumer.ingest.days import BusinessDays
from consumer.postgres.client import Transaction
from consumer.postgres.queries import load
from consumer.postgres.workers import await_prepared


async def figures_from_rows(
    transaction: Transaction, day: date, days: BusinessDays, *, is_spread: bool
) -> Mapping[str, Any]:
    """Compute a day from all its rows, and delete its marks and its buckets.

    :param is_spread: whether the rows are distributed over a cluster
    :returns: the figures by column of `rag_metrics_history`, and `ingest_delay_p95`
    """
    await forget_marks(transaction, day, days)
    if is_spread:
        await await_prepared(transaction)  # the rows of a mark that is forgotten must be visible
    await transaction.fetch(load("roll_up_settings"))
    [found] = await transaction.fetch(load("figures_of_day"), *days.bounds(day))
    return {**found, **_latencies(found["latency"])}


async def figures_from_buckets(transaction: Transaction, day: date, days: BusinessDays) -> Mapping[str, Any]:
    """Compute the marked buckets of a day from their rows, and the day from its buckets. Delete its marks.

    :returns: as :func:`figures_from_rows`
    """
    bounds = days.bounds(day)
    await transaction.fetch(load("roll_up_settings"))
    strays = await transaction.fetch(load("update_buckets"), day, *bounds)
    await _mark_again(transaction, [row["bucket"] for row in strays], days)
    [found] = await transaction.fetch(load("figures_of_buckets"), *bounds)
    delays = percentiles(found["ingest_delays"], found["ingest_delay_counts"], [0.95])
    return {
        **found,
        **_latencies(percentiles(found["latencies"], found["latency_counts"], [0.5, 0.95, 0.99])),
        "ingest_delay_p95": delays and delays[0] / 1000,
    }


def _latencies(found: Sequence[float] | None) -> Mapping[str, float | None]:
    """The three percentiles by column. Each is None if no row has a latency."""
    return dict(zip(("latency_p50", "latency_p95", "latency_p99"), found or (None, None, None), strict=True))


def percentiles(values: Sequence[int], counts: Sequence[int], fractions: Sequence[float]) -> Sequence[float] | None:
    """Percentiles as PostgreSQL's percentile_cont computes them; None without a value.

    :param values: the different values, ascending
    :param counts: how often each of them occurs
    """
    ends = list(accumulate(counts))

    def percentile(fraction: float) -> float:
        place = fraction * (ends[-1] - 1)
        low, high = (float(values[bisect_right(ends, index)]) for index in (floor(place), ceil(place)))
        return low + (place - floor(place)) * (high - low)

    return [percentile(fraction) for fraction in fractions] if ends else None


async def forget_marks(transaction: Transaction, day: date, days: BusinessDays) -> None:
    """Delete the marks of a day, and its buckets, which would be out of date."""
    bounds = days.bounds(day)
    strays = await transaction.fetch(load("forget_touched_day"), day, *bounds)
    await _mark_again(transaction, [row["bucket"] for row in strays], days)


async def _mark_again(transaction: Transaction, buckets: Sequence[datetime], days: BusinessDays) -> None:
    """Mark the days of buckets that are not in the day for which they were marked: a replica with another time zone
    marked them. It may have marked only the first and the last of many buckets, so the whole days are marked.
    """
    if buckets:
        await transaction.execute(load("touch_days"), sorted({days.day_of(bucket) for bucket in buckets}), [])
