"""Computes the id of an event without one. The same record always gets the same id."""

from __future__ import annotations

import hashlib
import json
from uuid import UUID, uuid5

from consumer.events.record import Record

# The namespace of ids from CloudEvents attributes. It must never change, or reading again would duplicate every row.
CLOUDEVENT_NAMESPACE = UUID("6f1c2f5e-6d5b-5f0e-9a54-7261676c6564")


def from_cloudevent(source: str, event_id: str) -> UUID:
    """Return a UUID of version 5 (RFC 9562 §5.5) from source and id, which identify a CloudEvent (spec 1.0, "id").

    The record's timestamp is not used: the same event published again must be the same row.
    """
    return uuid5(CLOUDEVENT_NAMESPACE, json.dumps([source, event_id]))


def from_record(record: Record) -> UUID:
    """Return a UUID of version 8 (RFC 9562 §5.8) from topic, partition, offset and record timestamp.

    The first 48 bits are the timestamp in milliseconds, as in version 7, so that ids increase with time and new rows
    are neighbours in the index. The other 74 are a hash. The hash includes the timestamp too, because a recreated
    topic of the same name starts at offset 0 again and must give other ids.
    """
    return UUID(bytes=bytes_from_record(record))


def bytes_from_record(record: Record) -> bytes:
    """Return the 16 bytes of :func:`from_record`, without a UUID object."""
    name = f"{record.topic}\0{record.partition}\0{record.offset}\0{record.timestamp}"
    digest = hashlib.blake2b(name.encode(), digest_size=10).digest()
    time = max(record.timestamp, 0) & 0xFFFF_FFFF_FFFF
    version_and_variant = bytes((0x80 | digest[0] & 0x0F, digest[1], 0x80 | digest[2] & 0x3F))
    return time.to_bytes(6, "big") + version_and_variant + digest[3:]
