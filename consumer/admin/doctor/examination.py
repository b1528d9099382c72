"""Runs every check with a time limit. A failing check does not stop the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from consumer.admin.doctor import connection, kafka
from consumer.admin.doctor.books import check_amendments, check_days, check_dead_letters, check_ledger
from consumer.admin.doctor.cluster import check_cluster
from consumer.admin.doctor.context import Brokers, CheckContext
from consumer.admin.doctor.copies import check_copies
from consumer.admin.doctor.findings import Finding, Report, Severity, error, report, warning
from consumer.admin.doctor.prices import check_prices
from consumer.admin.doctor.privileges import check_privileges
from consumer.admin.doctor.schema import UP, check_schema
from consumer.admin.doctor.server_settings import check_settings
from consumer.admin.doctor.statements import check_statements
from consumer.admin.doctor.storage import check_indexes, check_tables
from consumer.ingest.ports import SourceError
from consumer.kafka.admin import find_open_transactions, look_at_kafka
from consumer.kafka.tools import read_bounds
from consumer.postgres.admin import AdminConnection, ConnectError, ConnectionLostError, StatementError, connect
from consumer.postgres.login import Login
from consumer.postgres.queries import load
from consumer.settings.model import Settings

KAFKA_SECONDS = 15.0
CHECK_SECONDS = 10.0

Check = Callable[[CheckContext], Awaitable[Sequence[Finding]]]
ALWAYS: Sequence[tuple[str, Check]] = (
    ("postgresql", connection.check_server),
    ("settings", check_settings),
    ("migrations", check_schema),
)
ON_OUR_TABLES: Sequence[tuple[str, Check]] = (
    ("privileges", check_privileges),
    ("ledger", check_ledger),
    ("dead letters", check_dead_letters),
    ("amendments", check_amendments),
    ("roll-up", check_days),
    ("prices", check_prices),
    ("cluster", check_cluster),
    ("tables", check_tables),
    ("copies", check_copies),
    ("indexes", check_indexes),
    ("statements", check_statements),
)

OnProgress = Callable[[str], None]
"""Called with the name of each check before it begins."""


async def examine(settings: Settings, on_progress: OnProgress = lambda _: None) -> Report:
    """Run all checks. A check that cannot run becomes a finding too."""
    on_progress("kafka")
    found, brokers = await _kafka(settings)
    return report([*found, *await _postgres(settings, brokers, on_progress)])


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
    waiting = kafka.check_transactions(settings, brokers.bounds, open_now, time.time())
    leaderless = kafka.check_leaders(settings, brokers.bounds.unanswered)
    return [*kafka.check_topics(settings, facts), *leaderless, *waiting], brokers


async def _postgres(settings: Settings, brokers: Brokers | None, on_progress: OnProgress) -> list[Finding]:
    try:
        async with connect(Login(settings.postgres)) as db:
            return await _checks(db, settings, brokers, on_progress)
    except ConnectError as problem:
        return [connection.unreachable(str(problem))]


async def _checks(
    db: AdminConnection, settings: Settings, brokers: Brokers | None, on_progress: OnProgress
) -> list[Finding]:
    try:
        (row,) = await db.rows(load("doctor_server"))
        context = CheckContext(db, settings, brokers, row["database"], row["role"])
        found = await _run(context, ALWAYS, on_progress)
        missing = [one["name"] for one in await db.rows(load("doctor_missing_tables"))]
        if missing:
            return [*found, error("tables", f"missing: {', '.join(missing)}. The other checks cannot run", UP)]
        return [*found, *await _run(context, ON_OUR_TABLES, on_progress)]
    except ConnectionLostError as problem:
        return [connection.unreachable(str(problem))]


async def _run(context: CheckContext, checks: Sequence[tuple[str, Check]], on_progress: OnProgress) -> list[Finding]:
    found: list[Finding] = []
    for name, check in checks:
        on_progress(name)
        found += await _within_limits(name, check, context)
    return found


async def _within_limits(name: str, check: Check, context: CheckContext) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check(context)
    except TimeoutError:
        fix = "SELECT pid, now() - xact_start, query FROM pg_stat_activity ORDER BY xact_start, and end what blocks it"
        return [warning(name, f"could not be checked within {CHECK_SECONDS:g} s: a lock, or a server under load", fix)]
    except StatementError as problem:
        fix = f"GRANT ragledger_ingest TO {context.role}" if problem.sqlstate == "42501" else UP
        return [Finding(name, Severity.ERROR, f"could not be checked: {problem}", fix)]
