"""Checks that PUBLIC has no rights on ragledger's objects, and that the roles may call the functions they need.

Two causes can give PUBLIC such rights: default privileges that were set before a migration, and a backup restored
without privileges. Default privileges that are stricter than PostgreSQL's own close functions that row constraints and
views call.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.admin.migrate import expected
from consumer.admin.migrate.checks import Check
from consumer.admin.migrate.roles import COMPLIANCE, INGEST, READER
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
        return Check("rights of everybody", ok=True, detail="none on objects that only roles may use")
    statements = [
        *([f"REVOKE ALL ON {', '.join(found['relation'])} FROM PUBLIC"] if found["relation"] else []),
        *([f"REVOKE ALL ON FUNCTION {', '.join(found['function'])} FROM PUBLIC"] if found["function"] else []),
        *found["default"],
    ]
    more = f" and {len(open_) - _NAMED} more" if len(open_) > _NAMED else ""
    named = f"every role may use {', '.join(open_[:_NAMED])}{more}"
    return Check("rights of everybody", ok=False, detail=f"{named}: {'; '.join(statements)}")


async def check_callers(db: AdminConnection) -> Check:
    """Check that each role may call the functions that its rows and views need; return the GRANT if not."""
    rows = await db.rows(load("verify_callers"), list(expected.OPEN_FUNCTIONS), [INGEST, READER, COMPLIANCE])
    if not rows:
        return Check("functions of roles", ok=True, detail="each may be called")
    roles, functions = (sorted({row[key] for row in rows}) for key in ("role", "name"))
    found = f"{', '.join(roles)} may not call {len(functions)} functions of row constraints and views"
    grant = f"GRANT EXECUTE ON FUNCTION {', '.join(functions)} TO {', '.join(roles)}"
    return Check("functions of roles", ok=False, detail=f"{found}: {grant}")
