"""Reads messages, usage, model and temperature from the spans of model calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from consumer.events.otlp import mapping
from consumer.events.otlp.content import (
    ASSISTANT,
    USER,
    Said,
    asks_for_tool,
    decoded,
    first_answer,
    last_of_user,
    question_in,
    said,
    text_in_list,
    text_of,
)
from consumer.events.otlp.mapping import Attribute, Role
from consumer.events.otlp.trace import Event, Node, Trace

_INDEXED = re.compile(rf"({'|'.join(map(re.escape, mapping.FAMILIES))})\.(\d{{1,6}})\.(.+)", re.ASCII)
_BEGINNINGS = tuple(f"{family}." for family in mapping.FAMILIES)
_CONTENTS = re.compile(r"contents\.(\d{1,6})\.message_content\.(type|text)", re.ASCII)
_EVENTS = "events"

_MODEL = mapping.names(mapping.RESPONSE_MODEL, mapping.REQUEST_MODEL)
_TEMPERATURE, _PARAMETERS = mapping.names(mapping.TEMPERATURE), mapping.names(mapping.PARAMETERS)
_PROMPT, _COMPLETION = mapping.names(mapping.PROMPT_TOKENS), mapping.names(mapping.COMPLETION_TOKENS)
_TOTAL, _USAGE = mapping.names(mapping.TOTAL_TOKENS), mapping.names(mapping.USAGE)
_COST, _COSTS = mapping.names(mapping.COST_USD), mapping.names(mapping.COSTS_USD)
_PRESENT_INPUT = ("gen_ai.input.messages",)
_REASONS = mapping.names(mapping.TOOL_CALLS)

Entries = Mapping[str, Mapping[int, dict[str, Any]]]


class _Place(NamedTuple):
    """An attribute that may hold messages, or a family of indexed attributes with the rest of their name.

    `family` and `rest` are empty if the attribute has no index.
    """

    name: str
    family: str
    rest: str


def _places(attributes: Iterable[Attribute]) -> Sequence[_Place]:
    parts = [(name, *name.partition(".N")) for name in mapping.names(attributes)]
    return [_Place(name, family if index else "", rest.removeprefix(".")) for name, family, index, rest in parts]


_INPUT, _OUTPUT = _places(mapping.INPUT_MESSAGES), _places(mapping.OUTPUT_MESSAGES)


class Usage(NamedTuple):
    """Tokens and cost (in US dollars) as the span states them; None if it does not."""

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cost: Decimal | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in self)


def answer_of(call: Node) -> str | None:
    """The text of the model's answer; None if there is none."""
    return first_answer(_said(call, _OUTPUT, ASSISTANT))


def question_of(call: Node) -> str | None:
    """The last user message that the model received; None if there is none."""
    return question_in(call.get(_PRESENT_INPUT)) or last_of_user(_said(call, _INPUT, USER))


def has_content(call: Node) -> bool:
    """Whether the span has any message to the model or from it."""
    return bool(_said(call, _INPUT, USER) or _said(call, _OUTPUT, ASSISTANT))


def wants_tool(call: Node) -> bool:
    """Whether the model requests a tool call."""
    if any(message.calls_tool for message in _said(call, _OUTPUT, ASSISTANT)):
        return True
    if any(name.startswith("llm.output_messages.") and ".tool_calls." in name for name in call.attributes):
        return True
    if call.attributes.get("ai.response.toolCalls"):
        return True
    reasons = [call.get((name,)) for name in _REASONS]
    ends = [entry.get("finish_reason") for entry in entries(call).get("gen_ai.completion", {}).values()]
    return any(map(asks_for_tool, [*reasons, *ends]))


def model_of(call: Node) -> str | None:
    """The model that answered. If it is not stated, the requested model."""
    model = call.get(_MODEL)
    if model is None:
        model = _parameter(call, "model")
    return None if model is None else str(model)


def temperature_of(call: Node) -> Any:
    """The requested temperature."""
    stated = call.get(_TEMPERATURE)
    return number(_parameter(call, "temperature") if stated is None else stated)


def usage_of(trace: Trace) -> Usage:
    """The total usage of the outermost model calls. If such a call states no usage, the model calls inside it count
    instead.
    """
    calls = trace.of(Role.MODEL_CALL)
    if len(calls) == 1:
        return _stated(calls[0])
    inside: dict[bytes, list[Node]] = {}
    outermost: list[Node] = []
    for call in calls:
        around = next((node for node in trace.enclosing(call) if node.role is Role.MODEL_CALL), None)
        (outermost if around is None else inside.setdefault(around.id, [])).append(call)
    stated: list[Usage] = []
    waiting = outermost
    while waiting:
        call = waiting.pop()
        usage = _stated(call)
        if usage:
            stated.append(usage)
        else:
            waiting += inside.get(call.id, [])
    return Usage(*(_sum(values) for values in zip(*stated, strict=True))) if stated else Usage()


def _stated(call: Node) -> Usage:
    details = decoded(call.get(_USAGE))
    details = details if isinstance(details, dict) else {}
    return Usage(
        _count(call.get(_PROMPT), details, "input", "prompt_tokens", "input_tokens"),
        _count(call.get(_COMPLETION), details, "output", "completion_tokens", "output_tokens"),
        _count(call.get(_TOTAL), details, "total", "total_tokens"),
        _cost(call),
    )


def _count(stated: Any, details: Mapping[str, Any], *names: str) -> int | None:
    found = stated if stated is not None else next((details[name] for name in names if name in details), None)
    if type(found) is int:  # the common case
        return found
    value = number(found)
    return int(value) if value is not None and value.is_finite() else None


def _cost(call: Node) -> Decimal | None:
    stated = number(call.get(_COST))
    if stated is not None:
        return stated
    details = decoded(call.get(_COSTS))
    if not isinstance(details, dict) or not details:
        return None
    parts = [details["total"]] if "total" in details else list(details.values())
    found: Decimal | None = _sum(map(number, parts))
    return found


def _sum(values: Iterable[Any]) -> Any:
    there = [value for value in values if value is not None]
    return sum(there[1:], there[0]) if there else None


def number(value: Any) -> Decimal | None:
    """The exact value of a number, or of a text that holds a number; None if the value is not a number."""
    if value is None or isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return None
    try:
        return Decimal(str(value))
    except ArithmeticError:
        return None


def _parameter(call: Node, name: str) -> Any:
    for attribute in _PARAMETERS:
        parameters = decoded(call.get((attribute,)))
        if isinstance(parameters, dict) and parameters.get(name) is not None:
            return parameters[name]
    return None


def _said(call: Node, fields: Sequence[_Place], role: str) -> Sequence[Said]:
    """The messages of the first attribute that has any. If no attribute has any, the messages in the events."""
    families: Entries | None = None
    for name, family, rest in fields:
        if family:
            families = entries(call) if families is None else families
            found = _said_at_indices(families.get(family, {}), rest, role)
        else:
            found = _said_in(call.get((name,)), name, role)
        if found:
            return found
    return _said_in_events(call.events, role)


def _said_in(value: Any, name: str, role: str) -> Sequence[Said]:
    if value is None:
        return ()
    if name == _EVENTS:
        events = decoded(value)
        return _said_in_events(list(map(_event, events)), role) if isinstance(events, list) else ()
    return said(value, role)


def _event(value: Any) -> Event:
    value = value if isinstance(value, dict) else {}
    return Event(str(value.get("event.name", "")), 0, {}, value)


def _said_in_events(events: Sequence[Event], role: str) -> Sequence[Said]:
    """The messages in events. Message events hold questions, and choice events hold answers."""
    found: list[Said] = []
    for event in events:
        if event.name == mapping.CHOICE_EVENT:
            if role == ASSISTANT:
                found += said(_content_of(event), ASSISTANT)
        elif event.name in mapping.MESSAGE_EVENTS and role == USER:
            found += said(_content_of(event), mapping.MESSAGE_EVENTS[event.name])
        elif event.name in mapping.CONTENT_EVENTS:
            is_answer = event.name.endswith("completion")
            if is_answer == (role == ASSISTANT):
                found += said(_content_of(event), role)
    return found


def _content_of(event: Event) -> Any:
    if event.body is not None:
        return event.body
    return next((event.attributes[name] for name in mapping.EVENT_ATTRIBUTES if name in event.attributes), None)


def entries(node: Node) -> Entries:
    """The indexed attributes, by family, by index, and by the rest of the name after the index."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name, value in node.attributes.items():
        if name.startswith(_BEGINNINGS) and (match := _INDEXED.fullmatch(name)):
            family, index, rest = match.groups()
            found.setdefault(family, {}).setdefault(int(index), {})[rest] = value
    return found


def _said_at_indices(entries_: Mapping[int, Mapping[str, Any]], within: str, role: str) -> Sequence[Said]:
    messages = [_said_at(entries_[index], within, role) for index in sorted(entries_)]
    return [message for message in messages if message.text or message.calls_tool]


def _said_at(entry: Mapping[str, Any], within: str, role: str) -> Said:
    prefix = f"{within}." if within else ""
    who = str(entry.get(f"{prefix}role") or role).lower()
    who = {"human": USER, "ai": ASSISTANT, "model": ASSISTANT}.get(who, who)
    content = entry.get(f"{prefix}content", entry.get(f"{prefix}text"))
    if content is None:
        content = _contents(entry, prefix)
    text = text_in_list(content) if isinstance(content, str) else text_of(content)
    return Said(who, text, any(".tool_calls." in f".{name}" for name in entry))


def _contents(entry: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The parts of a message, each with its type and text."""
    parts: dict[int, dict[str, Any]] = {}
    for name, value in entry.items():
        match = _CONTENTS.fullmatch(name.removeprefix(prefix))
        if match:
            parts.setdefault(int(match[1]), {})[match[2]] = value
    return [parts[index] for index in sorted(parts)]
