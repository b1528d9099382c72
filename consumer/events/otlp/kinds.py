"""The kinds of the records in OTLP topics, and of the spans that are staged from them.

Every service knows these declarations. It imports the modules that read OTLP only if it has such a topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, NamedTuple, NotRequired, Required
from uuid import UUID

from typing_extensions import TypedDict

from consumer.events.fields import Bytes, Flag, Uuid
from consumer.events.kind import Kind

if TYPE_CHECKING:
    from consumer.events.otlp.fold import Folding

# The namespace of ids in traces if no other is set. It must never change, or a known user would get a new id.
DEFAULT_NAMESPACE = UUID("7d0f8a3c-2b58-5c1e-9d4e-7261676c6564")


class Signal(StrEnum):
    """The signal that a topic carries."""

    SPANS = "traces"
    LOGS = "logs"


class StagedSpan(TypedDict):
    """A row of staged_spans."""

    id: Required[Annotated[UUID, Uuid()]]
    trace_id: Required[Annotated[UUID, Uuid()]]
    user_id: NotRequired[Annotated[UUID, Uuid()]]
    is_log: Required[Annotated[bool, Flag()]]
    is_outline: Required[Annotated[bool, Flag()]]
    resource: Required[Annotated[bytes, Bytes()]]
    content: Required[Annotated[bytes, Bytes()]]


SPAN = Kind("span", "staged_spans", StagedSpan, facts=())
"""The kind of the rows in staged_spans. One record of traces or logs becomes many of them."""


@dataclass(frozen=True, eq=False)
class SignalKind(Kind):
    """The kind of the records in an OTLP topic.

    :param signal: the signal that the topic carries
    :param folding: derives the ids of the users that spans name
    """

    signal: Signal = field(kw_only=True)
    folding: Folding = field(kw_only=True)


def signal_kind(signal: Signal, folding: Folding) -> SignalKind:
    """The kind of the records in an OTLP topic."""
    return SignalKind(f"otlp_{signal}", SPAN.table, StagedSpan, facts=(), signal=signal, folding=folding)


class SpanReason(StrEnum):
    """The reason why a span is kept whole, kept as an outline, or skipped. It is a label of a metric."""

    MODEL_CALL = "model_call"
    RETRIEVAL = "retrieval"
    CONTEXT = "context"
    EVENT = "event"
    OUTLINE = "outline"
    UNRELATED = "unrelated"
    INVALID = "invalid"


class Kept(NamedTuple):
    """A span or a log event in the form that is staged."""

    id: bytes
    trace_id: bytes
    user: bytes
    is_log: bool
    is_outline: bool
    is_root: bool
    resource: bytes
    content: bytes
    reason: SpanReason


def emptied(one: Kept) -> Kept:
    """The same span without content, for a trace whose user was erased."""
    return one._replace(user=b"", resource=b"", content=b"")
