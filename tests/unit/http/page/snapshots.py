"""Snapshots for tests of the page."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from consumer.events.record import Partition
from consumer.http.page.snapshot import DeadLetters, Reading, Snapshot
from consumer.ingest.slo import DEFAULT_OBJECTIVES, judge

NOW = datetime(2026, 1, 31, 14, 3, 5, tzinfo=UTC)
TODAY = date(2026, 1, 31)


def judged(figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the compliance of a day with these figures, as the database returns it."""
    verdicts = judge(DEFAULT_OBJECTIVES, figures)
    return {name: {**one, **{key: _number(one[key]) for key in ("target", "actual")}} for name, one in verdicts.items()}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def day(chance: random.Random, back: int, **changes: Any) -> Mapping[str, Any]:
    """Return the row of a day so many days ago."""
    dialogues = round(chance.uniform(9_000, 21_000))
    p50 = chance.uniform(700, 1100)
    figures: dict[str, Any] = {
        "day": TODAY - timedelta(days=back),
        "total_dialogues": dialogues,
        "unique_users": round(dialogues * chance.uniform(0.1, 0.2)),
        "citation_rate": Decimal(round(chance.uniform(6600, 8400))) / 100,
        "latency_p50": p50,
        "latency_p95": p50 * chance.uniform(2.0, 3.2),
        "latency_p99": p50 * chance.uniform(3.5, 5.0),
        "total_cost": Decimal(round(dialogues * chance.uniform(70, 120))) / 100,
        "cost_per_answer": Decimal(round(chance.uniform(70, 120))) / 100,
        "computed_at": NOW.replace(tzinfo=None),
    }
    unseen = {
        "feedback_positive": 900,
        "feedback_neutral": 80,
        "feedback_negative": chance.randint(40, 115) if chance.random() > 0.1 else 0,
        "ingest_delay_p95": chance.choice((2.4, 3.1, 8.75, 41.0, 130.0)),
    }
    return {**figures, "slo_compliance": judged(figures | unseen), **changes}


def reading(number: int, topic: str = "rag.dialogue", **changes: Any) -> Reading:
    """Return the progress of a partition."""
    figures: dict[str, Any] = {"rate": 812.4, "lag": 0, **changes}
    at = NOW - timedelta(seconds=number)
    return Reading(Partition(topic, number), 120_000 + number, 119_000, "ragledger-6f7d-x2x:1", at, **figures)


def snapshot(seed: int = 1, **changes: Any) -> Snapshot:
    """Return a snapshot with a month of days and a gap, six partitions and some dead letters."""
    chance = random.Random(seed)
    made: dict[str, Any] = {
        "taken_at": NOW,
        "today": TODAY,
        "timezone": "Asia/Tokyo",
        "days": [day(chance, back) for back in range(30) if back not in (8, 9)],
        "partitions": [reading(number, topic) for topic in ("rag.dialogue", "rag.provenance") for number in range(3)],
        "dead_letters": [
            DeadLetters("rag.dialogue", "invalid_field", 17, NOW - timedelta(hours=5), NOW - timedelta(seconds=40)),
            DeadLetters("rag.provenance", "tombstone", 3, NOW - timedelta(days=2), NOW - timedelta(hours=2)),
        ],
        **changes,
    }
    return Snapshot(**made)
