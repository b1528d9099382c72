"""Checks that must hold for any slice of records, however hostile."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from uuid import UUID

from consumer.decode.lanes import Verdict, decode_all
from consumer.decode.rows import Row, decode_exactly
from consumer.events.envelope import open_envelope
from consumer.events.kind import Kind
from consumer.events.payload import parse
from consumer.events.record import StoredRecord
from consumer.events.rejection import Reason, Rejected
from tests.support.copy_reader import read_tuple
from tests.unit.fuzz.values import CANARY


def check_slice(kind: Kind, records: Sequence[StoredRecord], max_bytes: int) -> Sequence[Verdict]:
    """Return the verdict on each record after checking it.

    It equals the exact lane's verdict on the record alone, whatever is around it. A reason repeats nothing of the
    event. A row is a complete COPY tuple that contains the texts of the event.
    """
    verdicts = decode_all(kind, records, max_bytes)
    assert len(verdicts) == len(records)
    for record, verdict in zip(records, verdicts, strict=True):
        assert_same(verdict, _alone(kind, record, max_bytes), record)
        if isinstance(verdict, Rejected):
            assert_says_nothing(verdict)
        else:
            assert_texts_are_kept(kind, verdict)
    return verdicts


def _alone(kind: Kind, record: StoredRecord, max_bytes: int) -> Verdict:
    if record.value is not None and len(record.value) > max_bytes:
        problem = f"the value has {len(record.value):,} bytes; at most {max_bytes:,} are taken"
        return Rejected.whole(Reason.RECORD_TOO_LARGE, problem)
    try:
        return decode_exactly(kind, record)
    except Rejected as rejected:
        return rejected


def assert_same(found: Verdict, alone: Verdict, record: StoredRecord) -> None:
    """Assert that two verdicts are equal."""
    if isinstance(found, Rejected) and isinstance(alone, Rejected):
        assert (found.reason, found.detail()) == (alone.reason, alone.detail()), record
    else:
        assert found == alone, record


def assert_says_nothing(rejected: Rejected) -> None:
    """Assert that the reason is known, printable, and contains no text of the event. Terminals and logs show it."""
    said = json.dumps(rejected.detail()) + str(rejected)
    assert rejected.reason in Reason
    assert CANARY not in said
    assert str(rejected).isprintable()


def assert_texts_are_kept(kind: Kind, row: Row) -> None:
    """Assert that texts in the table equal those in the event, character for character."""
    columns = read_tuple(row.encoded, kind)
    members = parse(open_envelope(row.record, kind.name).payload)
    for name, field in kind.columns.items():
        if field.pg_type == "text":
            assert columns[name] == members.get(name), name
        if field.pg_type == "jsonb" and members.get(name) is not None:
            assert parse(b'{"v":' + columns[name] + b"}")["v"] == members[name], name
    key = columns[kind.key]
    assert row.id == (key.bytes if isinstance(key, UUID) else struct.pack("!i", len(key.encode())) + key.encode())
