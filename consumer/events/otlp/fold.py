"""Folds one trace into one dialogue, or gives the reason why there is none.

The result depends only on the set of spans, not on their order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from pydantic_core import PydanticCustomError

from consumer.events import ids
from consumer.events.costs import CostError, CostNote, Pricing, Usage
from consumer.events.dialogue import AMOUNT, DIALOGUE
from consumer.events.fields import INT_MAX, check_storable
from consumer.events.kind import Values
from consumer.events.otlp import calls, mapping
from consumer.events.otlp.documents import citations_of
from consumer.events.otlp.kinds import DEFAULT_NAMESPACE
from consumer.events.otlp.mapping import Convention, Role
from consumer.events.otlp.trace import Node, Trace
from consumer.events.payload import parse_scalar
from consumer.events.rejection import Fault, Reason, Rejected

_USER, _SESSION = mapping.names(mapping.USER), mapping.names(mapping.SESSION)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as the columns are
_json = msgspec.json.Encoder(decimal_format="number")


class Skipped(StrEnum):
    """The reason why a trace is not a dialogue."""

    NO_MODEL_CALL = "no_model_call"
    EMBEDDING = "embedding"
    AGENT_CREATION = "agent_creation"
    ERROR = "error"
    TOOL_CALL = "tool_call"


class Operations(NamedTuple):
    """The number of spans in a trace, in total and by role, and the number of errors."""

    spans: int
    model_calls: int
    retrievals: int
    tool_calls: int
    embeddings: int
    errors: int


class Folded(NamedTuple):
    """A dialogue: the values of its columns, and the service and environment that it came from."""

    values: Values
    service: str | None
    environment: str | None
    operations: Operations
    note: CostNote | None = None


class _Answered(NamedTuple):
    """A trace, the fields that the application sets, and the call that answered, with its text, or None."""

    trace: Trace
    own: Mapping[str, Any]
    call: Node | None
    answer: str | None


class _Gathered(NamedTuple):
    """The fields of the dialogue of a trace, not validated yet."""

    answered: _Answered
    usage: calls.Usage
    members: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Folding:
    """Folds traces into dialogues.

    :param namespace: the namespace of the UUIDs that are derived from other ids of users and sessions
    :param retrieved_is_cited: whether the retrieved documents become the dialogue's citations
    :param pricing: settles costs; stated costs of traces are in US dollars
    """

    namespace: UUID = DEFAULT_NAMESPACE
    retrieved_is_cited: bool = True
    pricing: Pricing = field(default_factory=Pricing)

    @property
    def steps(self) -> Sequence[Callable[[UUID, Any], Any]]:
        """The steps from a :class:`Trace` to its :class:`Folded` dialogue.

        Each takes the id of the trace and the result of the step before. If a step returns `Skipped`, the trace is not
        a dialogue. If it raises `Rejected`, the trace is a dialogue, but a field is missing, or a column does not
        accept its value. In both cases the caller leaves out the steps that follow.
        """
        return self._answer, self._gather, self._complete

    def _answer(self, _trace_id: UUID, trace: Trace) -> _Answered | Skipped:
        own = _own(trace)
        call, answer = _answering(trace)
        if call is None and not own:
            skipped = _why_none(trace)
            if skipped is not None:
                return skipped
        return _Answered(trace, own, call, answer)

    def _gather(self, trace_id: UUID, answered: _Answered) -> _Gathered:
        trace, own, call, answer = answered
        usage = calls.usage_of(trace)
        members = self._members(trace_id, trace, usage)
        members |= {**_from_call(call or _last_call(trace), answer), **own}
        return _Gathered(answered, usage, {name: value for name, value in members.items() if value is not None})

    def _complete(self, _trace_id: UUID, gathered: _Gathered) -> Folded:
        (trace, own, call, _), usage, members = gathered
        missing = [name for name in ("user_id", "session_id", "query", "response", "model_used") if name not in members]
        if missing:
            faults = [Fault(name, _why_missing(name, trace, call)) for name in missing]
            raise Rejected(Reason.MISSING_FIELD, faults)
        values = _validated(members, own)
        note = self._settle_cost(values, usage)
        return Folded(values, *_origin(trace), _operations(trace), note)

    def user_of(self, value: Any) -> UUID:
        """The id of the user that an attribute's value names.

        :raises ValueError: the value cannot be an id; the message says why
        """
        return ids.user_id(self.namespace, str(value))

    def _session_of(self, value: Any) -> UUID:
        return ids.session_id(self.namespace, str(value))

    def _members(self, trace_id: UUID, trace: Trace, usage: calls.Usage) -> dict[str, Any]:
        """The fields that come from the whole trace, in the form that an event has."""
        members: dict[str, Any] = {"id": trace_id, **_times(trace), **_tokens(usage)}
        user, session = trace.first(_USER), trace.first(_SESSION)
        if user is not None:
            members["user_id"] = _id("user_id", self.user_of, user)
        if session is not None:
            members["session_id"] = _id("session_id", self._session_of, session)
        if self.retrieved_is_cited and (citations := citations_of(trace)):
            members["citations"] = citations
        return members

    def _settle_cost(self, values: Values, usage: calls.Usage) -> CostNote | None:
        """Add the cost in yen to the values, as for an event. Return the note on its origin."""
        if "created_at" not in values:
            return None
        tokens = (values.get(name) for name in ("prompt_tokens", "completion_tokens"))
        try:
            cost = None if usage.cost is None else {"amount": AMOUNT.parse(usage.cost), "currency": "USD"}
            answer = Usage(values["model_used"], values["created_at"], values.get("token_cost_jpy"), cost, *tokens)
            settled = self.pricing.settle(answer)
        except PydanticCustomError as error:
            raise Rejected(Reason.INVALID_FIELD, [Fault("cost", error.message())]) from None
        except CostError as error:
            raise Rejected(Reason.INVALID_FIELD, [Fault(error.path, str(error))]) from None
        if settled.jpy is not None:
            values["token_cost_jpy"] = settled.jpy
        return settled.note


def _id(name: str, id_of: Callable[[Any], UUID], value: Any) -> UUID:
    try:
        return id_of(value)
    except ValueError as error:
        raise Rejected(Reason.INVALID_FIELD, [Fault(name, str(error))]) from None


def _validated(members: Mapping[str, Any], own: Mapping[str, Any]) -> Values:
    """The values of the columns. Folded citations are valid, except for characters that PostgreSQL cannot store."""
    try:
        if "citations" not in own:
            check_storable(members.get("citations"))
            return {name: _value(name, member) for name, member in members.items()}
    except PydanticCustomError:
        pass  # the complete validation below reports every fault
    return DIALOGUE.validate({name: _as_in_event(member) for name, member in members.items()})


def _value(name: str, member: Any) -> Any:
    if isinstance(member, (UUID, datetime)) or name == "citations":
        return member  # the fold has made it
    if type(member) is int and 0 <= member <= INT_MAX:
        return member
    return DIALOGUE.fields[name].parse(_as_in_event(member))


def _as_in_event(member: Any) -> Any:
    """A value that the fold has made, in the form that an event has. Any other value is returned unchanged."""
    if isinstance(member, UUID):
        return str(member)
    if isinstance(member, datetime):
        return member.isoformat()
    return Decimal(member) if type(member) is int else member


def _own(trace: Trace) -> dict[str, Any]:
    """The fields that the application sets with attributes of its own. The root takes precedence."""
    found: dict[str, Any] = {}
    if mapping.OWN_FIELDS.keys().isdisjoint(trace.names):
        return found
    for node in trace.root_first:
        for name in mapping.OWN_FIELDS.keys() & node.attributes.keys():
            column = mapping.OWN_FIELDS[name]
            if node.attributes[name] is not None and column not in found:
                found[column] = _own_value(column, node.attributes[name])
    return found


def _own_value(column: str, value: Any) -> Any:
    if column == "citations":
        return _exactly(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    return value


def _exactly(value: Any) -> Any:
    """Decode JSON in a string with exact numbers. The floats of a structured value become exact decimals."""
    try:
        return parse_scalar(value.encode() if isinstance(value, str) else _json.encode(value))
    except (ValueError, RecursionError):
        return value  # the validation of the column reports it


def _answering(trace: Trace) -> tuple[Node | None, str | None]:
    """The last model call, by end time, that has a text and no error; and its text."""
    for call in sorted(trace.of(Role.MODEL_CALL), key=_by_end, reverse=True):
        answer = None if call.failed else calls.answer_of(call)
        if answer is not None:
            return call, answer
    return None, None


def _last_call(trace: Trace) -> Node | None:
    """The last model call; None if there is none. Calls without an error take precedence."""
    return max(trace.of(Role.MODEL_CALL), key=lambda node: (not node.failed, *_by_end(node)), default=None)


def _by_end(node: Node) -> tuple[int, int, bytes]:
    return node.end, node.start, node.id


def _why_none(trace: Trace) -> Skipped | None:
    """The reason why the trace is not a dialogue; None if it is a dialogue without content."""
    call = _last_call(trace)
    if call is None:
        if trace.of(Role.AGENT_CREATION):
            return Skipped.AGENT_CREATION
        return Skipped.EMBEDDING if trace.of(Role.EMBEDDING) else Skipped.NO_MODEL_CALL
    if call.failed:
        return Skipped.ERROR
    return Skipped.TOOL_CALL if calls.wants_tool(call) else None


def _from_call(call: Node | None, answer: str | None) -> dict[str, Any]:
    if call is None:
        return {}
    return {
        "query": calls.question_of(call),
        "response": answer,
        "model_used": calls.model_of(call),
        "temperature": calls.temperature_of(call),
    }


def _tokens(usage: calls.Usage) -> dict[str, Any]:
    total = usage.total
    if usage.prompt is not None and usage.completion is not None:
        total = usage.prompt + usage.completion
    return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": total}


def _times(trace: Trace) -> dict[str, Any]:
    """The start and the duration: those of the root, or else from the first start to the last end."""
    root = trace.root
    nodes = [root] if root is not None and root.start else [node for node in trace.nodes if node.start]
    if not nodes:
        return {}
    start, end = min([node.start for node in nodes]), max([node.end for node in nodes])
    took = {"latency_ms": (end - start + 500_000) // 1_000_000} if end >= start else {}
    return {"created_at": _EPOCH + timedelta(microseconds=_rounded(start)), **took}


def _rounded(nanoseconds: int) -> int:
    """Nanoseconds as microseconds, rounded half to even like every other time."""
    micros, rest = divmod(nanoseconds, 1000)
    return micros + (rest > 500 or (rest == 500 and micros % 2 == 1))


def _origin(trace: Trace) -> tuple[str | None, str | None]:
    """The service and environment of the root. If it has none, those of the first span that has a service."""
    for node in trace.root_first:
        service = _text(node, mapping.SERVICE)
        if service is not None:
            return service, _text(node, mapping.ENVIRONMENT)
    return None, None


def _text(node: Node, names: Sequence[mapping.Attribute]) -> str | None:
    """The first of these resource attributes, if it is a text that the database can store."""
    for attribute in names:
        value = node.resource.get(attribute.name)
        if value:
            return value if isinstance(value, str) and "\0" not in value else None
    return None


def _operations(trace: Trace) -> Operations:
    roles = [node.role for node in trace.nodes]
    failed = [node.failed for node in trace.nodes].count(True)
    calls_, retrievals, tools, embeddings = map(roles.count, _COUNTED)
    return Operations(len(roles), calls_, retrievals, tools, embeddings, failed)


_COUNTED = (Role.MODEL_CALL, Role.RETRIEVAL, Role.TOOL, Role.EMBEDDING)


_ADVICE = {
    "user_id": "no span names a user; set user.id on one, or ragledger.user_id",
    "session_id": "no span names a session; set session.id or gen_ai.conversation.id on one, or ragledger.session_id",
    "model_used": "the model call names no model",
}


def _why_missing(name: str, trace: Trace, call: Node | None) -> str:
    dropped = sum(node.dropped for node in trace.nodes)
    limit = f"; {dropped} attributes were dropped: raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT" if dropped else ""
    if name in _ADVICE:
        return _ADVICE[name] + limit
    asked = call or _last_call(trace)
    if asked is None:
        return f"the trace has no model call and no attribute {mapping.OWN_PREFIX}{name}"
    if calls.has_content(asked):
        return f"the model call has no {'user message' if name == 'query' else 'answer text'}{limit}"
    return f"content capture is off; set {_capture(asked)}{limit}"


def _capture(call: Node) -> str:
    """The setting that turns content capture on, for the instrumentation that wrote the span."""
    names = call.attributes
    if "openinference.span.kind" in names:
        return mapping.CAPTURE[Convention.OPENINFERENCE]
    if "ai.operationId" in names:
        return mapping.CAPTURE[Convention.VERCEL]
    if "langfuse.observation.type" in names:
        return mapping.CAPTURE[Convention.LANGFUSE]
    if "llm.request.type" in names or "gen_ai.is_streaming" in names:
        return mapping.CAPTURE[Convention.OPENLLMETRY]
    if "model_request_parameters" in names:
        return mapping.CAPTURE[Convention.PYDANTIC]
    return mapping.CAPTURE[Convention.GENAI]
