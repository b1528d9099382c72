"""Sample events of every kind for the demo: mostly good, some intentionally bad, some duplicates."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from consumer.kafka.tools import Message
from consumer.settings.model import Topics

_QUESTIONS = (
    "What does our retention policy say about interview recordings?",
    "Summarise the findings on soil moisture sensors from last spring.",
    "Which licences allow us to print the workshop photographs?",
    "How do I reset the kiln controller after a power cut?",
    "Who translated the third edition, and when?",
)
_SENTENCE = "The sources agree on the main point and differ in one figure, which the second one corrects. "
_MODELS = ("gpt-5-mini", "claude-haiku", "gemini-flash", "llama-4-scout")
_LICENSES = ("cc0", "CC-BY-4.0", "CC-BY-SA-4.0", "MIT", "Apache-2.0", "proprietary", "unknown")
_CONTENT = ("material", "creation_log", "generated", "note_article", "ai_response")
_METHODS = ("api_fetch", "manual_upload", "ai_generated", "user_created", "system_import")
_DIALOGUE_SHARE = 0.7
_AMENDS_EVERY = 7
_BAD_EVERY = 50
_DUPLICATE_EVERY = 40


class Fate(StrEnum):
    """The intended outcome of a sample."""

    GOOD = "good"
    AMENDS = "amends"
    TWICE = "twice"
    BAD = "bad"


class Sample(NamedTuple):
    """A record to publish, and its intended outcome."""

    message: Message
    fate: Fate


def samples(count: int, topics: Topics, now: datetime, seed: int) -> Iterator[Sample]:
    """Yield `count` records. The same seed and time give the same records.

    :param now: aware; the answers were given shortly before
    """
    source = _Generator(topics, now, random.Random(seed))  # noqa: S311 - samples, not secrets
    previous: Message | None = None
    for number in range(count):
        if number % _BAD_EVERY == _BAD_EVERY - 1:
            yield Sample(source.bad(number), Fate.BAD)
        elif number % _AMENDS_EVERY == _AMENDS_EVERY - 1 and previous is not None:
            yield Sample(source.amending(number), Fate.AMENDS)
        elif number % _DUPLICATE_EVERY == _DUPLICATE_EVERY - 1 and previous is not None:
            yield Sample(previous, Fate.TWICE)
        else:
            previous = source.good()
            yield Sample(previous, Fate.GOOD)


class _Generator:
    def __init__(self, topics: Topics, now: datetime, chance: random.Random) -> None:
        self._topics, self._now, self._chance = topics, now, chance
        self._users = [self._uuid() for _ in range(200)]
        self._seen: dict[str, deque[str]] = {topic: deque(maxlen=200) for topic in (topics.dialogue, topics.provenance)}
        # Few kinds of bad samples, so that the table of dead letters in the demo stays short.
        self._bad_ways = (
            self._not_json,
            self._missing_field,
            self._invalid_field,
            self._nul_character,
            self._wrong_kind,
            self._tombstone,
        )

    def good(self) -> Message:
        message = self._dialogue() if self._chance.random() < _DIALOGUE_SHARE else self._provenance()
        self._seen[message.topic].append(json.loads(message.value or b"")["id"])
        return message

    def amending(self, number: int) -> Message:
        """Return feedback on a dialogue, a check of provenance or a report of a plugin; for some, the row
        never comes.
        """
        ways = (self._feedback, self._verification, self._feedback, self._plugin)
        return ways[number // _AMENDS_EVERY % len(ways)]()

    def bad(self, number: int) -> Message:
        return self._bad_ways[number // _BAD_EVERY % len(self._bad_ways)]()

    def _dialogue(self, **changes: Any) -> Message:
        return Message(self._topics.dialogue, _json(self._dialogue_members() | changes))

    def _dialogue_members(self) -> dict[str, Any]:
        chance = self._chance
        prompt, completion = chance.randint(200, 4000), chance.randint(50, 900)
        return {
            "id": str(self._uuid()),
            "user_id": str(chance.choice(self._users)),
            "session_id": str(self._uuid()),
            "query": chance.choice(_QUESTIONS),
            "response": _SENTENCE * chance.randint(2, 14),
            "model_used": chance.choice(_MODELS),
            "created_at": self._moment(20).isoformat(),
            "citations": [self._citation() for _ in range(chance.choice((0, 1, 1, 2, 3)))],
            "latency_ms": round(chance.lognormvariate(7.1, 0.5)),
            "token_cost_jpy": round((prompt * 0.02 + completion * 0.08) / 10, 2),
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "relevance_score": round(chance.betavariate(8, 2), 2),
            "user_feedback": chance.choices((None, 1, 0, -1), weights=(12, 9, 2, 1))[0],
            "temperature": 0.2,
        }

    def _citation(self) -> dict[str, Any]:
        number = self._chance.randint(1, 400)
        return {
            "source": f"https://library.example/items/{number}",
            "title": f"Item {number}",
            "confidence": round(self._chance.betavariate(9, 2), 3),
            "timestamp": self._moment(86_400 * 30).isoformat(),
        }

    def _provenance(self) -> Message:
        chance = self._chance
        members: Mapping[str, Any] = {
            "id": str(self._uuid()),
            "content_id": str(self._uuid()),
            "content_type": chance.choice(_CONTENT),
            "source_uri": f"https://library.example/items/{chance.randint(1, 400)}",
            "license_type": chance.choice(_LICENSES),
            "acquisition_method": chance.choice(_METHODS),
            "acquired_at": self._moment(86_400 * 1500).isoformat(),
            "retention_years": chance.choice((None, 1, 3, 5, 10)),
            "acquired_by": str(chance.choice(self._users)),
            "external_share_consent": chance.choice((True, False, None)),
            "permission_flag": chance.choice((True, True, False)),
            "access_policy": {"visibility": chance.choice(("public", "members"))},
        }
        return Message(self._topics.provenance, _json(members))

    def _feedback(self) -> Message:
        members = {
            "dialogue_id": self._one_of(self._topics.dialogue),
            "user_feedback": self._chance.choice((1, 1, 1, 0, -1)),
            "given_at": self._moment(60).isoformat(),
        }
        return Message(self._topics.feedback, _json(members))

    def _verification(self) -> Message:
        members = {
            "provenance_id": self._one_of(self._topics.provenance),
            "verified_at": self._moment(60).isoformat(),
            "permission_flag": self._chance.choice((True, True, False)),
        }
        return Message(self._topics.verification, _json(members))

    def _plugin(self) -> Message:
        name = self._chance.choice(("library-catalogue", "wiki", "press-archive"))
        members = {
            "name": name,
            "source": f"https://{name}.example",
            "capabilities": {"search": True, "list": name != "wiki"},
            "version": "2.1.0",
            "health_status": self._chance.choice(("healthy", "healthy", "degraded")),
            "reported_at": self._moment(60).isoformat(),
            "config": {"endpoint": f"https://{name}.example/api", "timeout_s": 5},
        }
        return Message(self._topics.plugin, _json(members))

    def _one_of(self, topic: str) -> str:
        """Return the id of a published row, or a new id that is never published."""
        return self._chance.choice(self._seen[topic] or [str(self._uuid())])

    # ── bad on purpose ───────────────────────────────────────────────────────────────────────────────────────────

    def _not_json(self) -> Message:
        return Message(self._topics.dialogue, b'{"query": "cut off in the mid')

    def _missing_field(self) -> Message:
        return self._dialogue(user_id=None)

    def _invalid_field(self) -> Message:
        return self._dialogue(latency_ms=-1, citations=[{"source": "https://library.example", "confidence": 1.5}])

    def _nul_character(self) -> Message:
        return self._dialogue(response="a NUL \0 in the text")

    def _wrong_kind(self) -> Message:
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_type", b"rag.provenance"),
            ("ce_source", b"/demo"),
            ("ce_id", str(self._uuid()).encode()),
        ]
        return self._dialogue()._replace(headers=headers)

    def _tombstone(self) -> Message:
        return Message(self._topics.provenance, None, key=b"content-1")

    # ── chance ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _uuid(self) -> UUID:
        """Return a time-ordered UUID (RFC 9562 §5.7), as recommended to producers: new index entries are adjacent."""
        milliseconds = int(self._now.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
        value = milliseconds << 80 | self._chance.getrandbits(80)
        return UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)

    def _moment(self, seconds: int) -> datetime:
        return (self._now - timedelta(seconds=self._chance.uniform(0, seconds))).astimezone(UTC)


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode()
