"""Dialogues of three months that tests archive and restore."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions import (
    FORMATS,
    Archived,
    FormatName,
    Place,
    Restored,
    archive,
    place_of,
    restore,
)
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load
from tests.support.psql import execute


class Interrupted(Exception):
    """Ends the work."""


TOKYO = "Asia/Tokyo"
# Three months with a row for every hour, with uncommon texts and missing values that CSV could damage.
HOURLY = """
INSERT INTO ai_dialogue_log
    (user_id, session_id, query, response, model_used, created_at, citations, token_cost_jpy, user_feedback)
SELECT gen_random_uuid(), gen_random_uuid(), CASE WHEN n % 2 = 0 THEN '' ELSE E'a "quoted",\r\nline\\N' || n END,
       E'\\x' || chr(8364) || n, 'NULL', timestamp '2026-01-01' + n * interval '1 hour',
       CASE WHEN n % 3 = 0 THEN '[{"source": "s, \\"t\\""}]'::jsonb END, n / 100.0, nullif(n % 4 - 1, 2)
FROM generate_series(0, 24 * 90 - 1) AS n
"""
COUNT = "SELECT count(*) FROM ai_dialogue_log"


def roll_up(dsn: str, zone: str = "UTC") -> None:
    """Give every day a row that differs from a computed one, and remove the marks."""
    execute(
        dsn,
        "INSERT INTO rag_metrics_history (date, total_dialogues, unique_users)"
        f" SELECT DISTINCT (created_at AT TIME ZONE 'UTC' AT TIME ZONE '{zone}')::date, 4711, 4711"
        " FROM ai_dialogue_log",
        "DELETE FROM touched_days",
    )


def archived(
    dsn: str,
    directory: Path | Place,
    before: str = "2026-03-01",
    zone: str = "UTC",
    keys: Sequence[Key] = (),
    file_format: FormatName = FormatName.CSV,
) -> list[Archived]:
    """Archive the months before a date."""
    work = archive(
        dsn,
        before=date.fromisoformat(before),
        place=place_of(directory, directory) if isinstance(directory, Path) else directory,
        timezone=zone,
        on_progress=lambda *_: None,
        file_format=FORMATS[file_format],
        keys=keys,
    )
    return list(asyncio.run(work))


def restored(dsn: str, manifest: str | Path, zone: str = "UTC") -> Restored:
    """Restore a month."""
    return asyncio.run(restore(dsn, manifest=manifest, timezone=zone))


def archive_at(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """Set the time of archiving, UTC."""
    module = sys.modules["consumer.maintenance.table_partitions.archive"]
    now, then = "now() AT TIME ZONE 'UTC'", f"timestamp '{moment}'"
    monkeypatch.setattr(module, "load", lambda name: load(name).replace(now, then))


def interrupt(monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """End the connection at a statement."""
    name = statement if statement == "copy_out" else "execute"
    real: Callable[..., Any] = getattr(AdminConnection, name)

    async def interrupted(self: AdminConnection, sql: str, *arguments: Any, **options: Any) -> Any:
        if statement in ("copy_out", sql[: len(statement)]):
            raise Interrupted
        return await real(self, sql, *arguments, **options)

    monkeypatch.setattr(AdminConnection, name, interrupted)
