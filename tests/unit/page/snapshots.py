"""Snapshots to make pages of."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from consumer.adapters.page.snapshot import DeadLetters, Reading, Snapshot
from consumer.events.record import Partition

NOW = datetime(2026, 1, 31, 14, 3, 5, tzinfo=UTC)
TODAY = date(2026, 1, 31)
TARGETS = {
    "citation_rate": (">", 70.0),
    "latency_p95": ("<=", 3000.0),
    "cost_per_answer": ("<=", 10.0),
    "negative_feedback": ("<=", 10.0),
    "freshness": ("<=", 60.0),
}


def judged(chance: random.Random, name: str) -> Mapping[str, Any]:
    """A verdict: mostly met, at times missed, at times without data."""
    operator, target = TARGETS[name]
    met = chance.choices((True, False, None), weights=(16, 3, 1))[0]
    share = chance.uniform(0.4, 0.9) if (met is True) == (operator == "<=") else chance.uniform(1.1, 1.4)
    return {
        "target": target,
        "operator": operator,
        "actual": None if met is None else round(target * share, 2),
        "met": met,
    }


def day(chance: random.Random, back: int, **changes: Any) -> Mapping[str, Any]:
    """A day so many days ago."""
    dialogues = round(chance.uniform(9_000, 21_000))
    p50 = chance.uniform(700, 1100)
    return {
        "day": TODAY - timedelta(days=back),
        "total_dialogues": dialogues,
        "unique_users": round(dialogues * chance.uniform(0.1, 0.2)),
        "citation_rate": Decimal(round(chance.uniform(6600, 8400))) / 100,
        "latency_p50": p50,
        "latency_p95": p50 * chance.uniform(2.0, 3.2),
        "latency_p99": p50 * chance.uniform(3.5, 5.0),
        "total_cost": Decimal(round(dialogues * chance.uniform(70, 120))) / 100,
        "cost_per_answer": Decimal(round(chance.uniform(70, 120))) / 100,
        "slo_compliance": {name: judged(chance, name) for name in TARGETS},
        "computed_at": NOW.replace(tzinfo=None),
        **changes,
    }


def reading(number: int, topic: str = "rag.dialogue", **changes: Any) -> Reading:
    """A partition."""
    figures: dict[str, Any] = {"rate": 812.4, "lag": 0, **changes}
    at = NOW - timedelta(seconds=number)
    return Reading(Partition(topic, number), 120_000 + number, 119_000, "ragledger-6f7d-x2x:1", at, **figures)


def snapshot(seed: int = 1, **changes: Any) -> Snapshot:
    """A month of days with a gap in it, six partitions, some dead letters."""
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
