"""Opens the three envelopes of events: plain JSON, CloudEvents binary mode, CloudEvents structured mode.

The record's headers distinguish them, as the Kafka protocol binding for CloudEvents 1.0 specifies (§3.2, §3.3).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from consumer.events.formats import BYTE_ORDER_MARK
from consumer.events.payload import parse, raw_members
from consumer.events.record import Record
from consumer.events.rejection import Fault, Reason, Rejected

STRUCTURED = "application/cloudevents+json"
_BATCHED = "application/cloudevents-batch+json"
_VERSION = re.compile(r"1\.0(\.\d+)?", re.ASCII)
ATTRIBUTES = ("specversion", "type", "source", "id")
"""The attributes that every CloudEvent must have (spec 1.0 §3.1)."""


class Envelope(NamedTuple):
    """The JSON of the event itself, and the CloudEvents source and id if it is a CloudEvent."""

    payload: bytes
    origin: tuple[str, str] | None


def open_envelope(record: Record, kind: str) -> Envelope:
    """Return the event in an envelope, and check that the envelope's type agrees with `kind`.

    A byte order mark at the beginning of the value is removed.

    :raises Rejected: the record is a tombstone, the envelope is incomplete, or its type names another kind
    """
    value = record.value
    if value is None:
        raise Rejected.whole(Reason.TOMBSTONE, "a tombstone: the record has no value")
    value = value.removeprefix(BYTE_ORDER_MARK)
    if not record.headers:
        return Envelope(value, None)
    return _open_with_headers(dict(record.headers), value, kind)


def _open_with_headers(headers: Mapping[str, bytes | None], value: bytes, kind: str) -> Envelope:
    content_type = media_type(headers)
    if content_type == STRUCTURED:
        return _structured(value, kind)
    if content_type.startswith("application/cloudevents+"):
        raise _broken("content-type", f"only the JSON format of CloudEvents is understood, {STRUCTURED}")
    if content_type == _BATCHED:
        raise _broken("content-type", "a batch of CloudEvents in one record is not understood; send one event a record")
    attributes = {name[3:]: text for name, text in headers.items() if name.startswith("ce_")}
    return _binary(attributes, value, kind) if attributes else Envelope(value, None)


def media_type(headers: Mapping[str, bytes | None]) -> str:
    """Return the media type of the content-type header in lower case; empty if there is none.

    Quotation marks around it are removed, because Spring writes header values as JSON strings.
    """
    for name, value in headers.items():
        if name.lower() == "content-type" and value:
            return value.decode("latin-1").split(";")[0].strip(' \t\r\n"').lower()
    return ""


def _binary(attributes: Mapping[str, bytes | None], value: bytes, kind: str) -> Envelope:
    texts = {name: _text(name, attributes.get(name)) for name in ATTRIBUTES}
    return Envelope(value, _origin(texts, kind, "ce_"))


def _text(name: str, value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        raise _broken(f"ce_{name}", "is not UTF-8") from None


def _structured(value: bytes, kind: str) -> Envelope:
    attributes = parse(value)
    origin = _origin(attributes, kind, "")
    return Envelope(_data(attributes, value), origin)


def _data(attributes: Mapping[str, Any], value: bytes) -> bytes:
    if attributes.get("data_base64") is not None:
        return _decode_base64(attributes["data_base64"])
    data = raw_members(value, ("data",)).get("data")
    if data is None:
        raise _broken("data", "required, but missing")
    return data


def _decode_base64(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True).removeprefix(BYTE_ORDER_MARK)
    except (TypeError, ValueError, binascii.Error):
        raise _broken("data_base64", "is not base64") from None


def _origin(attributes: Mapping[str, Any], kind: str, prefix: str) -> tuple[str, str]:
    """Check the required attributes and the type, and return source and id."""
    for name in ATTRIBUTES:
        if not isinstance(attributes.get(name), str) or not attributes[name]:
            raise _broken(f"{prefix}{name}", "required in a CloudEvent: a string that is not empty")
    if not _VERSION.fullmatch(attributes["specversion"]):
        raise _broken(f"{prefix}specversion", "only CloudEvents 1.0 is understood")
    _check_type(attributes["type"], kind, f"{prefix}type")
    return attributes["source"], attributes["id"]


def _check_type(event_type: str, kind: str, path: str) -> None:
    """Check that the kind is one word of the type: rag.dialogue, com.example.rag.dialogue.v1, DialogueLogged."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", event_type)
    if kind not in {word.lower() for word in words}:
        problem = f"names another kind of event than {kind}, the kind of this topic"
        raise Rejected(Reason.WRONG_KIND, [Fault(path, problem)])


def _broken(path: str, problem: str) -> Rejected:
    return Rejected(Reason.INVALID_ENVELOPE, [Fault(path, problem)])
