"""Transactions that the workers of a Citus cluster have not committed yet, although the coordinator has.

    coordinator   PREPARE on each worker ── COMMIT here ── COMMIT PREPARED on each worker
    worker        prepared ──────────────────────────────► committed: from here on, its rows are visible

Between the last two steps, a mark in a table of the coordinator is visible and the rows are not. Usually this takes a
millisecond; after a crash, until Citus has recovered the transaction. A job that relies on the rows waits for those
that are prepared now: what is prepared later was not visible to the job before either.
"""

from __future__ import annotations

import asyncio
import time

from consumer.ingest.ports import Cause, Unavailable
from consumer.postgres.client import Transaction
from consumer.postgres.queries import load

LONGEST_WAIT_SECONDS = 5.0
_PAUSE_SECONDS = 0.02


async def is_spread(transaction: Transaction) -> bool:
    """Whether ai_dialogue_log is distributed."""
    return bool(await transaction.fetch(load("distributed_tables"), ["ai_dialogue_log"]))


async def await_prepared(transaction: Transaction) -> None:
    """Wait until every worker has committed what it has prepared now.

    :raises Unavailable: a worker does not answer, or has not committed after a few seconds
    """
    waiting, deadline = await _prepared(transaction), time.monotonic() + LONGEST_WAIT_SECONDS
    while waiting:
        if time.monotonic() > deadline:
            problem = (
                f"{len(waiting)} prepared transactions are not committed on the workers yet, such as {min(waiting)}"
            )
            raise Unavailable(f"{problem}: Citus does it, at the latest after citus.recover_2pc_interval", Cause.LOCK)
        await asyncio.sleep(_PAUSE_SECONDS)
        waiting &= await _prepared(transaction)


async def _prepared(transaction: Transaction) -> set[str]:
    rows = await transaction.fetch(load("distribution_prepared").format(seconds=0))
    silent = [f"{row['name']}: {row['result']}" for row in rows if not row["answers"]]
    if silent:
        raise Unavailable(f"a node of the cluster does not answer ({'; '.join(silent)})", Cause.CONNECTION)
    return {gid for row in rows for gid in (row["result"] or "").split()}
