"""Checks settings of PostgreSQL and of ragledger that can lose data, stop work or slow it down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, note, warning
from consumer.postgres.queries import load

RELOAD = "SELECT pg_reload_conf()"
FEW_CHECKPOINTS = 10
_NAMES = (
    *("fsync", "full_page_writes", "synchronous_commit", "autovacuum", "track_counts", "TimeZone", "max_wal_size"),
    *("statement_timeout", "transaction_timeout", "log_error_verbosity", "max_connections"),
    *("superuser_reserved_connections", "reserved_connections", "server_version_num"),
    *("default_toast_compression", "wal_compression"),
)
_MUST_BE_ON = {
    "fsync": "a crash of the machine can damage the database beyond repair",
    "full_page_writes": "a crash of the machine can leave partly written pages",
    "autovacuum": "tables grow without end, and finally the server accepts no more writes",
    "track_counts": "autovacuum does not know which tables need it",
}


async def check_settings(context: CheckContext) -> list[Finding]:
    """Check durability, vacuum, time zone, checkpoints, time limits and connections."""
    rows = await context.db.rows(load("doctor_settings"), list(_NAMES))
    found: Mapping[str, str] = {row["name"]: row["setting"] for row in rows}
    problems = [
        *_durability(found),
        *_time(found, context.database),
        *_limits(found, context),
        *_log(found),
        *_compression({row["name"]: row for row in rows}, context.database),
        *await _checkpoints(context, found),
    ]
    return [*(problems or [fine("settings", "no problem found")]), *await _connections(context, found)]


def _durability(found: Mapping[str, str]) -> Iterator[Finding]:
    for name, consequence in _MUST_BE_ON.items():
        if found.get(name) == "off":
            yield error(name, f"off: {consequence}", f"ALTER SYSTEM SET {name} = on; {RELOAD}")
    if found.get("synchronous_commit") == "off":
        consequence = (
            "after a crash, the last batches are read again from Kafka, and the last commits of people are lost"
        )
        fix = f"ALTER SYSTEM SET synchronous_commit = on; {RELOAD}"
        yield warning("synchronous_commit", f"off: {consequence}", fix)


def _time(found: Mapping[str, str], database: str) -> Iterator[Finding]:
    zone = found["TimeZone"]
    if zone.upper() not in ("UTC", "ETC/UTC", "GMT", "ETC/GMT", "UCT", "ETC/UCT", "ZULU", "ETC/ZULU"):
        consequence = "a row inserted by hand without a time gets a time of another zone; ragledger's rows do not"
        yield warning(
            "time zone", f"sessions use {zone}: {consequence}", f"ALTER DATABASE {database} SET timezone = 'UTC'"
        )


def _limits(found: Mapping[str, str], context: CheckContext) -> Iterator[Finding]:
    ours = context.settings.postgres
    whole = int(found.get("transaction_timeout", 0)) / 1000
    if 0 < whole < ours.statement_timeout_s:
        yield warning(
            "transaction_timeout",
            f"{whole:g} s ends every longer transaction, but a batch may take {ours.statement_timeout_s:g} s",
            f"ALTER ROLE {context.role} SET transaction_timeout = 0",
        )
    one = int(found["statement_timeout"]) / 1000
    if one:
        yield note("statement_timeout", f"{one:g} s: ragledger sets its own, but migrations are subject to it")
    if ours.lock_timeout_s >= ours.statement_timeout_s:
        yield warning(
            "lock timeout",
            "the statement timeout ends first: waiting for a lock is reported as a slow statement",
            f"RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S below {ours.statement_timeout_s:g}",
        )


def _log(found: Mapping[str, str]) -> Iterator[Finding]:
    if found.get("log_error_verbosity", "terse") != "terse":
        fix = f"ALTER SYSTEM SET log_error_verbosity = terse; {RELOAD}"
        yield note("log_error_verbosity", "PostgreSQL's log quotes rejected rows, with question and answer", fix)


def _compression(found: Mapping[str, Mapping[str, Any]], database: str) -> Iterator[Finding]:
    """Report pglz. Every server has it, and it is the slowest choice. ADR 0045 has the measurements."""
    values, log = found["default_toast_compression"], found["wal_compression"]
    if values["setting"] == "pglz" and "lz4" in values["choices"]:
        fix = f"ALTER DATABASE {database} SET default_toast_compression = 'lz4', then restart the service"
        yield note("default_toast_compression", "pglz: lz4 compresses long questions and answers with less CPU", fix)
    if log["setting"] == "pglz":
        fix = f"ALTER SYSTEM SET wal_compression = {'lz4' if 'lz4' in log['choices'] else 'off'}; {RELOAD}"
        yield note("wal_compression", "pglz: it costs PostgreSQL more CPU than the smaller log saves", fix)


async def _checkpoints(context: CheckContext, found: Mapping[str, str]) -> list[Finding]:
    is_older = int(found["server_version_num"]) < 170_000
    (row,) = await context.db.rows(load("doctor_checkpoints_15" if is_older else "doctor_checkpoints"))
    if row["requested"] < FEW_CHECKPOINTS or row["requested"] <= row["timed"]:
        return []
    size = int(found["max_wal_size"])
    consequence = "writes come in bursts, and full pages are logged again and again"
    return [
        warning(
            "checkpoints",
            f"{row['requested']} of {row['requested'] + row['timed']} were forced by max_wal_size: {consequence}",
            f"ALTER SYSTEM SET max_wal_size = '{4 * size}MB'; {RELOAD}",
        )
    ]


async def _connections(context: CheckContext, found: Mapping[str, str]) -> list[Finding]:
    (row,) = await context.db.rows(load("doctor_sessions"))
    if context.settings.postgres.pgbouncer:
        return [note("connections", "behind a pooler: the limits of the pooler apply")]
    needed = context.replicas * context.settings.postgres.pool_size
    reserved = int(found["superuser_reserved_connections"]) + int(found.get("reserved_connections", 0))
    limits = {f"ROLE {context.role}": row["role_limit"], f"DATABASE {context.database}": row["database_limit"]}
    return [*_server_limit(row, needed, int(found["max_connections"]) - reserved), *_other_limits(limits, needed)]


def _server_limit(row: Mapping[str, Any], needed: int, there_are: int) -> Iterator[Finding]:
    others = row["connected"] - row["ours"]
    text = f"{needed} for the service and {others} for others, of {there_are} available"
    if needed + others > there_are:
        more = f"ALTER SYSTEM SET max_connections = {2 * (needed + others)} and a restart"
        fix = f"a smaller RAGLEDGER_POSTGRES__POOL_SIZE, a pooler, or {more}"
        yield error("connections", f"not enough: {text}", fix)
    else:
        yield fine("connections", text)


def _other_limits(limits: Mapping[str, int], needed: int) -> Iterator[Finding]:
    for of, limit in limits.items():
        if 0 <= limit < needed:
            fix = f"ALTER {of} CONNECTION LIMIT {2 * needed}"
            yield error("connections", f"limited to {limit}, and the service may need {needed}", fix)
