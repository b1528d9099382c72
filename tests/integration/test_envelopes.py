"""Tests every envelope over a real Kafka, from other producers: the identity of an event, and its unchanged JSON."""

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings import kafka as sdk
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from tests.support.bad_records import CLOUD_EVENT
from tests.support.ingestion import Outgoing, as_json, counts, environment_on, ids, ingest, send, small_dialogue
from tests.support.producers import provenance, random_uuid
from tests.support.service import Environment
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)

STRUCTURED = [("content-type", b"application/cloudevents+json; charset=utf-8")]
# Spellings that parsing and serializing would change, and text in many scripts.
CITATIONS = (
    '[ {"source" : "https://a.example/\\u00fc","confidence":0.90, "timestamp":"2026-01-02T03:04:05+00:00", '
    '"weight":1.10,"large":12345678901234567890.123456789,"tiny":1e-30,'
    '"nested":{"b":[1.0,null,true],"a":"日本 \\ud83d\\ude00"}},\n'
    '  {"source":"","confidence":1.0,"confidence":"0.50","title":null}]'
)
POLICY = '{"z":1.50,"a":{"tab":"\\t","slash":"\\/"},"visibility":"members","none":null}'


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with one partition in each topic."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def topic(environment: Environment) -> str:
    """Return the topic of dialogues."""
    return environment.topics["dialogue"]


def binary(value: bytes, topic: str, **attributes: str) -> Outgoing:
    """Return a CloudEvent in binary mode, written by hand as the specification says."""
    changed = {f"ce_{name}": text.encode() for name, text in attributes.items()}
    return Outgoing(topic, value, headers=list({**CLOUD_EVENT, **changed}.items()))


def structured(topic: str, **members: Any) -> Outgoing:
    """Return a CloudEvent in structured mode; `data` or `data_base64` is one of the members."""
    event = {"specversion": "1.0", "type": "rag.dialogue", "source": "/chat", "id": "1", **members}
    return Outgoing(topic, as_json(event), headers=STRUCTURED)


def by_sdk(message: sdk.KafkaMessage, topic: str) -> Outgoing:
    """Return the record that the SDK makes of an event."""
    key = message.key.encode() if isinstance(message.key, str) else message.key
    return Outgoing(topic, message.value, key, list(message.headers.items()))


def queries(environment: Environment) -> list[str]:
    """Return the stored questions, by which the tests recognise their events."""
    return [row["query"] for row in environment.query("SELECT query FROM ai_dialogue_log ORDER BY query")]


def test_every_envelope_of_every_producer_is_a_row(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """Plain JSON, binary and structured by hand, data in base64, and both modes by the CloudEvents SDK."""
    chance = random.Random(1)

    def event(query: str) -> dict[str, Any]:
        return small_dialogue(chance, id=None, query=query)

    def cloud_event(query: str, number: int) -> CloudEvent:
        attributes = {"type": "com.example.rag.dialogue.v1", "source": "/sdk", "id": str(number), "partitionkey": "k"}
        return CloudEvent({**attributes, "specversion": "1.0", "datacontenttype": "application/json"}, event(query))

    in_base64 = base64.b64encode(as_json(event("structured base64"))).decode()
    records = [
        Outgoing(topic, as_json(event("plain"))),
        Outgoing(
            topic,
            as_json(event("plain, headers of others")),
            headers=[("traceparent", b"00-1"), ("content-type", b"application/json")],
        ),
        binary(as_json(event("binary")), topic, id="b", type="DialogueLogged", time="2026-01-01T00:00:00Z"),
        structured(topic, id="s", data=event("structured")),
        structured(topic, id="s64", data_base64=in_base64, datacontenttype="application/json"),
        by_sdk(sdk.to_binary(cloud_event("sdk binary", 1), JSONFormat()), topic),
        by_sdk(sdk.to_structured(cloud_event("sdk structured", 2), JSONFormat()), topic),
    ]
    send(bootstrap_servers, records)
    ingest(environment, len(records), tmp_path / "log")
    assert counts(environment) == {"inserted": len(records), "duplicates": 0, "dead": 0}, environment.query(
        "SELECT detail FROM dead_letters"
    )
    assert queries(environment) == sorted(
        [
            "plain",
            "plain, headers of others",
            "binary",
            "structured",
            "structured base64",
            "sdk binary",
            "sdk structured",
        ]
    )


def test_source_and_id_of_a_cloudevent_are_its_identity(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """Published twice, in either mode and at another time, it is one row, the first; an id in the data has
    precedence.
    """
    chance = random.Random(2)

    def data(query: str, event_id: str | None = None) -> dict[str, Any]:
        return small_dialogue(chance, id=event_id, query=query)

    own = str(random_uuid(chance))
    records = [
        binary(as_json(data("1 first")), topic, source="/a", id="1"),
        binary(as_json(data("again")), topic, source="/a", id="1")._replace(timestamp_ms=1_600_000_000_000),
        structured(topic, source="/a", id="1", data=data("again, structured")),
        binary(as_json(data("2 other source")), topic, source="/b", id="1"),
        binary(as_json(data("3 other id")), topic, source="/a", id="2"),
        binary(as_json(data("4 own id", own)), topic, source="/a", id="1"),
        structured(topic, source="/c", id="9", data=data("own id again", own)),
    ]
    send(bootstrap_servers, records)
    ingest(environment, len(records), tmp_path / "log")
    assert counts(environment) == {"inserted": 4, "duplicates": 3, "dead": 0}
    assert queries(environment) == ["1 first", "2 other source", "3 other id", "4 own id"]
    assert UUID(own) in ids(environment)


def test_without_an_id_reading_again_gives_the_same_ids(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """Equal records are different events; another group that reads them finds only duplicates."""
    same = as_json(small_dialogue(random.Random(3), id=None))
    piece = as_json(provenance(random.Random(3), id=None))
    records = [Outgoing(topic, same)] * 20 + [Outgoing(environment.topics["provenance"], piece)] * 20
    send(bootstrap_servers, records)
    ingest(environment, 40, tmp_path / "log")
    before = ids(environment) | ids(environment, "provenance")
    assert len(before) == 40
    environment.group = environment.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{environment.group}-again"
    ingest(environment, 80, tmp_path / "log")
    assert counts(environment) == {"inserted": 0, "duplicates": 40, "dead": 0}
    assert ids(environment) | ids(environment, "provenance") == before


def test_json_is_stored_unchanged(environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path) -> None:
    """Numbers and times keep their spelling: the column equals PostgreSQL's own parsing of the same text."""
    chance = random.Random(4)
    raw = as_json(small_dialogue(chance, citations=[])).replace(
        b'"citations": []', b'"citations": ' + CITATIONS.encode()
    )
    envelope = b'{"specversion":"1.0","type":"rag.dialogue","source":"/s","id":"1","data":' + raw.replace(
        json.loads(raw)["id"].encode(), str(random_uuid(chance)).encode()
    )
    piece = as_json(provenance(chance, access_policy={})).replace(
        b'"access_policy": {}', b'"access_policy": ' + POLICY.encode()
    )
    in_binary = raw.replace(json.loads(raw)["id"].encode(), str(random_uuid(chance)).encode())
    records = [
        Outgoing(topic, raw),
        Outgoing(topic, envelope + b"}", headers=STRUCTURED),
        binary(in_binary, topic),
        Outgoing(environment.topics["provenance"], piece),
    ]
    send(bootstrap_servers, records)
    ingest(environment, len(records), tmp_path / "log")
    assert counts(environment)["dead"] == 0, environment.query("SELECT detail FROM dead_letters")
    stored = environment.query(
        "SELECT citations::text AS found, %s::jsonb::text AS wanted FROM ai_dialogue_log", CITATIONS
    )
    assert len(stored) == 3
    assert all(row["found"] == row["wanted"] for row in stored), stored
    assert "1.10" in stored[0]["found"]
    assert "12345678901234567890.123456789" in stored[0]["found"]
    assert "+00:00" in stored[0]["found"]
    [policy] = environment.query(
        "SELECT access_policy::text AS found, %s::jsonb::text AS wanted FROM provenance", POLICY
    )
    assert policy["found"] == policy["wanted"]


def test_a_wrong_or_incomplete_envelope_is_a_dead_letter(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """The dead letter names the wrong attribute; an unknown version or a batch of events is named too."""
    data = small_dialogue(random.Random(5))
    wrong = {
        "ce_type": binary(as_json(data), topic, type="rag.provenance"),
        "ce_source": binary(as_json(data), topic, source=""),
        "ce_specversion": binary(as_json(data), topic, specversion="2.0"),
        "type": structured(topic, type="rag.provenance", data=data),
        "id": structured(topic, id=None, data=data),
        "data": structured(topic),
        "data_base64": structured(topic, data_base64="?"),
        "content-type": Outgoing(
            topic, as_json(data), headers=[("content-type", b"application/cloudevents-batch+json")]
        ),
    }
    send(bootstrap_servers, wrong.values())
    ingest(environment, len(wrong), tmp_path / "log")
    letters = environment.query("SELECT reason, detail FROM dead_letters ORDER BY record_offset")
    assert [letter["detail"]["faults"][0]["path"] for letter in letters] == list(wrong)
    kinds = ["wrong_kind" if name.endswith("type") and name != "content-type" else "invalid_envelope" for name in wrong]
    assert [letter["reason"] for letter in letters] == kinds


def test_uncommon_but_clear_spellings_are_rows_and_other_formats_are_named(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """A byte order mark, a quoted content type, short times, a long model name, a rounded cosine."""
    chance, mark = random.Random(3), b"\xef\xbb\xbf"

    def event(query: str, **changes: Any) -> dict[str, Any]:
        return small_dialogue(chance, id=None, query=query, **{"created_at": "2026-01-31T18:30+0900", **changes})

    citations = [{"source": "s", "confidence": 1.0000001, "timestamp": "2026-01-31T09:30Z"}]
    quoted = [("content-type", b'"application/cloudevents+json; charset=utf-8"')]
    framed = mark + b"\0\0\0\0\x07{}"
    unannounced = as_json({"specversion": "1.0", "type": "rag.dialogue", "source": "/c", "id": "1", "data": {}})
    records = [
        Outgoing(topic, mark + as_json(event("1 mark", citations=citations))),
        structured(topic, id="q", data=event("2 quoted"))._replace(headers=quoted),
        Outgoing(topic, as_json(event("3 model", model_used="m" * 255))),
        Outgoing(topic, as_json(event("too long", model_used="m" * 256))),
        Outgoing(topic, framed),
        Outgoing(topic, unannounced),
    ]
    send(bootstrap_servers, records)
    ingest(environment, len(records), tmp_path / "log")
    assert counts(environment) == {"inserted": 3, "duplicates": 0, "dead": 3}
    assert queries(environment) == ["1 mark", "2 quoted", "3 model"]
    times = environment.query("SELECT DISTINCT created_at::text AS at FROM ai_dialogue_log")
    assert times == [{"at": "2026-01-31 09:30:00"}]
    [stored] = environment.query("SELECT citations FROM ai_dialogue_log WHERE query = '1 mark'")
    assert stored["citations"] == citations
    letters = environment.query(
        "SELECT value, reason, detail ->> 'message' AS said FROM dead_letters ORDER BY record_offset"
    )
    assert [letter["reason"] for letter in letters] == ["invalid_field", "not_json", "invalid_envelope"]
    assert bytes(letters[1]["value"]) == framed
    assert "schema id 7" in letters[1]["said"]
    assert "content-type header is missing" in letters[2]["said"]
