"""Tests the three envelopes, which are distinguished by the record's headers."""

from __future__ import annotations

import base64

import pytest

from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from tests.support.builders import (
    STRUCTURED,
    Headers,
    accept,
    cloud_event,
    cloud_headers,
    dialogue,
    encode,
    paths,
    provenance,
    reject,
    with_raw,
)

DATA = dialogue(query="asked", citations=[{"source": "s", "confidence": 0.5}])
ENCODED = base64.b64encode(encode(DATA)).decode()


@pytest.mark.parametrize(
    "headers",
    [
        (),
        [("content-type", b"application/json")],
        [("Content-Type", b"text/plain; charset=utf-8")],
        [("content-type", None)],
        [("content-type", b"")],
        [("content-type", b"\xff\xfe")],
        [("traceparent", b"00-0-0-00"), ("x", None), ("", b"")],
        [("CE_ID", b"1"), ("cloudevents", b"1"), ("ce", b"1"), ("xce_id", b"1")],
    ],
)
def test_other_headers_leave_plain_json(headers: Headers) -> None:
    """Without ce_ headers and without the structured content type, the value is the event."""
    assert accept(DATA, headers=headers)["query"] == "asked"


def test_binary_mode_carries_the_event_as_value() -> None:
    """The value is the event, and the attributes are headers. Additional attributes and a content type do no harm."""
    headers = [*cloud_headers(time=b"2020-01-01T00:00:00Z", traceparent=b"00"), ("content-type", b"application/json")]
    row = accept(DATA, headers=headers)
    assert row["query"] == "asked"
    assert str(row["created_at"]) == "2026-01-01 00:00:00.123000"


def test_structured_mode_carries_the_event_as_data() -> None:
    """The value is the envelope, and `data` is the event. JSON columns keep its bytes."""
    value = with_raw(cloud_event(), data=with_raw(dialogue(), citations='[ {"source":"s","x":1.10} ]').decode())
    assert accept(value, headers=STRUCTURED)["citations"] == b'[ {"source":"s","x":1.10} ]'


def test_structured_mode_may_carry_base64() -> None:
    """`data_base64` is the event's bytes."""
    row = accept(cloud_event(data_base64=ENCODED), headers=STRUCTURED)
    assert (row["query"], row["citations"]) == ("asked", b'[{"source":"s","confidence":0.5}]')


def test_a_null_data_base64_is_absent() -> None:
    """A null counts as missing, as everywhere."""
    assert accept(cloud_event(data=DATA, data_base64=None), headers=STRUCTURED)["query"] == "asked"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+json; charset=utf-8",
        "Application/CloudEvents+JSON",
        " application/cloudevents+json ;x=y",
    ],
)
def test_parameters_and_case_of_the_content_type_do_not_matter(content_type: str) -> None:
    """By RFC 9110, media types are compared without case, and parameters do not change the mode."""
    for name in ("content-type", "Content-Type", "CONTENT-TYPE"):
        assert accept(cloud_event(data=DATA), headers=[(name, content_type.encode())])["query"] == "asked"


def test_the_structured_content_type_wins_over_ce_headers() -> None:
    """The content type decides the mode, as the Kafka binding says."""
    headers = [*cloud_headers(id=b"other"), *STRUCTURED]
    assert accept(cloud_event(data=DATA), headers=headers).id == accept(cloud_event(data=DATA), headers=STRUCTURED).id


def test_a_batch_of_cloud_events_is_rejected() -> None:
    """One record holds one event."""
    rejected = reject(b"[]", headers=[("content-type", b"application/cloudevents-batch+json")])
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["content-type"])


# ── attributes ──


@pytest.mark.parametrize("name", ["specversion", "type", "source", "id"])
def test_a_missing_attribute_is_rejected_by_its_name(name: str) -> None:
    """CloudEvents 1.0 requires four. A null or empty attribute counts as missing."""
    for headers in (cloud_headers(**{name: None}), cloud_headers(**{name: b""})):
        rejected = reject(DATA, headers=headers)
        assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, [f"ce_{name}"])
    absent = cloud_event(data=DATA)
    del absent[name]
    values: list[object] = [None, "", 1, [], {}, True]
    for envelope in (absent, *(cloud_event(data=DATA, **{name: value}) for value in values)):
        rejected = reject(envelope, headers=STRUCTURED)
        assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, [name])


@pytest.mark.parametrize("version", ["0.3", "2.0", "x", "10"])
def test_only_cloud_events_1_is_understood(version: str) -> None:
    """Other versions may have other rules."""
    assert paths(reject(DATA, headers=cloud_headers(specversion=version.encode()))) == ["ce_specversion"]
    assert paths(reject(cloud_event(data=DATA, specversion=version), headers=STRUCTURED)) == ["specversion"]


def test_attributes_are_utf_8() -> None:
    """The Kafka binding requires it. Other bytes are rejected and not replaced."""
    rejected = reject(DATA, headers=cloud_headers(source=b"\xff"))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["ce_source"])
    assert accept(DATA, headers=cloud_headers(source="/größe".encode()))["query"] == "asked"


@pytest.mark.parametrize("value", [b"", b"x", b"[]", b"null", b"\xff"])
def test_a_structured_event_is_a_json_object(value: bytes) -> None:
    """Any other value is rejected as not JSON."""
    assert reject(value, headers=STRUCTURED).reason is Reason.NOT_JSON


def test_a_structured_event_without_data_is_rejected() -> None:
    """There is nothing to store."""
    rejected = reject(cloud_event(), headers=STRUCTURED)
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["data"])


@pytest.mark.parametrize("data", [None, [], "text", 1, True])
def test_data_that_is_not_an_object_is_rejected(data: object) -> None:
    """A string that contains JSON is rejected too, because it is declared as text."""
    assert reject(cloud_event(data=data), headers=STRUCTURED).reason in (Reason.NOT_JSON, Reason.INVALID_ENVELOPE)


@pytest.mark.parametrize("text", ["###", "é", "AAA", "e30=\n", "e30", 1, True, [], {}])
def test_invalid_base64_is_rejected(text: object) -> None:
    """Invalid characters are not skipped, as lenient decoders do."""
    rejected = reject(cloud_event(data_base64=text), headers=STRUCTURED)
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_ENVELOPE, ["data_base64"])


def test_faults_of_the_data_are_named_by_their_own_path() -> None:
    """The path is that of the field, with any envelope."""
    bad = dialogue(latency_ms=-1)
    for value, headers in ((bad, cloud_headers()), (cloud_event(data=bad), STRUCTURED)):
        assert paths(reject(value, headers=headers)) == ["latency_ms"]
    fault = reject(with_raw(cloud_event(), data=with_raw(dialogue(), query=r'"\ud800"').decode()), headers=STRUCTURED)
    assert (fault.reason, paths(fault)) == (Reason.INVALID_FIELD, ["query"])


# ── the type and the topic ──


AGREEING = "rag.dialogue com.example.rag.dialogue.v1 dialogue DIALOGUE DialogueLogged RagDialogueV2 RAGDialogue"
AGREEING += " AIDialogueLogged dialogue-logged ai_dialogue_log jp/rag/dialogue"


@pytest.mark.parametrize("event_type", AGREEING.split())
def test_a_type_that_names_the_kind_agrees(event_type: str) -> None:
    """The kind is one of the words of the type, with any separators."""
    assert accept(DATA, headers=cloud_headers(type=event_type.encode()))["query"] == "asked"
    assert accept(cloud_event(data=DATA, type=event_type), headers=STRUCTURED)["query"] == "asked"


@pytest.mark.parametrize(
    "event_type", ["rag.provenance", "ProvenanceAcquired", "rag.feedback", "rag.plugin", "monologue"]
)
def test_a_type_that_names_another_kind_is_an_error(event_type: str) -> None:
    """The topic decides the kind. A type that contradicts it is a wrong kind."""
    rejected = reject(DATA, headers=cloud_headers(type=event_type.encode()))
    assert (rejected.reason, paths(rejected)) == (Reason.WRONG_KIND, ["ce_type"])
    rejected = reject(cloud_event(data=DATA, type=event_type), headers=STRUCTURED)
    assert (rejected.reason, paths(rejected)) == (Reason.WRONG_KIND, ["type"])


def test_provenance_has_its_own_type() -> None:
    """A type that is valid on one topic is an error on the other."""
    assert accept(provenance(), PROVENANCE, cloud_headers(type=b"rag.provenance"))["license_type"] == "mit"
    assert reject(provenance(), PROVENANCE, cloud_headers(type=b"rag.dialogue")).reason is Reason.WRONG_KIND


# ── tombstones ──


@pytest.mark.parametrize("headers", [(), STRUCTURED, cloud_headers()])
def test_a_tombstone_is_rejected(headers: Headers) -> None:
    """A record without a value is a dead letter with its own reason, with any envelope."""
    for kind in (DIALOGUE, PROVENANCE):
        rejected = reject(None, kind, headers)
        assert (rejected.reason, paths(rejected)) == (Reason.TOMBSTONE, [""])
