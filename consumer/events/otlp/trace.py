"""Builds a trace from its spans. The result does not depend on their order of arrival."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from consumer.events.otlp import mapping
from consumer.events.otlp.mapping import Role
from consumer.events.otlp.roles import role_of

Values = Mapping[str, Any]


class Stored(NamedTuple):
    """A staged span or log record, and its resource, as serialized protobuf messages."""

    is_log: bool
    resource: bytes
    content: bytes


class Event(NamedTuple):
    """An event of a span: a span event, or a log record that names the span."""

    name: str
    time: int
    attributes: Values
    body: Any = None


@dataclass(eq=False, slots=True)
class Node:
    """A span as a node of its trace.

    :ivar said: the attributes of the span, then those of each event that holds its content
    """

    id: bytes
    parent: bytes
    start: int
    end: int
    role: Role
    failed: bool
    dropped: int
    attributes: Values
    resource: Values
    events: list[Event]
    said: Sequence[Values]

    def get(self, names: Iterable[str]) -> Any:
        """The value of the first of these attributes that the span, or an event with its content, has; else None."""
        for attributes in self.said:
            for name in names:
                if (value := attributes.get(name)) is not None and value != "":
                    return value
        return None

    def add_events(self, events: Iterable[Event]) -> None:
        """Add events in order of time. Events of equal times stay in the order in which they were added."""
        self.events.extend(events)
        self.events.sort(key=lambda event: event.time)
        details = (event.attributes for event in self.events if event.name == mapping.DETAILS_EVENT)
        self.said = (self.attributes, *details)


class Trace:
    """The spans of a trace, sorted by time and then by id.

    :ivar root: the first span without a parent; None if there is none
    :ivar root_first: the spans with the root first. Values of the whole trace come from the first span that has them
    :ivar names: the names of all attributes
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.root: Node | None = next((node for node in nodes if not node.parent), None)
        root = self.root
        self.root_first = nodes if root is None else [root, *[node for node in nodes if node is not root]]
        self.names = frozenset(chain.from_iterable([names for node in nodes for names in node.said]))

    @cached_property
    def by_id(self) -> Mapping[bytes, Node]:
        """The spans by their ids."""
        return {node.id: node for node in self.nodes}

    def of(self, role: Role) -> Sequence[Node]:
        """The spans of a role."""
        return [node for node in self.nodes if node.role is role]

    def enclosing(self, node: Node) -> Iterable[Node]:
        """The spans that enclose a span, from the innermost to the outermost."""
        seen = {node.id}
        while (found := self.by_id.get(node.parent)) is not None and found.id not in seen:
            seen.add(found.id)
            yield found
            node = found

    def first(self, names: Iterable[str]) -> Any:
        """The value of the first of these attributes that any span has; else None. The root takes precedence."""
        for name in names:
            if name in self.names:
                value = next((value for node in self.root_first if (value := node.get((name,))) is not None), None)
                if value is not None:
                    return value
        return None


def trace_of(stored: Iterable[Stored]) -> Trace:
    """Build the trace of staged spans and log records.

    Duplicates count once. If a span has several versions, the version with the latest end counts.
    """
    spans: dict[bytes, _Version] = {}
    logs: set[Stored] = set()
    for one in stored:
        if one.is_log:
            logs.add(one)
            continue
        span = Span.FromString(one.content)
        other = spans.setdefault(span.span_id, (span, one))
        if other[1] is not one and _counts_more((span, one), other):
            spans[span.span_id] = span, one
    nodes = {span_id: _node(span, one.resource) for span_id, (span, one) in spans.items()}
    if logs:
        _join(nodes, map(_log_event, sorted(logs)))
    return Trace(sorted(nodes.values(), key=lambda node: (node.start, node.end, node.id)))


_Version = tuple[Span, Stored]


def _counts_more(version: _Version, other: _Version) -> bool:
    """Whether this version of a span counts more than the other. It never depends on which one arrived first."""
    (span, stored), (other_span, other_stored) = version, other
    rank, other_rank = (span.end_time_unix_nano, stored.content), (other_span.end_time_unix_nano, other_stored.content)
    return rank > other_rank or (rank == other_rank and stored.resource < other_stored.resource)


def _join(nodes: Mapping[bytes, Node], events: Iterable[tuple[bytes, Event]]) -> None:
    """Add events to the spans that they name."""
    of_spans: dict[bytes, list[Event]] = {}
    for span_id, event in events:
        of_spans.setdefault(span_id, []).append(event)
    for span_id in of_spans.keys() & nodes.keys():
        nodes[span_id].add_events(of_spans[span_id])


def _node(span: Span, resource: bytes) -> Node:
    found = span.attributes
    attributes = values_of(found)
    role, events = role_of(attributes), span.events
    if role is Role.OTHER and any(event.name == mapping.RESULT_EVENT for event in events):
        role = Role.RETRIEVAL
    node = Node(
        span.span_id,
        span.parent_span_id,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        role,
        span.status.code == Status.STATUS_CODE_ERROR
        or "error.type" in attributes
        or attributes.get("langfuse.observation.level") == "ERROR",
        span.dropped_attributes_count,
        attributes,
        _resource(resource),
        [],
        (attributes,),
    )
    if events:
        node.add_events(Event(event.name, event.time_unix_nano, values_of(event.attributes)) for event in events)
    return node


@lru_cache(maxsize=1024)
def _resource(raw: bytes) -> Values:
    """Decode a staged resource. The results are cached, because nearly all spans share a few resources."""
    return values_of(Resource.FromString(raw).attributes)


def _log_event(stored: Stored) -> tuple[bytes, Event]:
    """The event of a log record, with the id of its span."""
    record = LogRecord.FromString(stored.content)
    attributes = values_of(record.attributes)
    name = record.event_name or attributes.get("event.name", "")
    moment = record.time_unix_nano or record.observed_time_unix_nano
    return record.span_id, Event(name, moment, attributes, value_of(record.body))


def values_of(attributes: Iterable[Any]) -> dict[str, Any]:
    """Attributes by name."""
    return {one.key: one.value.string_value or value_of(one.value) for one in attributes}


def value_of(value: AnyValue) -> Any:
    """The value as a Python object. Nested values become lists and dicts, as in JSON."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return [value_of(one) for one in found.values]
    if kind == "kvlist_value":
        return values_of(found.values)
    return found
