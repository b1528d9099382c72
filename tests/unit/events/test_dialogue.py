"""Tests the dialogue event: its required and optional fields, and its row."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from consumer.events.dialogue import DIALOGUE
from consumer.events.rejection import Reason
from tests.support.builders import SESSION, USER, accept, dialogue, encode, paths, reject, with_raw

FULL = dialogue(
    id="0190b6f2-7c3e-7a1b-8c4d-5e6f70819203",
    created_at="2026-01-31T09:30:00+09:00",
    citations=[{"source": "s", "title": "t", "confidence": 0.9, "timestamp": "2026-01-01T00:00:00Z", "page": 3}],
    latency_ms=1200,
    token_cost_jpy="1.234",
    citation_rate=66.6,
    prompt_tokens=100,
    completion_tokens="20",
    relevance_score=0.87,
    user_feedback=-1,
    context_window_size=8192,
    temperature=0.7,
)


def test_every_field_is_stored_in_its_column() -> None:
    """Each column is compared as PostgreSQL reads it."""
    assert accept(FULL).columns == {
        "id": UUID("0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"),
        "user_id": UUID(USER),
        "session_id": UUID(SESSION),
        "query": "q",
        "response": "r",
        "model_used": "m",
        "created_at": datetime(2026, 1, 31, 0, 30),
        "citations": encode({"c": FULL["citations"]})[5:-1],
        "latency_ms": 1200,
        "token_cost_jpy": Decimal("1.23"),
        "citation_rate": Decimal("66.60"),
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "relevance_score": Decimal("0.87"),
        "user_feedback": -1,
        "context_window_size": 8192,
        "temperature": Decimal("0.70"),
    }


def test_a_missing_field_is_null() -> None:
    """Five fields are sufficient. Only the id and the time get a value if they are missing."""
    row = accept(dialogue())
    present = {name for name, value in row.columns.items() if value is not None}
    assert present == {"id", "user_id", "session_id", "query", "response", "model_used", "created_at"}


def test_a_null_counts_as_missing() -> None:
    """Some producers write every member, with null for missing values."""
    nulls = dict.fromkeys(accept(dialogue()).columns) | dialogue()
    assert accept(nulls).columns == accept(dialogue()).columns


def test_every_fault_is_named_by_its_path() -> None:
    """The reason lists all faults, in the order of the columns. Its code is that of the first."""
    rejected = reject({"session_id": 1, "query": "q", "model_used": "", "citations": [{}, 1], "latency_ms": -1})
    assert rejected.reason is Reason.MISSING_FIELD
    faults = "user_id session_id response model_used citations[0].source citations[1] latency_ms"
    assert paths(rejected) == faults.split()
    assert reject(dialogue(session_id=1, query=None)).reason is Reason.INVALID_FIELD


def test_the_detail_has_a_message_for_people_and_paths_for_scripts() -> None:
    """This is the content of `dead_letters.detail`."""
    assert reject(dialogue(user_id=None, latency_ms=-1)).detail() == {
        "message": "user_id: required, but missing; latency_ms: must be between 0 and 2147483647",
        "faults": [
            {"path": "user_id", "problem": "required, but missing"},
            {"path": "latency_ms", "problem": "must be between 0 and 2147483647"},
        ],
    }


# ── citations ──


@pytest.mark.parametrize("value", [{}, "[]", "s", 1, True, {"source": "s"}])
def test_citations_are_an_array(value: Any) -> None:
    """No other type is accepted."""
    assert str(reject(dialogue(citations=value))) == "citations: must be an array of citations"


@pytest.mark.parametrize("value", [None, 1, "s", True, [], [{}]])
def test_a_citation_is_an_object(value: Any) -> None:
    """Each citation is checked, and named by its own path."""
    rejected = reject(dialogue(citations=[{"source": "s"}, value]))
    assert str(rejected) == "citations[1]: must be an object"


@pytest.mark.parametrize(
    ("citation", "path", "reason"),
    [
        ({}, "source", Reason.MISSING_FIELD),
        ({"source": None}, "source", Reason.MISSING_FIELD),
        ({"source": 1}, "source", Reason.INVALID_FIELD),
        ({"source": "s", "title": 1}, "title", Reason.INVALID_FIELD),
        ({"source": "s", "title": []}, "title", Reason.INVALID_FIELD),
        ({"source": "s", "confidence": 1.01}, "confidence", Reason.INVALID_FIELD),
        ({"source": "s", "confidence": "high"}, "confidence", Reason.INVALID_FIELD),
        ({"source": "s", "confidence": True}, "confidence", Reason.INVALID_FIELD),
        ({"source": "s", "timestamp": 1}, "timestamp", Reason.INVALID_FIELD),
        ({"source": "s", "timestamp": "yesterday"}, "timestamp", Reason.INVALID_FIELD),
    ],
)
def test_a_citation_s_faults_are_named_by_their_path(citation: Any, path: str, reason: Reason) -> None:
    """A fault of the third citation is at citations[2]."""
    rejected = reject(dialogue(citations=[{"source": "a"}, {"source": "b"}, citation]))
    assert (rejected.reason, paths(rejected)) == (reason, [f"citations[2].{path}"])


@pytest.mark.thorough
def test_at_most_twenty_faulty_citations_are_named() -> None:
    """A record of 8 MB may contain millions, and a list of all would take gigabytes. Good citations between them do not
    matter.
    """
    good, bad = {"source": "s"}, {"source": "s", "confidence": 7, "timestamp": 1}
    faults = paths(reject(dialogue(citations=[good, bad] * 500 + [1] * 1_000_000, latency_ms="x")))
    named = [f"citations[{place}].{name}" for place in range(1, 41, 2) for name in ("confidence", "timestamp")]
    assert faults == [*named, "latency_ms"]
    few = [bad, *[good] * 100, bad]
    assert [path.partition(".")[0] for path in paths(reject(dialogue(citations=few)))] == [
        *["citations[0]"] * 2,
        *["citations[101]"] * 2,
    ]
    accept(dialogue(citations=[good] * 100))


def test_further_members_of_a_citation_are_kept() -> None:
    """They may contain anything, and do not count as unknown fields of the event."""
    text = '[{"source":"s","title":null,"page":[1,{"x":null}],"citations":{"source":2}}]'
    row = accept(with_raw(dialogue(), citations=text))
    assert row["citations"] == text.encode()
    assert row.row.unknown_fields == 0


# ── total_tokens ──


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2}, 3),
        ({"prompt_tokens": "1", "completion_tokens": 2}, 3),
        ({"prompt_tokens": 1.4, "completion_tokens": 2.5}, 4),
        ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": None}, 3),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}, 9),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 0}, 0),
        ({"prompt_tokens": 2_147_483_646, "completion_tokens": 1}, 2_147_483_647),
        ({"total_tokens": 5}, 5),
        ({}, None),
    ],
)
def test_total_tokens_is_the_sum_when_absent(said: dict[str, Any], stored: int | None) -> None:
    """It is the sum of the stored values. A stated sum is never corrected."""
    assert accept(dialogue(**said))["total_tokens"] == stored


def test_a_sum_beyond_the_column_is_an_error() -> None:
    """It is rejected with a reason, before the database could reject it."""
    rejected = reject(dialogue(prompt_tokens=2_147_483_647, completion_tokens=1))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["total_tokens"])


# ── unknown fields ──


def test_unknown_fields_are_ignored_and_counted() -> None:
    """Producers may add fields first. Nested members of unknown fields are not counted."""
    row = accept(dialogue(new_field={"a": {"b": 1}}, trace_id=None, Query="?", updated_at="x"))
    assert row.row.unknown_fields == 4
    assert row.columns == accept(dialogue()).columns
    assert accept(FULL).row.unknown_fields == 0


# ── values for the metrics ──


def facts(event: dict[str, Any]) -> dict[str, Any]:
    """Return the values for the metrics, by field."""
    return dict(zip(DIALOGUE.facts, accept(event).row.facts, strict=True))


def test_the_metrics_get_the_stored_values() -> None:
    """They are rounded as stored. For citations, the value is their number."""
    assert facts(FULL) == {
        "model_used": "m",
        "citations": 1,
        "latency_ms": 1200,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "token_cost_jpy": Decimal("1.23"),
        "user_feedback": -1,
    }


def test_the_metrics_get_no_value_for_a_missing_field() -> None:
    """A missing value is not zero: a dialogue without a latency must not count as one of 0 ms."""
    assert facts(dialogue()) == dict.fromkeys(DIALOGUE.facts) | {"model_used": "m"}
    assert facts(dialogue(citations=None))["citations"] is None
    assert facts(dialogue(citations=[], latency_ms=0)) == facts(dialogue()) | {"citations": 0, "latency_ms": 0}
