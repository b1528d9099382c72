"""Marks of days whose rows have changed."""

from __future__ import annotations

from collections.abc import Iterable

from consumer.ingest.days import BusinessDays
from consumer.postgres.client import Transaction
from consumer.postgres.queries import load


async def touch_days(transaction: Transaction, days: BusinessDays, moments: Iterable[int | None]) -> None:
    """Mark the days of dialogues that this transaction inserts, changes or deletes, so that they are rolled up.

    :param moments: `created_at` of the dialogues, microseconds since 2000-01-01 UTC; None is skipped
    """
    touched, buckets = days.touched_by(moments)
    if touched:
        await transaction.execute(load("touch_days"), touched, buckets)
