"""Hypothesis strategies: valid events of every kind in every spelling, and nearly valid ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st

from consumer.events.amendments import FEEDBACK, VERIFICATION
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Kind
from consumer.events.plugin import PLUGIN
from consumer.events.provenance import PROVENANCE
from consumer.events.record import StoredRecord
from tests.support.builders import cloud_event, cloud_headers

INT_MAX = 2_147_483_647


class Json(str):
    """A literal JSON text: `1.10` stays `1.10`."""

    __slots__ = ()


def encode_exactly(value: Any) -> str:
    """Return JSON with every :class:`Json` unchanged."""
    if isinstance(value, Json):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}: {encode_exactly(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(encode_exactly, value)) + "]"
    return json.dumps(value)


# ── values of fields ─────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def texts(shortest: int = 0, longest: int = 60) -> st.SearchStrategy[str]:
    """Text that PostgreSQL can store: any character but NUL and halves of surrogate pairs."""
    characters = st.characters(codec="utf-8", exclude_characters="\0")
    return st.text(characters, min_size=shortest, max_size=longest)


@cache
def uuids() -> st.SearchStrategy[str]:
    """UUIDs in every accepted spelling."""
    return st.builds(lambda uuid, spell: spell(str(uuid)), st.uuids(), st.sampled_from([str, str.upper, _bare]))


def _bare(uuid: str) -> str:
    return uuid.replace("-", "")


@cache
def numbers(low: int, high: int, places: int) -> st.SearchStrategy[Any]:
    """Numbers in the range, as JSON numbers and as strings, with up to `places` decimals."""
    decimals = st.decimals(low, high, places=places, allow_nan=False)
    plain = decimals.map(lambda number: Json(f"{number:f}"))
    scientific = decimals.map(lambda number: Json(f"{number:.{places + 12}e}"))
    return st.one_of(plain, scientific, decimals.map(lambda number: f"{number:f}"))


@cache
def counts(high: int = INT_MAX) -> st.SearchStrategy[Any]:
    """Whole numbers, as JSON numbers and as strings."""
    return st.integers(0, high).flatmap(lambda number: st.sampled_from([number, str(number), Json(f"{number}.0")]))


@cache
def date_times() -> st.SearchStrategy[str]:
    """RFC 3339 date-times, with and without seconds, fraction and offset, some with a leap second."""
    date = st.dates().filter(lambda day: 2 <= day.year <= 9998).map(str)
    fraction = st.one_of(st.just(""), st.text("0123456789", min_size=1, max_size=12).map(lambda digits: f".{digits}"))
    second = st.one_of(st.just(""), st.tuples(st.sampled_from([":00", ":07", ":59", ":60"]), fraction).map("".join))
    offset = st.sampled_from(
        ["", "Z", "z", "+00:00", "-00:00", "+05:45", "-11:30", "+23:59", "-23:59", "+0900", "-1130"]
    )
    return st.builds(
        lambda date, hour, minute, second, offset: f"{date}T{hour:02}:{minute:02}{second}{offset}",
        date,
        st.integers(0, 23),
        st.integers(0, 59),
        second,
        offset,
    )


def json_values(text: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Any]:
    """Any JSON value."""
    strings = texts(longest=12) if text is None else text
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), strings
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
        max_leaves=8,
    )


@cache
def citations() -> st.SearchStrategy[Any]:
    """Citations with additional members."""
    citation = st.fixed_dictionaries(
        {"source": texts()},
        optional={
            "title": texts() | st.none(),
            "confidence": numbers(0, 1, 4) | st.sampled_from(["1.0000001", Json("-1e-9")]),
            "timestamp": date_times(),
            "page": json_values(),
        },
    )
    return st.lists(citation, max_size=3)


@cache
def costs() -> st.SearchStrategy[Any]:
    """Costs in yen, which always fit into their column, and in currencies that no price file has."""
    yen = st.fixed_dictionaries({"amount": numbers(0, 999_999, 4), "currency": st.sampled_from(["JPY", "jpy"])})
    other = {"amount": numbers(0, 10**11, 9), "currency": st.sampled_from(["USD", "eur", "XXX"])}
    return yen | st.fixed_dictionaries(other, optional={"by": json_values()})


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def dialogues() -> st.SearchStrategy[dict[str, Any]]:
    """Valid dialogue events."""
    required = {
        "user_id": uuids(),
        "session_id": uuids(),
        "query": texts(),
        "response": texts(),
        "model_used": texts(1, 255),
    }
    optional = {
        "id": uuids(),
        "created_at": date_times(),
        "citations": citations(),
        "latency_ms": counts(),
        "token_cost_jpy": numbers(0, 999_999, 4),
        "citation_rate": numbers(0, 100, 4),
        "prompt_tokens": counts(10**9),
        "completion_tokens": counts(10**9),
        "total_tokens": counts(),
        "relevance_score": numbers(0, 1, 6),
        "user_feedback": st.sampled_from([-1, 0, 1, "-1", Json("1.0")]),
        "context_window_size": counts(),
        "temperature": numbers(0, 2, 1),
        "cost": costs(),
        "cached_tokens": counts(),
    }
    return _with_extras(required, optional)


@cache
def provenances() -> st.SearchStrategy[dict[str, Any]]:
    """Valid provenance events."""
    required = {
        "content_id": uuids(),
        "content_type": st.sampled_from(["material", "creation_log", "generated", "note_article", "ai_response"]),
        "source_uri": texts(),
        "license_type": st.sampled_from(["cc0", "cc_by_nd", "unknown", "CC-BY-4.0", "mit", "MIT", "Apache-2.0"]),
        "acquisition_method": st.sampled_from(["api_fetch", "manual_upload", "system_import"]),
        "acquired_at": date_times(),
    }
    optional = {
        "id": uuids(),
        "retention_years": counts(),
        "acquired_by": uuids(),
        "external_share_consent": st.booleans(),
        "permission_flag": st.booleans(),
        "last_verified_at": date_times(),
        "access_policy": st.dictionaries(texts(longest=12), json_values(), max_size=3),
    }
    return _with_extras(required, optional)


@cache
def feedbacks() -> st.SearchStrategy[dict[str, Any]]:
    """Valid feedback events."""
    verdict = st.sampled_from([-1, 0, 1, "-1", Json("1.0")])
    return _with_extras({"dialogue_id": uuids(), "user_feedback": verdict, "given_at": date_times()}, {})


@cache
def verifications() -> st.SearchStrategy[dict[str, Any]]:
    """Valid verification events."""
    optional = {
        "permission_flag": st.booleans(),
        "external_share_consent": st.booleans(),
        "license_type": st.sampled_from(["cc0", "CC-BY-4.0", "MIT"]),
    }
    return _with_extras({"provenance_id": uuids(), "verified_at": date_times()}, optional)


@cache
def plugins() -> st.SearchStrategy[dict[str, Any]]:
    """Valid plugin events."""
    config = st.fixed_dictionaries(
        {},
        optional={
            "endpoint": texts() | st.none(),
            "timeout_s": st.integers(1, 100),
            "languages": st.lists(texts(), max_size=2),
            "auth": st.just({"type": "api_key", "secret_ref": "s"}),
            "options": st.dictionaries(texts(longest=5), json_values(), max_size=2),
            "more": json_values(),
        },
    )
    optional = {
        "source": texts(),
        "capabilities": st.dictionaries(texts(longest=12), json_values(), max_size=3) | st.lists(texts(), max_size=3),
        "version": texts(),
        "enabled": st.booleans(),
        "health_status": st.sampled_from(["healthy", "degraded", "unhealthy", "unknown"]),
        "config": config,
    }
    return _with_extras({"name": texts(1, 255), "reported_at": date_times()}, optional)


def _with_extras(
    required: Mapping[str, st.SearchStrategy[Any]], optional: Mapping[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Add members in any order: some optional ones null, and some unknown fields."""
    nullable = {name: strategy | st.none() for name, strategy in optional.items()}
    extras = st.dictionaries(st.sampled_from(["trace", "x-a", "größe", ""]), json_values(), max_size=2)
    events = st.fixed_dictionaries(dict(required), optional=nullable)
    arrange: st.SearchStrategy[Callable[..., Any]] = st.sampled_from([list, sorted, reversed])
    return st.builds(
        lambda event, extra, order: {k: (event | extra)[k] for k in order(event | extra)}, events, extras, arrange
    )


@cache
def events(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Valid events of a kind."""
    made = {
        DIALOGUE: dialogues,
        PROVENANCE: provenances,
        FEEDBACK: feedbacks,
        VERIFICATION: verifications,
        PLUGIN: plugins,
    }
    return made[kind]()


@st.composite
def nearly_valid(draw: st.DrawFn, kind: Kind) -> dict[str, Any]:
    """A valid event with one to three members removed or replaced by a value that may not fit."""
    event = draw(events(kind))
    for name in draw(st.lists(st.sampled_from(list(kind.fields)), min_size=1, max_size=3)):
        if draw(st.integers(0, 3)) == 0:
            event.pop(name, None)
        else:
            event[name] = draw(anything())
    return event


@cache
def anything() -> st.SearchStrategy[Any]:
    """Any JSON value with any strings, and the awkward ones."""
    return json_values(st.text(max_size=12)) | awkward_values()


@cache
def awkward_values() -> st.SearchStrategy[Any]:
    """Values that have broken consumers before."""
    numbers = (
        "0 -0 -0.0 0e0 1e400 1e-400 -1e999999999 1e99999999999999999999 0.5 -0.5 2147483647.5 999999.995 99999999999"
    )
    strings = ["", "NaN", "Infinity", "1e99999999999999999999", "0x1", "1_0", " 1", "\0", "a\0b", "\ud800", "true"]
    times = ["2016-12-31T23:59:60Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "2026-02-30T00:00:00Z"]
    nested = Json("[" * 400 + "]" * 400)
    return st.sampled_from([*map(Json, numbers.split()), *strings, *times, nested, True, [], {}, [None], [[]], [{}]])


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def records(kind: Kind, event: st.SearchStrategy[Any]) -> st.SearchStrategy[StoredRecord]:
    """Records with the event in any of the three envelopes."""
    return st.builds(
        lambda event, wrap, offset, timestamp: StoredRecord(
            f"rag.{kind.name}", 0, offset, timestamp, None, *wrap(encode_exactly(event), kind.name)
        ),
        event,
        st.sampled_from([_plain, _binary, _structured, _structured_base64]),
        st.integers(0, 2**62),
        st.integers(0, 4_102_444_800_000),
    )


def _plain(event: str, _kind: str) -> tuple[bytes, tuple[tuple[str, bytes | None], ...]]:
    return event.encode(), ()


def _binary(event: str, kind: str) -> tuple[bytes, tuple[tuple[str, bytes | None], ...]]:
    return event.encode(), tuple(cloud_headers(type=f"rag.{kind}".encode()))


def _structured(event: str, kind: str) -> tuple[bytes, tuple[tuple[str, bytes | None], ...]]:
    envelope = cloud_event(type=f"rag.{kind}", data=Json(event))
    return encode_exactly(envelope).encode(), (("content-type", b"application/cloudevents+json"),)


def _structured_base64(event: str, kind: str) -> tuple[bytes, tuple[tuple[str, bytes | None], ...]]:
    envelope = cloud_event(type=f"rag.{kind}", data_base64=base64.b64encode(event.encode()).decode())
    return json.dumps(envelope).encode(), (("content-type", b"application/cloudevents+json; charset=utf-8"),)
