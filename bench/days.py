"""Measures the roll-up of a day with many dialogues: `python -m bench.days`.

It fills one day, and measures PostgreSQL's CPU for the roll-up from all rows, for the first one from buckets, and for
one after 10,000 more dialogues; and the size of the buckets as a share of the dialogues. A day from its buckets must
have the same figures as the day from its rows.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import psycopg
import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from bench import usage
from bench.errors import BenchError
from bench.servers import POSTGRES_SETTINGS
from consumer.admin import migrate
from consumer.decode.copy_format import microseconds
from consumer.devstack import PostgresServer, Workspace
from consumer.ingest.days import BusinessDays
from consumer.ingest.rollup_basis import Basis
from consumer.ingest.slo import DEFAULT_OBJECTIVES
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.settings.servers import Postgres

SIZES = "100000,1000000,10000000"
NEW, IN_A_TRANSACTION = 10_000, 5_000
DAY = date(2026, 1, 10)
_BEGINS = datetime(DAY.year, DAY.month, DAY.day)  # noqa: DTZ001 - naive UTC, as the column is
_STEP = 250_000
# A row has about 1.9 kB. A user asks four questions one after the other; latencies are log-normal.
_FILL = """
INSERT INTO ai_dialogue_log (
    user_id, session_id, query, response, model_used, created_at, ingested_at, citations, latency_ms, token_cost_jpy,
    prompt_tokens, completion_tokens, total_tokens, relevance_score, user_feedback
)
SELECT
    md5('user' || n / 4 * 7919 % {users})::uuid,
    md5('session' || n / 4)::uuid,
    'question ' || n,
    'answer ' || n || repeat(md5(n::text), 48),
    'gpt-5-mini',
    moment,
    moment + (60 + n * 31 % 400) * interval '1 millisecond',
    CASE WHEN n % 4 > 0 THEN jsonb_build_array(jsonb_build_object('source', 'https://library.example/' || n % 400)) END,
    (exp(6.5 + random_normal(0, 0.6)))::int,
    (n % 500) / 100.0,
    200 + n % 4000,
    50 + n % 900,
    250 + n % 4000 + n % 900,
    (n % 101) / 100.0,
    CASE n % 9 WHEN 0 THEN -1 WHEN 1 THEN 0 WHEN 2 THEN 1 END
FROM (
    SELECT n, timestamp '{begins}' + n * interval '{microseconds} microseconds' AS moment
    FROM generate_series({first}, {last}) AS n
) AS numbered
"""
_SIZES = """
SELECT pg_total_relation_size('rollup_buckets')::float8 / pg_total_relation_size('ai_dialogue_log')
"""
_FIGURES = "SELECT to_jsonb(history) - 'computed_at' FROM rag_metrics_history AS history WHERE date = %s"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a day costs, in seconds of PostgreSQL's CPU.

    :param share: size of the buckets as a share of the dialogues
    """

    dialogues: int
    from_rows: float
    first_from_buckets: float
    after_new: float
    share: float


class _LargeDay:
    """One day with many dialogues, spread evenly over 95 % of it."""

    def __init__(self, postgres: PostgresServer, size: int) -> None:
        self._postgres, self._size = postgres, size
        self._between = timedelta(hours=22.8) // timedelta(microseconds=1) // size

    def fill(self) -> None:
        """Insert all dialogues, in two sessions at a time."""
        steps = [(first, min(first + _STEP, self._size) - 1) for first in range(0, self._size, _STEP)]
        with ThreadPoolExecutor(2) as sessions:
            list(sessions.map(lambda step: self._insert(*step), steps))
        with psycopg.connect(self._postgres.dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE ai_dialogue_log")

    def _insert(self, first: int, last: int) -> None:
        """Insert dialogues and mark their buckets, as the service does."""
        moments = [microseconds(_BEGINS) + number * self._between for number in range(first, last + 1)]
        days, buckets = BusinessDays("UTC").touched_by(moments)
        fill = _FILL.format(first=first, last=last, begins=_BEGINS, microseconds=self._between, users=self._size // 10)
        with psycopg.connect(self._postgres.dsn) as connection:
            connection.execute(fill.encode())
            connection.execute(
                "INSERT INTO touched_days (day, bucket) SELECT * FROM unnest(%s::date[], %s::timestamp[])",
                (list(days), list(buckets)),
            )

    def add(self) -> None:
        """Insert the new dialogues, which follow in time."""
        for first in range(self._size, self._size + NEW, IN_A_TRANSACTION):
            self._insert(first, first + IN_A_TRANSACTION - 1)

    async def measure(self) -> Measured:
        """Roll the day up several times.

        :raises BenchError: the figures from buckets are not those from the rows
        """
        database = Database(Postgres(dsn=SecretStr(self._postgres.dsn)))
        await database.open()
        try:
            history = PostgresHistory(database, Basis("UTC", DEFAULT_OBJECTIVES), "bench")
            await history.begin()
            from_rows, of_rows = await self._roll_up(history), self._figures()
            first = await self._roll_up(history)
            self._demand_figures(of_rows)
            share = self._ask(_SIZES)
            self.add()
            after_new, changed = await self._roll_up(history), self._figures()
            await history.roll_up(DAY)
            self._demand_figures(changed)
        finally:
            await database.close(5)
        return Measured(self._size, from_rows, first, after_new, share)

    async def _roll_up(self, history: PostgresHistory) -> float:
        """Return the CPU of PostgreSQL, in seconds."""
        before = usage.family_cpu_seconds(self._postgres.pid)
        if not await history.roll_up_due(DAY, 0):
            raise BenchError("the day was not rolled up")
        return usage.family_cpu_seconds(self._postgres.pid) - before

    def _ask(self, query: str, *values: Any) -> Any:
        with psycopg.connect(self._postgres.dsn) as connection:
            row = connection.execute(query.encode(), values or None).fetchone()
        return row and row[0]

    def _demand_figures(self, wanted: Any) -> None:
        if self._figures() != wanted:
            raise BenchError(f"the day from its buckets is {self._figures()}, from its rows {wanted}")

    def _figures(self) -> Any:
        return self._ask(_FIGURES, DAY)


def measure(size: int) -> Measured:
    """Fill a day of a new database, and measure it."""
    with Workspace() as workspace:
        postgres = PostgresServer(workspace, settings=POSTGRES_SETTINGS)
        postgres.start()
        asyncio.run(migrate.up(postgres.dsn))
        day = _LargeDay(postgres, size)
        day.fill()
        return asyncio.run(day.measure())


def main(
    sizes: Annotated[str, typer.Option(help="Numbers of dialogues of the day; at least 60,000.")] = SIZES,
) -> None:
    """Measure days of several sizes, and print a table. With the defaults it needs 25 GB of disk."""
    err, out = Console(stderr=True, highlight=False), Console(highlight=False)
    table = Table("dialogues", "from rows, s", "first from buckets, s", f"after {NEW:,} more, s", "size of buckets, %")
    for size in map(int, sizes.split(",")):
        err.print(f"filling a day with {size:,} dialogues", style="dim")
        found = measure(size)
        seconds = (found.from_rows, found.first_from_buckets, found.after_new)
        table.add_row(f"{size:,}", *(f"{one:.2f}" for one in seconds), f"{100 * found.share:.2f}")
    out.print(table)


if __name__ == "__main__":
    typer.run(main)
