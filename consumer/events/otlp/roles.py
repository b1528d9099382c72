"""Determines the role of a span, and whether the span contributes to a dialogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from consumer.events.otlp import mapping
from consumer.events.otlp.mapping import Role, RoleAttribute

SPEAKING = (Role.MODEL_CALL, Role.RETRIEVAL, Role.RERANKING)
"""The roles of the spans that contribute to a dialogue."""
_MODELS = frozenset(attribute.name for attribute in (*mapping.RESPONSE_MODEL, *mapping.REQUEST_MODEL))
_MESSAGES_AND_TOKENS = tuple(
    {attribute.name.partition(".N")[0] for attribute in (*mapping.INPUT_MESSAGES, *mapping.OUTPUT_MESSAGES)}
    | {attribute.name for attribute in (*mapping.PROMPT_TOKENS, *mapping.COMPLETION_TOKENS)}
)
_KNOWN = mapping.IDENTITY_NAMES | mapping.ROLE_NAMES | mapping.CALL_NAMES | mapping.DOCUMENT_NAMES
_PREFIXES = (*(f"{family}." for family in mapping.FAMILIES), mapping.OWN_PREFIX)
_OF_ANY_SPAN = mapping.IDENTITY_NAMES | mapping.ROLE_NAMES


class Shape(NamedTuple):
    """What the names of a span's attributes decide, without their values. Each attribute is named by its place.

    :param roles: the attributes that may determine the role, in order of precedence
    :param otherwise: the role if none of them determines it
    :param users: the attributes that may name the user, in order of precedence
    :param speaks: whether the span contributes to a dialogue, whatever its role is
    :param pending: the attribute that may mark a copy of a span that has not ended; None if there is none
    :param unwanted: the attributes that a span that contributes drops, from the last to the first
    :param unwanted_of_call: the same if the span is a model call or a retrieval: it drops headers, vectors and tool
        definitions, but keeps content
    :param unwanted_of_outline: the same if the span does not contribute
    """

    roles: Sequence[tuple[int, RoleAttribute]]
    otherwise: Role
    users: Sequence[int]
    speaks: bool
    pending: int | None
    unwanted: Sequence[int]
    unwanted_of_call: Sequence[int]
    unwanted_of_outline: Sequence[int]

    def role_of(self, attributes: Sequence[Any]) -> Role:
        """The role of the span with these attributes, which are messages of OTLP."""
        for place, attribute in self.roles:
            role = attribute.roles.get(attributes[place].value.string_value.lower())
            if role is not None:
                return role
        return self.otherwise

    def unwanted_by(self, role: Role) -> Sequence[int]:
        """The attributes that a span of this role drops, from the last to the first."""
        if role in SPEAKING:
            return self.unwanted_of_call
        return self.unwanted if self.speaks else self.unwanted_of_outline


def role_of(attributes: Mapping[str, Any]) -> Role:
    """The role of a span with these attributes, by name."""
    shape = shape_of(tuple(attributes))
    for _, attribute in shape.roles:
        role = attribute.roles.get(str(attributes[attribute.name]).lower())
        if role is not None:
            return role
    return shape.otherwise


def shape_of(names: tuple[str, ...]) -> Shape:
    """The shape of a span whose attributes have these names. If a name occurs twice, the last attribute counts."""
    is_common = len(names) <= _MOST_NAMES and sum(map(len, names)) <= _MOST_CHARACTERS
    return _known(names) if is_common else _shape(names)


def _shape(names: Sequence[str]) -> Shape:
    places = {name: place for place, name in enumerate(names)}
    return Shape(
        [(places[attribute.name], attribute) for attribute in mapping.ROLES if attribute.name in places],
        _otherwise(names),
        [places[attribute.name] for attribute in mapping.USER if attribute.name in places],
        not mapping.IDENTITY_NAMES.isdisjoint(names) or any(name.startswith(mapping.OWN_PREFIX) for name in names),
        places.get(mapping.PENDING.name),
        _unwanted(names, _OF_ANY_SPAN, (mapping.OWN_PREFIX,)),
        _unwanted(names, _KNOWN, _PREFIXES),
        _unwanted(names, mapping.ROLE_NAMES, ()),
    )


# Instrumentations use few combinations of names. The limits keep the cache within 10 MB, whatever producers send.
_MOST_NAMES, _MOST_CHARACTERS = 64, 4_096
_known = lru_cache(maxsize=512)(_shape)


def _otherwise(names: Sequence[str]) -> Role:
    is_call = not _MODELS.isdisjoint(names) and any(name.startswith(_MESSAGES_AND_TOKENS) for name in names)
    return Role.MODEL_CALL if is_call else Role.OTHER


def _unwanted(names: Sequence[str], wanted: frozenset[str], prefixes: tuple[str, ...]) -> Sequence[int]:
    places = range(len(names) - 1, -1, -1)
    return [place for place in places if names[place] not in wanted and not names[place].startswith(prefixes)]
