"""`rollup`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer

from consumer.cli.database import opened_database
from consumer.cli.output import Exit, Json, WrongUse, command, err, print_json, print_table, progress
from consumer.cli.signals import stop_on_signals
from consumer.ingest import slo
from consumer.ingest.ports import Cause, Unavailable
from consumer.ingest.rollup_basis import Basis
from consumer.postgres.history import PostgresHistory
from consumer.settings.loading import load
from consumer.settings.model import Settings
from consumer.settings.process import owner_name

TITLES = {
    "total_dialogues": "dialogues",
    "unique_users": "users",
    "citation_rate": "cited %",
    "latency_p95": "p95 ms",
    "total_cost": "cost JPY",
    "citation_count": "citations",
    "latency_p50": "p50 ms",
    "latency_p99": "p99 ms",
    "cost_per_answer": "JPY an answer",
    "total_tokens": "tokens",
    "avg_relevance_score": "relevance",
    "feedback_positive": "liked",
    "feedback_neutral": "neutral",
    "feedback_negative": "disliked",
}
FIGURES = tuple(TITLES)
SHORT = 5
DAYS_ACROSS = 4
PATIENCE = 5


@command
async def rollup(
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="One day.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day of a range.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day of the range.")] = None,
    as_json: Json = False,
) -> Exit:
    """Compute days of rag_metrics_history now, from their rows."""
    chosen = _days(day, since, until)
    settings = load()
    rows = await _compute(settings, chosen)
    if as_json:
        print_json(rows)
    else:
        print_days(rows)
    if len(rows) == len(chosen):
        return Exit.DONE
    left = f"--since {chosen[len(rows)]} --until {chosen[-1]}"
    err.print(f"Interrupted: {len(rows)} of {len(chosen)} days are computed. For the others: ragledger rollup {left}")
    return Exit.FAILED


def _days(day: datetime | None, since: datetime | None, until: datetime | None) -> Sequence[date]:
    if day is not None and since is None and until is None:
        return [day.date()]
    if day is not None or since is None or until is None:
        raise WrongUse("give either --day D, or both --since D and --until D")
    if until < since:
        raise WrongUse("--until is before --since")
    return [since.date() + timedelta(days=number) for number in range((until - since).days + 1)]


async def _compute(settings: Settings, days: Sequence[date]) -> list[Mapping[str, Any]]:
    """Compute and commit each day. Return the rows; fewer if a signal came."""
    basis = Basis(settings.rollup.timezone, slo.load(settings.slo.file))
    async with opened_database(settings) as database:
        history = PostgresHistory(database, basis, owner_name())
        rows = await _roll_up(history, days, stop_on_signals())
        difference = await history.difference()
    if difference:
        err.print(f"In the service, {difference}: it will compute these days again.", markup=False)
    return rows


async def _roll_up(history: PostgresHistory, days: Sequence[date], stop: asyncio.Event) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = []
    with progress() as bar:
        task = bar.add_task("days", total=len(days))
        for day in days:
            if stop.is_set():
                break
            rows.append(await _patiently(history, day))
            bar.advance(task)
    return rows


async def _patiently(history: PostgresHistory, day: date) -> Mapping[str, Any]:
    """Retry while another session computes the day. If that session belongs to a frozen replica, PostgreSQL ends it."""
    for _ in range(PATIENCE):
        try:
            return await history.roll_up(day)
        except Unavailable as error:
            if error.cause is not Cause.LOCK:
                raise
    return await history.roll_up(day)


def print_days(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print days of rag_metrics_history: as columns if they are few, otherwise as lines."""
    if len(rows) <= DAYS_ACROSS:
        across = [(TITLES[name], *(row[name] for row in rows)) for name in FIGURES]
        print_table("Days", ("", *(f"{row['date']:%Y-%m-%d}" for row in rows)), across)
        return
    down = [(f"{row['date']:%Y-%m-%d}", *(row[name] for name in FIGURES[:SHORT])) for row in rows]
    print_table("Days", ("date", *(TITLES[name] for name in FIGURES[:SHORT])), down)
