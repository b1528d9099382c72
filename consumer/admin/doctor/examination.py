"""Runs every check: within bounded time, and none stopped by another's trouble."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from consumer.admin.doctor import connection, kafka
from consumer.admin.doctor.books import look_at_days, look_at_dead_letters, look_at_ledger
from consumer.admin.doctor.context import Brokers, CheckContext
from consumer.admin.doctor.copies import look_at_copies
from consumer.admin.doctor.findings import Finding, Report, Severity, error, report, warning
from consumer.admin.doctor.privileges import look_at_privileges
from consumer.admin.doctor.schema import UP, look_at_schema
from consumer.admin.doctor.server_settings import look_at_settings
from consumer.admin.doctor.statements import look_at_statements
from consumer.admin.doctor.storage import look_at_indexes, look_at_tables
from consumer.ingest.ports import SourceError
from consumer.kafka.admin import find_open_transactions, look_at_kafka
from consumer.kafka.tools import read_bounds
from consumer.postgres.admin import AdminConnection, ConnectError, ConnectionLostError, StatementError, connect
from consumer.postgres.client import dsn_of
from consumer.postgres.queries import load
from consumer.settings.model import Settings

KAFKA_SECONDS = 15.0
CHECK_SECONDS = 10.0

Check = Callable[[CheckContext], Awaitable[Sequence[Finding]]]
ALWAYS: Sequence[tuple[str, Check]] = (
    ("postgresql", connection.look_at_server),
    ("settings", look_at_settings),
    ("migrations", look_at_schema),
)
ON_OUR_TABLES: Sequence[tuple[str, Check]] = (
    ("privileges", look_at_privileges),
    ("ledger", look_at_ledger),
    ("dead letters", look_at_dead_letters),
    ("roll-up", look_at_days),
    ("tables", look_at_tables),
    ("copies", look_at_copies),
    ("indexes", look_at_indexes),
    ("statements", look_at_statements),
)

Told = Callable[[str], None]
"""Called with the name of each check before it begins."""


async def examine(settings: Settings, told: Told = lambda _: None) -> Report:
    """CheckContext at everything. What cannot be looked at is a finding too."""
    told("kafka")
    found, brokers = await _kafka(settings)
    return report([*found, *await _postgres(settings, brokers, told)])


async def _kafka(settings: Settings) -> tuple[list[Finding], Brokers | None]:
    topics = list(settings.topics.named.values())
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            facts = await look_at_kafka(settings.kafka, topics)
            brokers = Brokers(facts, await read_bounds(settings.kafka, list(facts.topics)))
            held_back = [partition for partition, held in brokers.bounds.items() if held.held_back]
            open_now = await find_open_transactions(settings.kafka, held_back) if held_back else {}
    except SourceError as problem:
        return [kafka.unreachable(str(problem))], None
    except TimeoutError:
        return [
            kafka.unreachable(f"{settings.kafka.bootstrap_servers} did not answer within {KAFKA_SECONDS:g} s")
        ], None
    waiting = kafka.look_at_transactions(settings, brokers.bounds, open_now, time.time())
    leaderless = kafka.look_at_leaders(settings, brokers.bounds.unanswered)
    return [*kafka.look_at_topics(settings, facts), *leaderless, *waiting], brokers


async def _postgres(settings: Settings, brokers: Brokers | None, told: Told) -> list[Finding]:
    try:
        async with connect(dsn_of(settings.postgres)) as db:
            return await _checks(db, settings, brokers, told)
    except ConnectError as problem:
        return [connection.unreachable(str(problem))]


async def _checks(db: AdminConnection, settings: Settings, brokers: Brokers | None, told: Told) -> list[Finding]:
    try:
        (row,) = await db.rows(load("doctor_server"))
        look = CheckContext(db, settings, brokers, row["database"], row["role"])
        found = await _run(look, ALWAYS, told)
        missing = [one["name"] for one in await db.rows(load("doctor_missing_tables"))]
        if missing:
            return [*found, error("tables", f"there is no {', '.join(missing)}: the rest cannot be looked at", UP)]
        return [*found, *await _run(look, ON_OUR_TABLES, told)]
    except ConnectionLostError as problem:
        return [connection.unreachable(str(problem))]


async def _run(look: CheckContext, checks: Sequence[tuple[str, Check]], told: Told) -> list[Finding]:
    found: list[Finding] = []
    for name, check in checks:
        told(name)
        found += await _within_limits(name, check, look)
    return found


async def _within_limits(name: str, check: Check, look: CheckContext) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check(look)
    except TimeoutError:
        fix = "SELECT pid, now() - xact_start, query FROM pg_stat_activity ORDER BY xact_start, then end what blocks it"
        return [
            warning(name, f"could not be looked at within {CHECK_SECONDS:g} s: a lock, or a server under load", fix)
        ]
    except StatementError as problem:
        fix = f"GRANT ragledger_ingest TO {look.role}" if problem.sqlstate == "42501" else UP
        return [Finding(name, Severity.ERROR, f"could not be looked at: {problem}", fix)]
