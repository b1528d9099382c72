"""Generates the events, and the same rows in PostgreSQL's text COPY format.

The events come from ragledger's generator. This module writes each row from the generator's values, without ragledger's
decoder, and PostgreSQL rounds the numbers. So the benchmark can check that ragledger writes equal tables. The same seed
gives the same events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from consumer import generator
from consumer.generator.members import LICENSES

DIALOGUE_TABLE = "ai_dialogue_log"
PROVENANCE_TABLE = "provenance"
TABLES: Mapping[str, str] = {"dialogue": DIALOGUE_TABLE, "provenance": PROVENANCE_TABLE}
COLUMNS: Mapping[str, Sequence[str]] = {
    DIALOGUE_TABLE: (
        *("id", "user_id", "session_id", "query", "response", "model_used", "created_at", "citations"),
        *("latency_ms", "token_cost_jpy", "citation_rate", "prompt_tokens", "completion_tokens", "total_tokens"),
        *("relevance_score", "user_feedback", "context_window_size", "temperature"),
    ),
    PROVENANCE_TABLE: (
        *("id", "content_id", "content_type", "source_uri", "license_type", "acquisition_method", "acquired_at"),
        *("retention_years", "acquired_by", "external_share_consent", "permission_flag", "last_verified_at"),
        "access_policy",
    ),
}
JSON_COLUMNS = frozenset({"citations", "access_policy"})
INTEGER_COLUMNS = frozenset(
    {"latency_ms", "prompt_tokens", "completion_tokens", "total_tokens", "user_feedback", "context_window_size"}
    | {"retention_years"}
)
DECIMAL_COLUMNS = frozenset({"token_cost_jpy", "citation_rate", "relevance_score", "temperature"})
TIME_COLUMNS = frozenset({"created_at", "acquired_at"})
# The share of feedback is small: it changes existing rows, and must not slow the other events much.
SHARES: Mapping[str, float] = {"dialogue": 0.6, "provenance": 0.32, "feedback": 0.08}
DIALOGUES: Mapping[str, float] = {"dialogue": 1.0}


class Event(NamedTuple):
    """One event.

    :param kind: the kind's name
    :param id: the id of the event's row, or of the dialogue that the feedback is about
    :param value: the value of the record
    :param timestamp_ms: the timestamp of the record
    :param row: the expected row, by column; None if the event has no row of its own
    :param verdict: the feedback that the dialogue must have in the end; None if the event is not feedback
    """

    kind: str
    id: str
    value: bytes
    timestamp_ms: int
    row: Mapping[str, Any] | None = None
    verdict: int | None = None

    @property
    def line(self) -> str:
        """The row as a line of a COPY file."""
        assert self.row is not None
        return "\t".join(_copy_text(self.row.get(column)) for column in COLUMNS[TABLES[self.kind]])


def events(count: int, seed: int, shares: Mapping[str, float] = SHARES) -> Iterator[Event]:
    """`count` events of the mixture, in the order of their ids. A dialogue has at most one verdict."""
    judged: set[str] = set()
    for event in generator.events(count, seed, shares=shares):
        if event.kind == "feedback":
            id = event.members["dialogue_id"]
            if id not in judged:
                judged.add(id)
                yield _verdict(event)
        else:
            yield Event(
                event.kind,
                event.members["id"],
                event.value,
                event.timestamp_ms,
                None if event.is_repeated else _row(event),
            )


def _verdict(event: generator.Event) -> Event:
    members = event.members
    return Event(event.kind, members["dialogue_id"], event.value, event.timestamp_ms, verdict=members["user_feedback"])


def _row(event: generator.Event) -> dict[str, Any]:
    """The members as the table stores them. Decimals stay as the producer wrote them, and PostgreSQL rounds them."""
    row = {name: _stored(name, value) for name, value in event.members.items() if value is not None}
    if event.kind == "dialogue":
        row.setdefault("created_at", datetime.fromtimestamp(event.timestamp_ms / 1000, UTC))
        if "prompt_tokens" in row:
            row["total_tokens"] = row["prompt_tokens"] + row["completion_tokens"]
    return row


def _stored(name: str, value: Any) -> Any:
    if name in INTEGER_COLUMNS:
        return int(Decimal(str(value)).quantize(Decimal(1), ROUND_HALF_UP))
    if name in TIME_COLUMNS:
        return datetime.fromisoformat(value).astimezone(UTC)
    return LICENSES[value] if name == "license_type" else value


def _copy_text(value: Any) -> str:
    r"""A field of the text format: \N for NULL, backslash sequences for characters that would end the field or line."""
    if value is None:
        return r"\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
