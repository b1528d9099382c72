"""Reads messages and texts in every form that instrumentations write: JSON in a string, structured, or plain text.

The forms, with their origin: role and parts (OpenTelemetry), role and content (OpenAI, Vercel, Langfuse), choices
(OpenAI), generations and `kwargs` (LangChain), `output` items (OpenAI's Responses), contents (Gemini), event bodies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

USER, ASSISTANT = "user", "assistant"
_ROLES = {"human": USER, "ai": ASSISTANT, "model": ASSISTANT, "aimessagechunk": ASSISTANT, "chatbot": ASSISTANT}
_SPEAKERS = frozenset({USER, ASSISTANT, "system", "developer", "tool", *_ROLES})
_TEXT_TYPES = frozenset({None, "text", "input_text", "output_text", "refusal"})
_CALL_TYPES = frozenset({"tool_call", "tool-call", "tool_use", "function_call", "toolcall"})
_LISTS = ("messages", "choices", "generations", "output", "contents", "input")
_TOOL_REASONS = ("tool_call", "tool-call", "tool_use", "function_call")
_MOST_LEVELS = 12
UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeEncodeError)
"""The errors for a text that is not JSON."""


class Said(NamedTuple):
    """A message: its role, its text, and whether it requests a tool call."""

    role: str
    text: str
    calls_tool: bool = False


def decoded(value: Any) -> Any:
    """The value that a string holds as JSON. Any other value is returned unchanged."""
    if not isinstance(value, str):
        return value
    if value[:1] not in '[{"' and not value[:1].isspace():
        return value
    try:
        return msgspec.json.decode(value)
    except UNREADABLE:
        return value


def said(value: Any, role: str) -> Sequence[Said]:
    """The messages in a value. A text in no known form is one message with the given role."""
    found = decoded(value)
    messages = list(_messages(found, role, 0))
    if messages or not isinstance(value, str):
        return messages
    if isinstance(found, str):
        return [Said(role, found)] if found else []
    return [Said(role, value)] if found not in ({}, []) else []


def question_in(value: Any) -> str | None:
    """The last user message in a value of the current form, role and parts. Earlier messages are not decoded."""
    try:
        messages = _present_form.decode(value) if isinstance(value, str) else _present_messages(value)
        for one in reversed(messages):
            if one.role == USER and (text := text_of(list(map(_part, one.parts)))).strip():
                return text
    except UNREADABLE:
        pass
    return None


class _Message(msgspec.Struct, gc=False):
    """A message in the current form."""

    role: Any
    parts: list[msgspec.Raw]


_present_form = msgspec.json.Decoder(list[_Message])


def _present_messages(value: Any) -> Sequence[_Message]:
    is_present = isinstance(value, list) and _is_present_form(value)
    return [_Message(one["role"], one["parts"]) for one in value] if is_present else ()


def _part(part: Any) -> Any:
    return msgspec.json.decode(part) if isinstance(part, msgspec.Raw) else part


def _is_present_form(messages: list[Any]) -> bool:
    for one in messages:
        if not isinstance(one, dict) or "role" not in one or not isinstance(one.get("parts"), list):
            return False
    return True


def last_of_user(messages: Sequence[Said]) -> str | None:
    """The text of the last user message that has a text; None if there is none."""
    return next((one.text for one in reversed(messages) if one.role == USER and one.text.strip()), None)


def first_answer(messages: Sequence[Said]) -> str | None:
    """The first text of the model, and so of the first choice; None if there is none."""
    return next((one.text for one in messages if one.role == ASSISTANT and one.text.strip()), None)


def asks_for_tool(reason: Any) -> bool:
    """Whether a finish reason, or one in a list of them, says that the model requests a tool call."""
    reasons = reason if isinstance(reason, list) else [reason]
    return any(isinstance(one, str) and one.lower().startswith(_TOOL_REASONS) for one in reasons)


def _messages(value: Any, role: str, level: int) -> Iterator[Said]:
    if level > _MOST_LEVELS:
        return
    if isinstance(value, list):
        if value and _is_present_form(value):
            yield from (_message(one, role) for one in value)
            return
        if _is_pair(value):
            yield Said(_role(value[0], role), value[1])  # LangChain's ("human", "…")
            return
        for one in value:
            yield from _messages(one, role, level + 1)
    elif isinstance(value, dict):
        yield from _of_object(value, role, level)
    elif isinstance(value, str) and level == 1:
        yield Said(role, value)  # Spring AI's list of texts


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and all(isinstance(part, str) for part in value) and value[0].lower() in _SPEAKERS


def _of_object(value: dict[str, Any], role: str, level: int) -> Iterator[Said]:
    """The messages in an object, which is a message itself or contains messages."""
    for inner in ("message", "kwargs", "data"):
        if isinstance(value.get(inner), dict) and not isinstance(value.get("content"), str):
            kind = value.get("type") if inner == "data" else None
            yield from _of_object({"type": kind, **value[inner]} if kind else value[inner], role, level + 1)
            return
    if "parts" in value or "content" in value or "tool_calls" in value:
        yield _message(value, role)
        return
    if isinstance(value.get("text"), str):
        yield Said(role, value["text"])
        return
    if isinstance(value.get("prompt"), str):
        yield Said(USER, value["prompt"])
        return
    for name in _LISTS:
        if isinstance(value.get(name), list):
            yield from _messages(value[name], role, level + 1)
            return


def _message(value: dict[str, Any], role: str) -> Said:
    content = value.get("parts") if isinstance(value.get("parts"), list) else value.get("content")
    name = value.get("role") or (value.get("type") if value.get("type") != "message" else None)
    who = _role(name if isinstance(name, str) else "", role)
    calls = bool(value.get("tool_calls")) or _calls_tool(content) or asks_for_tool(value.get("finish_reason"))
    return Said(who, text_of(content, "" if who == ASSISTANT else "\n"), calls)


def text_of(content: Any, between: str = "\n") -> str:
    """The text of a message's content. The content is a text, one part, or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return between.join(filter(None, map(_text_of_part, parts)))


def _text_of_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in _TEXT_TYPES or part.get("thought") is True:
        return ""
    for name in ("text", "content", "refusal"):
        if isinstance(text := part.get(name), str):
            return text
    return ""


def _calls_tool(content: Any) -> bool:
    return isinstance(content, list) and any(map(_is_tool_call, content))


def _is_tool_call(part: Any) -> bool:
    return isinstance(part, dict) and (
        part.get("type") in _CALL_TYPES or "functionCall" in part or "function_call" in part
    )


def _role(name: str, default: str) -> str:
    lower = name.lower()
    return _ROLES.get(lower, lower) or default


def text_in_list(text: str) -> str:
    """The text of the parts that an indexed attribute holds as JSON. Any other text is returned unchanged."""
    if not text.startswith("[{"):
        return text
    parts = decoded(text)
    is_parts = isinstance(parts, list) and all(isinstance(part, dict) and "type" in part for part in parts)
    return text_of(parts) if is_parts else text
