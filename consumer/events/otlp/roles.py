"""Determines the role of a span, and whether the span contributes to a dialogue."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from consumer.events.otlp import mapping
from consumer.events.otlp.mapping import Role

_SPEAKING = frozenset({Role.MODEL_CALL, Role.RETRIEVAL, Role.RERANKING})
_MODELS = frozenset(attribute.name for attribute in (*mapping.RESPONSE_MODEL, *mapping.REQUEST_MODEL))
_MESSAGES_AND_TOKENS = tuple(
    {attribute.name.partition(".N")[0] for attribute in (*mapping.INPUT_MESSAGES, *mapping.OUTPUT_MESSAGES)}
    | {attribute.name for attribute in (*mapping.PROMPT_TOKENS, *mapping.COMPLETION_TOKENS)}
)
_KNOWN = mapping.IDENTITY_NAMES | mapping.ROLE_NAMES | mapping.CALL_NAMES | mapping.DOCUMENT_NAMES
_PREFIXES = (*(f"{family}." for family in mapping.FAMILIES), mapping.OWN_PREFIX)
_OF_ANY_SPAN = mapping.IDENTITY_NAMES | mapping.ROLE_NAMES


def role_of(attributes: Mapping[str, Any]) -> Role:
    """The role of a span with these attributes. Only the values that are texts are needed."""
    for said in mapping.ROLES:
        value = attributes.get(said.name)
        if value is not None:
            role = said.roles.get(str(value).lower())
            if role is not None:
                return role
    if not _MODELS.isdisjoint(attributes) and any(name.startswith(_MESSAGES_AND_TOKENS) for name in attributes):
        return Role.MODEL_CALL
    return Role.OTHER


def speaks(role: Role, names: Collection[str]) -> bool:
    """Whether a span contributes to a dialogue: because of its role, because it names a user or a session, or because
    it has the application's own attributes.
    """
    if role in _SPEAKING or not mapping.IDENTITY_NAMES.isdisjoint(names):
        return True
    return any(name.startswith(mapping.OWN_PREFIX) for name in names)


def are_kept(names: Sequence[str], role: Role) -> Sequence[bool]:
    """For each attribute, whether a span of this role keeps it. Headers, vectors and tool definitions are dropped."""
    known, prefixes = (_KNOWN, _PREFIXES) if role in _SPEAKING else (_OF_ANY_SPAN, (mapping.OWN_PREFIX,))
    return [name in known or name.startswith(prefixes) for name in names]
