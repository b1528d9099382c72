"""Generates the members of events as producers write them. A member that is None is left out of the event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from consumer.generator.chance import Chance, Quantiles
from consumer.generator.shapes import Numbers, Shape
from consumer.generator.texts import Writer

Members = dict[str, Any]

MODELS = ("gpt-5-mini", "claude-haiku", "gemini-flash", "llama-4-scout", "mistral-large")
_CONTENT = ("material", "creation_log", "generated", "note_article", "ai_response")
_METHODS = ("api_fetch", "manual_upload", "ai_generated", "user_created", "system_import")
LICENSES: Mapping[str, str] = {
    **{name: name for name in ("cc0", "cc_by_sa", "mit", "proprietary", "unknown")},
    "CC-BY-4.0": "cc_by",
    "CC-BY-SA-4.0": "cc_by_sa",
    "MIT": "mit",
    "Apache-2.0": "apache_2_0",
}
"""Licences as producers write them, with their enum values."""
_PLUGINS = ("library-catalogue", "wiki", "press-archive")
_LATENCY_MS: Quantiles = ((0.0, 80), (0.5, 1_200), (0.9, 3_000), (0.99, 9_000), (1.0, 60_000))
_SCORE: Quantiles = ((0.0, 0.02), (0.1, 0.55), (0.5, 0.82), (0.9, 0.95), (1.0, 1.0))
_PROMPT_TOKENS: Quantiles = ((0.0, 150), (0.5, 2_500), (0.95, 9_000), (1.0, 180_000))
_TEMPERATURES, _WINDOWS = (0.0, 0.2, 0.7), (32_768, 128_000, 200_000)
_USERS, _OPEN_SESSIONS = 500, 200
_FEEDBACK_SHARE = 0.3


class Author:
    """Generates the members of events, and keeps the users and the open conversations."""

    def __init__(self, chance: Chance) -> None:
        self.chance, self.writer = chance, Writer(chance)
        self._users = [chance.random_id() for _ in range(_USERS)]
        self._sessions = [chance.random_id() for _ in range(_OPEN_SESSIONS)]

    def dialogue(self, shape: Shape, now: datetime) -> Members:
        """Return the members of a dialogue."""
        writer = self.writer
        members: Members = {
            "id": self._id(now) if shape.identified else None,
            "user_id": self.chance.pick(self._users),
            "session_id": self._session(),
            "query": writer.question(),
            "response": writer.answer(
                self.chance.quantile(shape.answer), markdown=shape.markdown, escaped=shape.escaped
            ),
            "model_used": self.chance.pick(MODELS),
        }
        if not shape.sparse:
            members |= self._circumstances(shape, now)
        if shape.unknown_fields:
            members |= {"trace_id": f"{self.chance.bits(128):032x}", "region": "ap-northeast-1"}
        return members

    def _circumstances(self, shape: Shape, now: datetime) -> Members:
        chance = self.chance
        count, score = _FORMS[shape.numbers]
        prompt, completion = int(chance.quantile(_PROMPT_TOKENS)), chance.whole(50, 900)
        latency, cost = chance.quantile(_LATENCY_MS), (prompt * 0.002 + completion * 0.008) * (0.8 + chance.random())
        is_precise = shape.numbers is Numbers.PRECISE
        temperature = chance.random() if is_precise and chance.happens(0.5) else chance.pick(_TEMPERATURES)
        return {
            "created_at": moment(now, shape),
            "citations": [self._citation(shape, now) for _ in range(chance.whole(0, shape.citations))],
            "latency_ms": latency if is_precise else count(int(latency)),
            "token_cost_jpy": score(cost),
            "citation_rate": score(100 * chance.random()),
            "prompt_tokens": count(prompt),
            "completion_tokens": count(completion),
            "relevance_score": score(chance.quantile(_SCORE)),
            "user_feedback": chance.pick((1, 1, 0, -1)) if chance.happens(_FEEDBACK_SHARE) else None,
            "context_window_size": chance.pick(_WINDOWS),
            "temperature": temperature,
        }

    def _citation(self, shape: Shape, now: datetime) -> Members:
        chance = self.chance
        _, score = _FORMS[shape.numbers]
        citation: Members = {
            "source": self.writer.address(),
            "title": self.writer.title(),
            "confidence": score(chance.quantile(_SCORE)),
            "timestamp": moment(now - timedelta(hours=chance.whole(1, 4_000)), shape),
        }
        if shape.extra_members:
            citation |= {
                "page": chance.whole(1, 400),
                "chunk": {"id": f"{chance.bits(64):016x}", "score": chance.random(), "tokens": chance.whole(20, 800)},
                "tags": chance.picks(("kiln", "春", "archive", "📎"), 2),
            }
        return citation

    def provenance(self, shape: Shape, now: datetime) -> Members:
        """Return the members of a provenance event."""
        chance = self.chance
        members: Members = {
            "id": self._id(now) if shape.identified else None,
            "content_id": chance.random_id(),
            "content_type": chance.pick(_CONTENT),
            "source_uri": self.writer.address(),
            "license_type": chance.pick(tuple(LICENSES)),
            "acquisition_method": chance.pick(_METHODS),
            "acquired_at": moment(now, shape),
        }
        if shape.sparse:
            return members
        count, _ = _FORMS[shape.numbers]
        years = chance.pick((None, 1, 3, 5, 10))
        return members | {
            "retention_years": None if years is None else count(years),
            "acquired_by": chance.pick(self._users),
            "external_share_consent": chance.pick((True, False, None)),
            "permission_flag": chance.pick((True, True, False)),
            "access_policy": {
                "visibility": chance.pick(("public", "members")),
                "groups": ["staff", self.writer.title()],
            },
        }

    def feedback(self, shape: Shape, now: datetime, dialogue_id: str) -> Members:
        """Return the members of a feedback event."""
        return {
            "dialogue_id": dialogue_id,
            "user_feedback": self.chance.pick((1, 1, 1, 0, -1)),
            "given_at": moment(now, shape),
        }

    def verification(self, shape: Shape, now: datetime, provenance_id: str) -> Members:
        """Return the members of a verification event."""
        chance = self.chance
        return {
            "provenance_id": provenance_id,
            "verified_at": moment(now, shape),
            "permission_flag": chance.pick((True, True, False)),
            "license_type": None if shape.sparse else chance.pick((None, *LICENSES)),
        }

    def plugin(self, shape: Shape, now: datetime) -> Members:
        """Return the members of a plugin event."""
        chance = self.chance
        name = chance.pick(_PLUGINS)
        return {
            "name": name,
            "source": f"https://{name}.example",
            "capabilities": {"search": True, "list": name != "wiki"},
            "version": "2.1.0",
            "enabled": None if shape.sparse else True,
            "health_status": chance.pick(("healthy", "healthy", "degraded")),
            "reported_at": moment(now, shape),
            "config": None if shape.sparse else {"endpoint": f"https://{name}.example/api", "timeout_s": 5},
        }

    def _session(self) -> str:
        """Return one of the open conversations; each has about four dialogues."""
        place = self.chance.whole(0, _OPEN_SESSIONS - 1)
        if self.chance.happens(0.25):
            self._sessions[place] = self.chance.random_id()
        return self._sessions[place]

    def _id(self, now: datetime) -> str:
        return self.chance.timed_id(milliseconds(now))


def milliseconds(moment: datetime) -> int:
    """Return the milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def moment(now: datetime, shape: Shape) -> str:
    """Return a time in the producer's time zone, as text with milliseconds."""
    if not shape.offset_minutes:
        return f"{now.isoformat(timespec='milliseconds')[:-6]}Z"
    return now.astimezone(timezone(timedelta(minutes=shape.offset_minutes))).isoformat(timespec="milliseconds")


def _itself(number: Any) -> Any:
    return number


def _rounded(number: float) -> float:
    return round(number, 2)


Form = Callable[[Any], Any]
# The first function formats counts, the second formats scores and costs.
_FORMS: Mapping[Numbers, tuple[Form, Form]] = {
    Numbers.ROUNDED: (_itself, _rounded),
    Numbers.PRECISE: (_itself, _itself),
    Numbers.QUOTED: (str, str),
}
