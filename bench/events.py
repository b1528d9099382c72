"""The events, and the very same rows in PostgreSQL's text COPY format.

The row is written here from the generator's own values, never through ragledger's decoder: that both end up equal in
the table is one of the things the benchmark checks. The same seed gives the same events.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from bench.words import Writer

DIALOGUE_TABLE = "ai_dialogue_log"
PROVENANCE_TABLE = "provenance"
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

_START = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
_MODELS = ("gpt-5-mini", "claude-haiku", "gemini-flash", "llama-4-scout", "mistral-large")
_CONTENT = ("material", "creation_log", "generated", "note_article", "ai_response")
_METHODS = ("api_fetch", "manual_upload", "ai_generated", "user_created", "system_import")
# As producers spell it, and the enum's value.
_LICENSES = (("cc0", "cc0"), ("CC-BY-4.0", "cc_by"), ("cc_by_sa", "cc_by_sa"), ("MIT", "mit"), ("unknown", "unknown"))
_USERS, _OPEN_SESSIONS = 500, 200


class Event(NamedTuple):
    """One event: where its row goes, its id, the record's value, and the row as a line of a COPY file."""

    table: str
    id: str
    value: bytes
    line: str


def events(count: int, provenance_share: float, seed: int) -> Iterator[Event]:
    """`count` events in the order of their ids, which grow with time."""
    source = _Source(random.Random(seed))  # noqa: S311 - samples, not secrets
    for _ in range(count):
        yield source.provenance() if source.chance.random() < provenance_share else source.dialogue()


class _Source:
    def __init__(self, chance: random.Random) -> None:
        self.chance, self._now, self._writer = chance, _START, Writer(chance)
        self._users = [self._random_id() for _ in range(_USERS)]
        self._sessions = [self._random_id() for _ in range(_OPEN_SESSIONS)]

    def dialogue(self) -> Event:
        chance, writer = self.chance, self._writer
        prompt, completion = chance.randint(200, 6000), chance.randint(50, 900)
        citations = [self._citation() for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 5)))]
        members: dict[str, Any] = {
            "id": self._next_id(),
            "user_id": chance.choice(self._users),
            "session_id": self._session(),
            "query": writer.question(),
            "response": writer.answer(),
            "model_used": chance.choice(_MODELS),
            "created_at": self._now.isoformat(timespec="milliseconds"),
            "citations": citations,
            "latency_ms": round(chance.lognormvariate(7.1, 0.5)),
            "token_cost_jpy": round((prompt * 0.02 + completion * 0.08) / 10, 2),
            "citation_rate": round(100 * len(citations) / 5, 2),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "relevance_score": round(chance.betavariate(8, 2), 2),
            "user_feedback": chance.choice((None, None, None, 1, 1, 0, -1)),
            "context_window_size": chance.choice((32_768, 128_000, 200_000)),
            "temperature": chance.choice((0.0, 0.2, 0.7)),
        }
        return _event(DIALOGUE_TABLE, members, {"total_tokens": prompt + completion})

    def provenance(self) -> Event:
        chance = self.chance
        spelt, stored = chance.choice(_LICENSES)
        members: dict[str, Any] = {
            "id": self._next_id(),
            "content_id": self._random_id(),
            "content_type": chance.choice(_CONTENT),
            "source_uri": self._writer.address(),
            "license_type": spelt,
            "acquisition_method": chance.choice(_METHODS),
            "acquired_at": self._now.isoformat(timespec="milliseconds"),
            "retention_years": chance.choice((None, 1, 3, 5, 10)),
            "acquired_by": chance.choice(self._users),
            "external_share_consent": chance.choice((True, False, None)),
            "permission_flag": chance.choice((True, True, False)),
            "access_policy": {"visibility": chance.choice(("public", "members")), "groups": ["staff", "archive"]},
        }
        return _event(PROVENANCE_TABLE, members, {"license_type": stored})

    def _citation(self) -> dict[str, Any]:
        return {
            "source": self._writer.address(),
            "title": self._writer.title(),
            "confidence": round(self.chance.betavariate(9, 2), 3),
            "timestamp": (self._now - timedelta(hours=self.chance.randint(1, 4000))).isoformat(),
        }

    def _session(self) -> str:
        """One of the conversations that are open now; each holds about four dialogues."""
        place = self.chance.randrange(_OPEN_SESSIONS)
        if self.chance.random() < 0.25:
            self._sessions[place] = self._random_id()
        return self._sessions[place]

    def _next_id(self) -> str:
        """Time-ordered (RFC 9562 §5.7), a moment after the one before."""
        self._now += timedelta(milliseconds=self.chance.randint(1, 600))
        milliseconds = int(self._now.timestamp() * 1000)
        return str(_uuid(milliseconds << 80 | self.chance.getrandbits(80), version=7))

    def _random_id(self) -> str:
        return str(_uuid(self.chance.getrandbits(128), version=4))


def _uuid(value: int, version: int) -> UUID:
    return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | version << 76 | 0x2 << 62)


def _event(table: str, members: Mapping[str, Any], stored: Mapping[str, Any]) -> Event:
    """:param stored: what the row says differently from the event."""
    row = {**members, **stored}
    line = "\t".join(_copy_text(row.get(column)) for column in COLUMNS[table])
    present = {name: value for name, value in members.items() if value is not None}
    return Event(table, members["id"], json.dumps(present, ensure_ascii=False).encode(), line)


def _copy_text(value: Any) -> str:
    r"""A field of the text format: \N for NULL, backslash sequences for what would end the field or the line."""
    if value is None:
        return r"\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
