"""The id of an event that brings none of its own: the same for every reading of the same record."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID, uuid5

from consumer.events.record import Record

# The namespace of ids made from CloudEvents attributes: fixed for ever, or re-reading would double every row.
CLOUDEVENT_NAMESPACE = UUID("6f1c2f5e-6d5b-5f0e-9a54-7261676c6564")


def from_cloudevent(source: str, event_id: str) -> UUID:
    """A version 5 id (RFC 9562 §5.5) from source and id, which together identify a CloudEvent (spec 1.0, "id").

    The record's timestamp is left out on purpose: the same event published again must be the same row.
    """
    return uuid5(CLOUDEVENT_NAMESPACE, json.dumps([source, event_id]))


def from_record(record: Record) -> UUID:
    """A version 8 id (RFC 9562 §5.8) from topic, partition, offset and record timestamp.

    The first 48 bits are the timestamp in milliseconds, as in version 7, so that ids grow with time and new rows
    land beside each other in the index; the other 74 are a hash. The timestamp is part of the hash too: a topic made
    anew under the same name starts at offset 0 again but gives other ids.
    """
    return UUID(bytes=bytes_from_record(record))


def bytes_from_record(record: Record) -> bytes:
    """The 16 bytes of :func:`from_record`, without an object for each id."""
    name = f"{record.topic}\0{record.partition}\0{record.offset}\0{record.timestamp}"
    digest = hashlib.blake2b(name.encode(), digest_size=10).digest()
    time = max(record.timestamp, 0) & 0xFFFF_FFFF_FFFF
    version_and_variant = bytes((0x80 | digest[0] & 0x0F, digest[1], 0x80 | digest[2] & 0x3F))
    return time.to_bytes(6, "big") + version_and_variant + digest[3:]
