"""Compares a day with the queries that define it (Phase 2 Database Schema Review, Queries 1 to 3)."""

import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from tests.support.producers import random_uuid
from tests.support.service import Environment

QUERIES = """
    SELECT
        AVG(CASE WHEN citations IS NOT NULL AND jsonb_array_length(citations) > 0
            THEN 100.0 ELSE 0.0 END)::numeric(5,2) AS citation_rate,
        coalesce(SUM(CASE WHEN citations IS NOT NULL
            THEN jsonb_array_length(citations) ELSE 0 END), 0) AS citation_count,
        COUNT(DISTINCT user_id) AS unique_users,
        COUNT(*) AS total_dialogues,
        coalesce(SUM(token_cost_jpy), 0) AS total_cost,
        round(AVG(token_cost_jpy), 2) AS cost_per_answer,
        coalesce(SUM(prompt_tokens), 0) AS prompt_tokens,
        coalesce(SUM(completion_tokens), 0) AS completion_tokens,
        coalesce(SUM(total_tokens), 0) AS total_tokens,
        round(AVG(relevance_score), 2) AS avg_relevance_score,
        COUNT(*) FILTER (WHERE user_feedback = 1) AS feedback_positive,
        COUNT(*) FILTER (WHERE user_feedback = 0) AS feedback_neutral,
        COUNT(*) FILTER (WHERE user_feedback = -1) AS feedback_negative
    FROM ai_dialogue_log
    WHERE created_at >= %s AND created_at < %s
"""
PERCENTILES = """
    SELECT
        PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY latency_ms) AS latency_p50,
        PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY latency_ms) AS latency_p95,
        PERCENTILE_CONT(0.99) WITHIN GROUP (ORDER BY latency_ms) AS latency_p99
    FROM ai_dialogue_log
    WHERE created_at >= %s AND created_at < %s AND latency_ms IS NOT NULL
"""
INSERT = """
    INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at, citations,
        latency_ms, token_cost_jpy, prompt_tokens, completion_tokens, total_tokens, relevance_score, user_feedback)
    VALUES (%s, %s, gen_random_uuid(), 'q', 'r', 'm', %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


def bounds(day: date, zone: str) -> tuple[datetime, datetime]:
    """Return the first moment of the day and of the next one, in UTC as in the columns."""
    begins, ends = (
        datetime(moment.year, moment.month, moment.day, tzinfo=ZoneInfo(zone)).astimezone(UTC).replace(tzinfo=None)
        for moment in (day, day + timedelta(days=1))
    )
    return begins, ends


def at_the_edges(day: date, zone: str) -> list[datetime]:
    """Return moments inside and just outside the day, down to the microsecond."""
    begins, ends = bounds(day, zone)
    tick = timedelta(microseconds=1)
    return [begins - tick, begins, begins + (ends - begins) / 3, ends - tick, ends]


def insert_dialogues(environment: Environment, moments: Iterable[datetime], seed: int) -> None:
    """Insert one row for each moment, with random figures, some of them missing."""
    chance = random.Random(seed)
    with psycopg.connect(environment.dsn, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executemany(INSERT, [_figures(chance, moment) for moment in moments])


def _figures(chance: random.Random, moment: datetime) -> tuple[Any, ...]:
    citations = chance.choice([None, [], [{"source": "a"}], [{"source": "a"}, {"source": "b"}]])
    prompt, completion = chance.randint(0, 4000), chance.randint(0, 900)
    return (
        random_uuid(chance),
        UUID(int=chance.randint(1, 5)),
        moment,
        None if citations is None else Jsonb(citations),
        chance.choice([None, chance.randint(0, 9000)]),
        chance.choice([None, chance.randint(0, 99999) / 100]),
        prompt,
        completion,
        prompt + completion,
        chance.choice([None, chance.randint(0, 100) / 100]),
        chance.choice([None, -1, 0, 1]),
    )


def history(environment: Environment, day: date) -> DictRow:
    """Return the day's only row."""
    [row] = environment.query("SELECT * FROM rag_metrics_history WHERE date = %s::date::timestamp", day)
    return row


def assert_day_equals_queries(
    environment: Environment, day: date, zone: str = "UTC", *, between: tuple[datetime, datetime] | None = None
) -> DictRow:
    """Compare the day's row with the queries over the rows. Return the row."""
    row = history(environment, day)
    span = between or bounds(day, zone)
    [figures], [percentiles] = (environment.query(sql, *span) for sql in (QUERIES, PERCENTILES))
    wanted = figures | percentiles
    differing = {name: (row[name], wanted[name]) for name in wanted if row[name] != wanted[name]}
    assert differing == {}, f"{day} in {zone}, stored and computed: {differing}"
    return row
