"""Checks for slow statements, if pg_stat_statements is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, fine, note, warning
from consumer.postgres.admin import StatementError
from consumer.postgres.queries import load

SHOWN, LONGEST = 5, 100
FEW_CALLS = 20
_WORK = ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "COPY", "MERGE")
_VALUES = re.compile(r"'(?:[^']|'')*(?:'|$)|\$(\w*)\$.*?(?:\$\1\$|$)|/\*.*?(?:\*/|$)", re.DOTALL)
LOADED = "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements' (keep the present ones), and a restart"
CREATED = "CREATE EXTENSION pg_stat_statements"


async def check_statements(context: CheckContext) -> list[Finding]:
    """Report the statements with the largest total time, and those close to their time limit."""
    (row,) = await context.db.rows(load("doctor_statements_schema"))
    if row["schema_name"] is None:
        there = "not installed" if row["available"] else "not installed, and not available on this server"
        return [
            note("statements", f"pg_stat_statements is {there}: slow statements are unknown", f"{LOADED}; {CREATED}")
        ]
    try:
        found = await _read(context, row["schema_name"])
    except StatementError as error:
        return [note("statements", f"pg_stat_statements cannot be read: {error.message}", LOADED)]
    limit = context.settings.postgres.statement_timeout_s
    return [*_sight(row["sees_all"], context.role), *_shown(found), *_slow(found, limit)]


def _sight(sees_all: bool, role: str) -> Iterator[Finding]:
    if not sees_all:
        yield note("statements", f"{role} sees only its own statements", f"GRANT pg_read_all_stats TO {role}")


async def slowest_query_ms(context: CheckContext) -> float | None:
    """Return the 95th percentile, in ms, of the slowest frequent query on dialogues; None if it is not known."""
    (row,) = await context.db.rows(load("doctor_statements_schema"))
    if row["schema_name"] is None:
        return None
    try:
        found = await _read(context, row["schema_name"])
    except StatementError:
        return None
    queries = [one["p95_ms"] for one in found if _is_query(one["statement"]) and one["calls"] >= FEW_CALLS]
    return max(queries, default=None)


def _is_query(statement: str) -> bool:
    text = statement.strip().lower()
    return text.startswith(("select", "with")) and "ai_dialogue_log" in text and "insert" not in text


async def _read(context: CheckContext, schema: str) -> Sequence[Mapping[str, Any]]:
    rows = await context.db.rows(load("doctor_statements").replace("{schema}", schema))
    return [row for row in rows if row["statement"].lstrip().upper().startswith(_WORK)]


def _shown(found: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for one in found[:SHOWN]:
        took = f"{one['total_ms'] / 1000:,.1f} s in {one['calls']:,} calls, {one['mean_ms']:,.1f} ms each"
        yield fine("statements", f"{took}: {_without_values(one['statement'])}")


def _without_values(statement: str) -> str:
    """Return the beginning of a statement. PostgreSQL keeps comments, and the constants of some statements such as COPY
    (SELECT …).
    """
    return _VALUES.sub("…", statement.strip())[:LONGEST]


def _slow(found: Sequence[Mapping[str, Any]], limit_s: float) -> Iterator[Finding]:
    for one in found:
        if one["p95_ms"] > limit_s * 1000 / 2:
            what = _without_values(one["statement"])
            fix = "raise RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S, or examine it with EXPLAIN (ANALYZE, BUFFERS)"
            yield warning("statements", f"close to the limit of {limit_s:g} s: {what}", fix)
