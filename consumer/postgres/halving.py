"""Finds the items that the database refuses, by halving, with savepoints."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from consumer.ingest.ports import Refused
from consumer.postgres.client import OBJECTIONS, Objection, Transaction

T = TypeVar("T")

_GROWTH = 8


async def halve(
    transaction: Transaction,
    items: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[None]],
    refuse: Callable[[T, Refused | Objection], Awaitable[None]],
    first: int | None = None,
) -> int:
    """Write all items. If the database refuses them, write each half, until every refused item is alone.

    If writing zero items raises no error, the table exists and the role has its rights. So the error belongs to the
    item.

    :param refuse: called with each refused item
    :param first: the number of items in the first write, if each item may be slow. Later writes adapt to the time. The
        time of a write without items does not count, because a smaller write would not reduce it
    :returns: the number of writes
    :raises Refused: :raises Objection: no item is the cause
    """
    waiting, writes, room = [items], 0, first or len(items)
    fixed: float | None = None
    while waiting:
        part = waiting.pop()
        if len(part) > room:
            waiting.append(part[room:])
            part = part[:room]
        writes += 1
        began = time.monotonic()
        error = await _tried(transaction, part, write)
        if error is None:
            took = time.monotonic() - began
            if fixed is None and took > transaction.round_seconds:
                fixed = await _seconds_of_none(transaction, part, write)
            affordable = int(len(part) * transaction.round_seconds / max(took - (fixed or 0.0), 0.001))
            room = max(1, min(_GROWTH * room, affordable))
            continue
        if middle := len(part) // 2:
            waiting += [part[middle:], part[:middle]]  # the first half is next, so the order is kept
            continue
        if fixed is None:
            fixed = await _seconds_of_none(transaction, part, write)
        await refuse(part[0], error)
    return writes


async def _seconds_of_none(
    transaction: Transaction, part: Sequence[T], write: Callable[[Sequence[T]], Awaitable[None]]
) -> float:
    """The time of a write without items.

    :raises Refused: :raises Objection: even that is refused
    """
    began = time.monotonic()
    if fault := await _tried(transaction, part[:0], write):
        raise fault
    return time.monotonic() - began


async def _tried(
    transaction: Transaction, part: Sequence[T], write: Callable[[Sequence[T]], Awaitable[None]]
) -> Refused | Objection | None:
    """Write the part; returns the error if it is about the data or the schema."""
    try:
        async with transaction.savepoint():
            await write(part)
    except OBJECTIONS as error:
        return error
    return None
