"""`rollup`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import typer

from consumer import slo
from consumer.adapters.history import PostgresHistory
from consumer.commands.database import opened_database
from consumer.commands.output import Json, WrongUse, command, print_json, print_table, progress
from consumer.settings import Settings, load

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


def rollup(
    day: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="One day.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The first day of a range.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The last day of it.")] = None,
    as_json: Json = False,
) -> None:
    """Compute days of rag_metrics_history now, exactly, from the rows."""
    _rollup(day, since, until, as_json)


@command
async def _rollup(day: datetime | None, since: datetime | None, until: datetime | None, as_json: bool) -> None:
    chosen = _days(day, since, until)
    settings = load()
    rows = await _compute(settings, chosen)
    if as_json:
        print_json(rows)
    else:
        print_days(rows)


def _days(day: datetime | None, since: datetime | None, until: datetime | None) -> Sequence[date]:
    if day is not None and since is None and until is None:
        return [day.date()]
    if day is not None or since is None or until is None:
        raise WrongUse("give either --day D, or both --since D and --until D")
    if until < since:
        raise WrongUse("--until lies before --since")
    return [since.date() + timedelta(days=number) for number in range((until - since).days + 1)]


async def _compute(settings: Settings, days: Sequence[date]) -> list[Mapping[str, Any]]:
    rows = []
    async with opened_database(settings) as database:
        history = PostgresHistory(database, settings.rollup.timezone, slo.load(settings.slo.file))
        with progress() as bar:
            task = bar.add_task("days", total=len(days))
            for day in days:
                rows.append(await history.roll_up(day))
                bar.advance(task)
    return rows


def print_days(rows: Sequence[Mapping[str, Any]]) -> None:
    """Days of rag_metrics_history for people: a column a day where there are few, else a line a day."""
    if len(rows) <= DAYS_ACROSS:
        across = [(TITLES[name], *(row[name] for row in rows)) for name in FIGURES]
        print_table("Days", ("", *(f"{row['date']:%Y-%m-%d}" for row in rows)), across)
        return
    down = [(f"{row['date']:%Y-%m-%d}", *(row[name] for name in FIGURES[:SHORT])) for row in rows]
    print_table("Days", ("date", *(TITLES[name] for name in FIGURES[:SHORT])), down)
