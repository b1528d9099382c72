"""The lock of retention: one transaction of it at a time, and none while a legal hold is being placed."""

from __future__ import annotations

from consumer.postgres.client import Transaction
from consumer.postgres.queries import load


async def lead(transaction: Transaction, *, wait: bool) -> bool:
    """Take the lock until the transaction ends. Return whether it was taken.

    :param wait: wait for another process that holds it
    """
    if wait:
        await transaction.fetch(load("retention_wait_to_lead"))
        return True
    return bool((await transaction.fetch(load("retention_lead")))[0]["leads"])
