"""Dialogues and dead letters of many days, with everything that belongs to them, for tests of retention."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from consumer.maintenance.table_partitions import convert
from tests.support.psql import execute, rows, value
from tests.support.service import Environment

HELD, OTHER = UUID(int=0xA11CE), UUID(int=0xB0B)
DAYS = 100
KEEP = 30
EVERY = 8
# A dialogue every eight hours of a hundred days; every seventh is of another user. Each has a verdict, a cost, a trace
# with a span and a mark.
FILL = f"""
WITH said AS (
    INSERT INTO ai_dialogue_log
        (id, user_id, session_id, query, response, model_used, created_at, latency_ms, token_cost_jpy)
    SELECT gen_random_uuid(), CASE WHEN n % 7 = 0 THEN '{HELD}' ELSE '{OTHER}' END::uuid, gen_random_uuid(), 'q', 'r',
           'm', date_trunc('day', now() AT TIME ZONE 'UTC') - interval '1 minute' - n * interval '{EVERY} hours', n, 0.2
    FROM generate_series(0, {DAYS * 24 // EVERY - 1}) AS n
    RETURNING id, user_id, created_at
),
feedback AS (
    INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at, applied_at)
    SELECT id, 1, created_at + interval '1 second', now() FROM said
),
costs AS (
    INSERT INTO dialogue_costs (dialogue_id, created_at, source, price_version)
    SELECT id, created_at, 'computed', 'p' FROM said
),
traces AS (
    INSERT INTO dialogue_traces (dialogue_id, trace_id, user_id, created_at, spans, model_calls, retrievals, tool_calls,
        embeddings, errors, mapping, content_hash)
    SELECT id, replace(id::text, '-', ''), user_id, created_at, 1, 1, 0, 0, 0, 0, 1, 'x' FROM said
),
marks AS (
    INSERT INTO touched_traces (trace_id, has_root) SELECT id, true FROM said
)
INSERT INTO staged_spans (id, trace_id, is_log, is_outline, resource, content)
SELECT gen_random_uuid(), id, false, false, 'r', 'c' FROM said
"""
BELONGINGS = {
    "kept_feedback": "dialogue_id",
    "dialogue_costs": "dialogue_id",
    "dialogue_traces": "dialogue_id",
    "staged_spans": "trace_id",
    "touched_traces": "trace_id",
}
HISTORY = """
SELECT to_jsonb(history) - '{id,created_at,computed_at}'::text[] AS row
FROM rag_metrics_history AS history
ORDER BY date
"""
LETTER = """
INSERT INTO dead_letters
    (topic, partition, record_offset, record_timestamp, reason, value, dead_lettered_at, replayed_at, discarded_at)
SELECT 't', {partition}, n, now(), 'not_json', '{value}', now() - interval '{age}', {replayed}, {discarded}
FROM generate_series(1, {count}) AS n
"""


def fill(dsn: str, *, months: bool = False) -> None:
    """Insert the dialogues; with `months`, into a table with monthly partitions."""
    execute(dsn, FILL)
    if months:
        asyncio.run(convert(dsn, months_ahead=1))


def midnight(days_ago: int = KEEP) -> datetime:
    """Return the beginning of a day, naive UTC."""
    return datetime.combine(datetime.now(UTC).date() - timedelta(days=days_ago), time.min)


def month_begin(moment: datetime) -> datetime:
    """Return the beginning of its month."""
    return datetime.combine(moment.date().replace(day=1), time.min)


def expired(*, months: bool) -> tuple[str, date]:
    """Return the condition for expired dialogues, and the first day that is not final."""
    before = month_begin(midnight()) if months else midnight()
    return f"created_at < '{before}'", before.date()


def roll_up_all(environment: Environment) -> None:
    """Compute every day."""
    done = environment.run("rollup", "--since", str(midnight(DAYS).date()), "--until", str(midnight(0).date()))
    assert done.returncode == 0, done.stderr


def dialogues(dsn: str, where: str = "true") -> set[UUID]:
    """Return the ids of dialogues."""
    return {row["id"] for row in rows(dsn, f"SELECT id FROM ai_dialogue_log WHERE {where}")}


def assert_nothing_belongs_to(dsn: str, gone: set[UUID], stays: set[UUID]) -> None:
    """Assert that other tables have rows of exactly the dialogues that stay."""
    for table, column in BELONGINGS.items():
        assert {row["id"] for row in rows(dsn, f"SELECT {column} AS id FROM {table}")} == stays, table
    if value(dsn, "SELECT relkind = 'p' FROM pg_class WHERE oid = 'ai_dialogue_log'::regclass"):
        assert {row["id"] for row in rows(dsn, "SELECT id FROM known_ids")} == stays
    assert not gone & stays


def history(environment: Environment, before: date | None = None) -> list[dict[str, Any]]:
    """Return the daily rows before a day, without the time of their computation."""
    limit = f"{before or date.max}"
    return [row["row"] for row in environment.query(HISTORY) if row["row"]["date"][:10] < limit]


def letters(dsn: str, count: int, age: str, state: str = "open", text: str = "x", partition: int = 0) -> None:
    """Insert dead letters of an age: open, replayed or discarded."""
    settled = {name: "now()" if state == name else "NULL" for name in ("replayed", "discarded")}
    execute(dsn, LETTER.format(count=count, age=age, value=text, partition=partition, **settled))


def hold(dsn: str, user: UUID | None = None, until: str = "NULL") -> None:
    """Place a legal hold: on a user or on all, until a moment (an SQL expression) or without end."""
    subject = "NULL" if user is None else f"'{user}'"
    execute(dsn, f"INSERT INTO legal_holds (user_id, held_until, matter) VALUES ({subject}, {until}, '2026-17')")
