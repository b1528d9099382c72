"""Records of traces: some that the OpenTelemetry Collector contrib 0.165.1 wrote, and constructed ones."""

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status, TracesData

from consumer.events.otlp.fold import Folded, Folding, Skipped
from consumer.events.otlp.kinds import Signal, SignalKind, signal_kind
from consumer.events.otlp.staged import read_spans
from consumer.events.otlp.trace import Stored, trace_of
from consumer.events.rejection import Rejected

DIRECTORY = Path(__file__).parents[1] / "fixtures" / "otlp"
FOLDING = Folding()
SPANS, LOGS = signal_kind(Signal.SPANS, FOLDING), signal_kind(Signal.LOGS, FOLDING)
USER, SESSION = "5018c5a3-91f3-46af-94ff-2f9d15565fb4", "7a3e82ac-64d6-4078-838d-481268345b63"
START = 1_796_005_293_903_748_840


class Captured(NamedTuple):
    """A captured record. `form` is json, bin (protobuf), or keyed (protobuf, keyed by trace)."""

    instrumentation: str
    form: str
    signal: Signal
    value: bytes
    file: str


def captured() -> Sequence[Captured]:
    """Return every captured record."""
    listed = json.loads((DIRECTORY / "records.json").read_text())["records"]
    return [
        Captured(
            one["instrumentation"],
            "json" if one["encoding"] == "otlp_json" else "keyed" if "keyed" in one["topic"] else "bin",
            Signal(one["signal"]),
            (DIRECTORY / one["file"]).read_bytes(),
            one["file"],
        )
        for one in listed
    ]


def expected() -> dict[str, dict[str, Any]]:
    """Return the expected results, by instrumentation and trace."""
    found: dict[str, dict[str, Any]] = json.loads((DIRECTORY / "expected.json").read_text())
    return found


def kind_of(signal: Signal) -> SignalKind:
    """Return the kind of a topic of this signal."""
    return SPANS if signal is Signal.SPANS else LOGS


def staged(records: Iterable[tuple[Signal, bytes]]) -> Mapping[UUID, list[Stored]]:
    """Return the staged content of the records, by trace."""
    traces: defaultdict[UUID, list[Stored]] = defaultdict(list)
    for signal, value in records:
        for one in read_spans(value, kind_of(signal)).kept:
            traces[UUID(bytes=one.trace_id)].append(Stored(one.is_log, one.resource, one.content))
    return traces


def fold(trace: UUID, stored: Iterable[Stored], folding: Folding = FOLDING) -> Folded | Skipped | Rejected:
    """Return the result of a trace."""
    try:
        found: Any = trace_of(stored)
        for step in folding.steps:
            if not isinstance(found, Skipped):
                found = step(trace, found)
    except Rejected as rejected:
        return rejected
    result: Folded | Skipped = found
    return result


def as_json(result: Folded | Skipped | Rejected) -> dict[str, Any]:
    """Return a result in the form of the expectations."""
    if isinstance(result, Skipped):
        return {"skipped": result.value}
    if isinstance(result, Rejected):
        return {"rejected": result.reason.value, "faults": [str(fault) for fault in result.faults]}
    values: dict[str, Any]
    values = {name: value if isinstance(value, int | list) else str(value) for name, value in result.values.items()}
    values |= {"service": result.service, "environment": result.environment, **result.operations._asdict()}
    plain: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return plain


def any_value(value: Any) -> AnyValue:
    """Return a value of an attribute as a protobuf message."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=map(any_value, value)))
    if isinstance(value, dict):
        return AnyValue(kvlist_value=KeyValueList(values=attributes_of(value)))
    return AnyValue(string_value=value)


def attributes_of(attributes: Mapping[str, Any]) -> list[KeyValue]:
    """Return attributes as protobuf messages."""
    return [KeyValue(key=name, value=any_value(value)) for name, value in attributes.items()]


def span(
    trace: UUID,
    number: int,
    attributes: Mapping[str, Any],
    *,
    parent: int = 0,
    start: int = 0,
    took: int = 100,
    error: bool = False,
    events: Iterable[tuple[str, Mapping[str, Any]]] = (),
    dropped: int = 0,
) -> Span:
    """Return a span; times are in milliseconds after `START`. Parent 0 means that it has none."""
    began = START + start * 1_000_000
    return Span(
        trace_id=trace.bytes,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=f"span {number}",
        start_time_unix_nano=began,
        end_time_unix_nano=began + took * 1_000_000,
        attributes=attributes_of(attributes),
        status=Status(code=Status.STATUS_CODE_ERROR) if error else None,
        events=[
            Span.Event(name=name, time_unix_nano=began + place, attributes=attributes_of(said))
            for place, (name, said) in enumerate(events)
        ],
        dropped_attributes_count=dropped,
    )


def record(*spans: Span, service: str = "chat", environment: str = "test") -> bytes:
    """Return one record as the Kafka exporter writes it."""
    resource = Resource(attributes=attributes_of({"service.name": service, "deployment.environment.name": environment}))
    return TracesData(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])]
    ).SerializeToString()


def message(role: str, text: str) -> dict[str, Any]:
    """Return a message in the form of the present conventions."""
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """Return the attributes of a model call."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-5-mini",
        "gen_ai.response.model": "gpt-5-mini-2026-02-01",
        "gen_ai.usage.input_tokens": 60,
        "gen_ai.usage.output_tokens": 17,
        "gen_ai.input.messages": json.dumps([message("system", "Answer."), message("user", question)]),
        "gen_ai.output.messages": json.dumps([message("assistant", answer)]),
        **more,
    }


def traced(chance: random.Random, trace: UUID | None = None) -> tuple[UUID, list[Span]]:
    """Return a trace of four spans with its own texts: root, retrieval, embedding, model call."""
    trace = trace or UUID(int=chance.getrandbits(128) | 1)
    word = f"{chance.getrandbits(32):x}"
    documents = [
        {"id": f"d{n}", "score": 0.5, "content": "text", "metadata": {"source": f"https://example/{word}/{n}"}}
        for n in range(2)
    ]
    start = chance.randrange(1_000_000)
    retrieval = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(documents)}
    return trace, [
        span(trace, 1, {"http.route": "/chat", "user.id": USER, "session.id": SESSION}, start=start, took=1500),
        span(trace, 2, {"gen_ai.operation.name": "embeddings"}, parent=1, start=start + 10),
        span(trace, 3, retrieval, parent=1, start=start + 20),
        span(trace, 4, chat(f"what is {word}?", f"it is {word}"), parent=1, start=start + 200, took=1000),
    ]
