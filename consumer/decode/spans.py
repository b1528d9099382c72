"""The rows of staged_spans. One record of traces or logs has many of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumer.decode.copy_format import NULL, UUID_LENGTH, encode_boolean, encode_bytes, length_prefix, tuple_head
from consumer.decode.rows import Row
from consumer.events.otlp.kinds import SPAN, Kept, SpanReason, emptied
from consumer.events.record import Record


class SpanFacts(NamedTuple):
    """The facts about a staged span that are not columns."""

    trace_id: bytes
    is_root: bool
    reason: SpanReason


class SpanRecord(Row, gc=False, kw_only=True):
    """One record of spans or log events, in the form of a row. It represents the record wherever records are counted.

    :param rows: the staged spans and log events of the record
    :param skipped: the reason for each one that is not staged
    :param speaks: whether any of them contributes to a dialogue; if not, the record counts as ignored
    """

    rows: Sequence[Row]
    skipped: Sequence[SpanReason]
    speaks: bool


def span_row(record: Record, kept: Kept) -> Row:
    """The row of one span."""
    id_, trace_id, user, is_log, is_outline, is_root, resource, content, reason = kept
    encoded = b"".join(
        (
            _HEAD,
            UUID_LENGTH,
            id_,
            UUID_LENGTH,
            trace_id,
            UUID_LENGTH + user if user else NULL,
            encode_boolean(is_log),
            encode_boolean(is_outline),
            encode_bytes(resource),
            length_prefix(len(content)),
            content,
        )
    )
    return Row(record, id_, encoded, SpanFacts(trace_id, is_root, reason), None, 0, user)


def without_content(row: Row) -> Row:
    """The same row without content, for a trace whose user was erased. It only records that the span existed."""
    trace_id, is_root, reason = row.facts
    kept = Kept(
        row.id, trace_id, b"", is_log=False, is_outline=True, is_root=is_root, resource=b"", content=b"", reason=reason
    )
    return span_row(row.record, emptied(kept))


_HEAD = tuple_head(SPAN)
