# Made by `python docs/generate.py` from consumer.events.
"""The kinds of events, and their fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

from ragledger_client._checks import array, choice, date_time, flag, json_object, members, number, pattern, text, uuid
from ragledger_client._events import Declaration

TOPICS: Mapping[str, str] = {"dialogue": "rag.dialogue", "feedback": "rag.feedback", "provenance": "rag.provenance"}


class DialogueFields(TypedDict, total=False):
    """The fields that a dialogue event may have. None counts as absent."""

    id: UUID | str | None
    created_at: datetime | str | None
    citations: Sequence[Mapping[str, Any]] | None
    latency_ms: float | Decimal | str | None
    token_cost_jpy: float | Decimal | str | None
    citation_rate: float | Decimal | str | None
    prompt_tokens: float | Decimal | str | None
    completion_tokens: float | Decimal | str | None
    total_tokens: float | Decimal | str | None
    relevance_score: float | Decimal | str | None
    user_feedback: float | Decimal | str | None
    context_window_size: float | Decimal | str | None
    temperature: float | Decimal | str | None
    cost: Mapping[str, Any] | None
    cached_tokens: float | Decimal | str | None


DIALOGUE = Declaration(
    kind="dialogue",
    required=("user_id", "session_id", "query", "response", "model_used"),
    checks={
        "id": uuid,
        "user_id": uuid,
        "session_id": uuid,
        "query": text(),
        "response": text(),
        "model_used": text(1, 255),
        "created_at": date_time,
        "citations": array(
            members(
                ("source",),
                {"source": text(), "title": text(), "confidence": number("0", "1", 6), "timestamp": date_time},
            )
        ),
        "latency_ms": number("0", "2147483647", 0),
        "token_cost_jpy": number("0", "999999.99", 2),
        "citation_rate": number("0", "100", 2),
        "prompt_tokens": number("0", "2147483647", 0),
        "completion_tokens": number("0", "2147483647", 0),
        "total_tokens": number("0", "2147483647", 0),
        "relevance_score": number("0", "1", 2),
        "user_feedback": number("-1", "1", 0),
        "context_window_size": number("0", "2147483647", 0),
        "temperature": number("0", "2", 2),
        "cost": members(
            ("amount", "currency"),
            {"amount": number("0", "999999999999.999999999", 9), "currency": pattern("^[A-Za-z]{3}$")},
        ),
        "cached_tokens": number("0", "2147483647", 0),
    },
    keyed_ids={"user_id": "user", "session_id": "session"},
    sums={"total_tokens": ("prompt_tokens", "completion_tokens")},
)
FEEDBACK = Declaration(
    kind="feedback",
    required=("dialogue_id", "user_feedback", "given_at"),
    checks={"dialogue_id": uuid, "user_feedback": number("-1", "1", 0), "given_at": date_time},
    keyed_ids={},
    sums={},
)


class ProvenanceFields(TypedDict, total=False):
    """The fields that a provenance event may have. None counts as absent."""

    id: UUID | str | None
    acquired_at: datetime | str | None
    retention_years: float | Decimal | str | None
    acquired_by: UUID | str | None
    external_share_consent: bool | None
    permission_flag: bool | None
    last_verified_at: datetime | str | None
    access_policy: Mapping[str, Any] | None


PROVENANCE = Declaration(
    kind="provenance",
    required=("content_id", "content_type", "source_uri", "license_type", "acquisition_method", "acquired_at"),
    checks={
        "id": uuid,
        "content_id": uuid,
        "content_type": choice(("material", "creation_log", "generated", "note_article", "ai_response"), ()),
        "source_uri": text(),
        "license_type": choice(
            ("cc0", "cc_by", "cc_by_sa", "cc_by_nc", "cc_by_nd", "mit", "apache_2_0", "proprietary", "unknown"),
            (
                "cc-by-1.0",
                "cc-by-2.0",
                "cc-by-2.5",
                "cc-by-3.0",
                "cc-by-4.0",
                "cc-by-sa-1.0",
                "cc-by-sa-2.0",
                "cc-by-sa-2.5",
                "cc-by-sa-3.0",
                "cc-by-sa-4.0",
                "cc-by-nc-1.0",
                "cc-by-nc-2.0",
                "cc-by-nc-2.5",
                "cc-by-nc-3.0",
                "cc-by-nc-4.0",
                "cc-by-nd-1.0",
                "cc-by-nd-2.0",
                "cc-by-nd-2.5",
                "cc-by-nd-3.0",
                "cc-by-nd-4.0",
                "cc0-1.0",
                "mit",
                "apache-2.0",
                "licenseref-proprietary",
                "noassertion",
            ),
        ),
        "acquisition_method": choice(
            ("api_fetch", "manual_upload", "ai_generated", "user_created", "system_import"), ()
        ),
        "acquired_at": date_time,
        "retention_years": number("0", "2147483647", 0),
        "acquired_by": uuid,
        "external_share_consent": flag,
        "permission_flag": flag,
        "last_verified_at": date_time,
        "access_policy": json_object,
    },
    keyed_ids={"acquired_by": "user"},
    sums={},
)
