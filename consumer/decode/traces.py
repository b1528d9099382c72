"""Folds the staged spans of traces into dialogues, ready for COPY."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from consumer.decode.copy_format import microseconds, tuple_encoder
from consumer.decode.rows import Row
from consumer.events.dialogue import DIALOGUE
from consumer.events.kind import Values
from consumer.events.otlp.fold import Folded, Folding, Skipped
from consumer.events.otlp.trace import Stored, Trace, trace_of
from consumer.events.record import StoredRecord
from consumer.events.rejection import Reason, Rejected

# A trace is not a record of Kafka. This partition marks its dead letter, and no record has it.
TRACE_PARTITION = -1
_json = msgspec.json.Encoder(decimal_format="number")
_encode = tuple_encoder(DIALOGUE)
_TRACES_A_STEP = 50
_FINAL = (Rejected, Skipped)


class TraceDialogue(NamedTuple):
    """The dialogue of a trace.

    :param row: the row of the dialogue; its record stands for the trace and has no value
    :param content_hash: the hash of all stored values; if it has not changed, the dialogue needs no update
    """

    row: Row
    folded: Folded
    content_hash: bytes


Judged = TraceDialogue | Skipped | Rejected
_Step = Callable[[UUID, Any], Any]


def judge(folding: Folding, topic: str, traces: Mapping[UUID, Sequence[Stored]]) -> Mapping[UUID, Judged]:
    """Return the result of each trace: a dialogue, or the reason why it is skipped or rejected.

    Each step is done for several traces before the next step. All steps for one trace after the other would take a
    fifth more time, because the code of one step stays in the processor's caches.
    """
    judged: dict[UUID, Judged] = {}
    waiting = iter(traces.items())
    while portion := dict(islice(waiting, _TRACES_A_STEP)):
        found = built = _each(lambda _, stored: trace_of(stored), portion)
        steps: Sequence[_Step] = (*folding.steps, partial(_dialogue, topic, built))
        for step in steps:
            found = _each(step, found)
        judged |= found
    return judged


def _each(step: _Step, found: Mapping[UUID, Any]) -> dict[UUID, Any]:
    """The result of a step for each trace, or of an earlier step if that was final."""
    return {
        trace_id: one if isinstance(one, _FINAL) else _attempt(step, trace_id, one) for trace_id, one in found.items()
    }


def _attempt(step: _Step, trace_id: UUID, one: Any) -> Any:
    try:
        return step(trace_id, one)
    except Rejected as rejected:
        return rejected
    except Exception as error:  # noqa: BLE001 - one trace that cannot be read must not block the others
        problem = f"the trace cannot be folded: {type(error).__name__}; this is a bug in ragledger, please report it"
        return Rejected.whole(Reason.INVALID_FIELD, problem)


def _dialogue(topic: str, traces: Mapping[UUID, Trace], trace_id: UUID, folded: Folded) -> TraceDialogue:
    record, values = _place(topic, trace_id, traces[trace_id]), folded.values
    facts = tuple([_fact(values.get(name)) for name in DIALOGUE.facts])
    encoded = _encode(_with_raw_citations(values))
    moment = microseconds(values["created_at"])
    row = Row(record, values["id"].bytes, encoded, facts, moment, 0, values["user_id"].bytes, folded.note)
    known = repr((folded.service, folded.environment, folded.operations)).encode()
    return TraceDialogue(row, folded, hashlib.blake2b(encoded + known, digest_size=16).digest())


def _fact(value: object) -> object:
    return len(value) if isinstance(value, list) else value


def _with_raw_citations(values: Values) -> Values:
    return {**values, "citations": _json.encode(values["citations"])} if "citations" in values else values


def offset_of(trace_id: UUID) -> int:
    """The number that identifies a trace's dead letter, in place of an offset."""
    return trace_id.int & (2**63 - 1)


def _place(topic: str, trace_id: UUID, trace: Trace) -> StoredRecord:
    start = min([node.start for node in trace.nodes if node.start], default=0)
    return StoredRecord(topic, TRACE_PARTITION, offset_of(trace_id), start // 1_000_000, trace_id.hex.encode(), None)


def trace_record(topic: str, trace_id: UUID, stored: Sequence[Stored], users: Iterable[UUID]) -> StoredRecord:
    """Build the record that a trace's dead letter stores: OTLP with log events as events of their spans.

    :param users: the ids of the users that the spans name; they go into headers, because the spans may contain other
        ids of the users, and an erasure must find the dead letter
    """
    spans = {one.content: (one.resource, Span.FromString(one.content)) for one in stored if not one.is_log}
    for one in sorted(one for one in stored if one.is_log):
        log = LogRecord.FromString(one.content)
        for _, span in spans.values():
            if span.span_id == log.span_id:
                _add_event(span, log)
    data = TracesData(
        resource_spans=[
            ResourceSpans(resource=Resource.FromString(resource), scope_spans=[ScopeSpans(spans=[span])])
            for resource, span in spans.values()
        ]
    )
    place = _place(topic, trace_id, trace_of(stored))
    headers = tuple(("ragledger-user-id", user.encode()) for user in sorted(map(str, users)))
    return place._replace(value=data.SerializeToString(), headers=headers)


def _add_event(span: Span, log: LogRecord) -> None:
    event = span.events.add(name=log.event_name, time_unix_nano=log.time_unix_nano)
    event.attributes.extend(log.attributes)
    if log.HasField("body"):
        event.attributes.add(key="body").value.CopyFrom(log.body)
