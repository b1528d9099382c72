"""What everybody may use of ours. Nothing should be open, but two things open it without a word: default privileges
that were set before a migration, and a backup that is restored without its privileges.
"""

from __future__ import annotations

from collections.abc import Sequence

from consumer.admin.migrate import expected
from consumer.admin.migrate.checks import Check
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load

_NAMED = 3
"""How many objects are named before the rest is counted."""


async def look_at_everybody(db: AdminConnection, tables: Sequence[str]) -> Check:
    """Whether PUBLIC holds rights on what is ours, and the statements that revoke them."""
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
