"""Checks that PUBLIC has no rights on ragledger's objects. Two causes can give it such rights: default
privileges that were set before a migration, and a backup restored without privileges.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.admin.migrate import expected
from consumer.admin.migrate.checks import Check
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load

_NAMED = 3
"""The number of objects that are named; the others are counted."""


async def check_public_rights(db: AdminConnection, tables: Sequence[str]) -> Check:
    """Return whether PUBLIC holds rights on our objects, and the statements that revoke them."""
    rows = await db.rows(load("verify_everybody"), [*tables, *expected.VIEWS], list(expected.CLOSED_FUNCTIONS))
    found = {kind: [row["name"] for row in rows if row["kind"] == kind] for kind in ("relation", "function", "default")}
    open_ = [*found["relation"], *found["function"]]
    if not open_:
        return Check("rights of everybody", ok=True, detail="none on what only roles may use")
    statements = [
        *([f"REVOKE ALL ON {', '.join(found['relation'])} FROM PUBLIC"] if found["relation"] else []),
        *([f"REVOKE ALL ON FUNCTION {', '.join(found['function'])} FROM PUBLIC"] if found["function"] else []),
        *found["default"],
    ]
    more = f" and {len(open_) - _NAMED} more" if len(open_) > _NAMED else ""
    named = f"every role may use {', '.join(open_[:_NAMED])}{more}"
    return Check("rights of everybody", ok=False, detail=f"{named}: {'; '.join(statements)}")
