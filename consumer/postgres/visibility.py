"""Checks whether row-level security hides rows from this role, because a job that deletes must see all rows."""

from __future__ import annotations

from consumer.errors import OperationError
from consumer.postgres.client import Transaction
from consumer.postgres.queries import load


async def demand_whole_tables(transaction: Transaction, *tables: str) -> None:
    """Check that no policy hides rows of these tables. Tables that do not exist are skipped.

    :raises OperationError: row-level security applies to this role, and no policy shows it every row
    """
    hidden = [row["name"] for row in await transaction.fetch(load("visibility"), list(tables))]
    if hidden:
        raise OperationError(
            f"row-level security hides rows of {', '.join(hidden)} from this role, so not everything would be found:"
            " run this as the owner of the tables, as a role with BYPASSRLS, or as one that a policy shows every row"
        )
