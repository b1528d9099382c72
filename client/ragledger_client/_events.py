"""Turns the fields of an event into the bytes of a record.

The work has two parts. :func:`pack` runs in the application's thread. It checks the fields and encodes the values that
the application may change later. :func:`encode` runs in the sender's thread. It checks the texts, so its time grows
with their length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from ragledger_client._checks import Check, Invalid, check_fields, date_time, rounded

_MOST_LEVELS = 500
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_NO_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[^][{}]')


class Declaration(NamedTuple):
    """A kind of event, as the service declares it.

    :param keyed_ids: fields that identify a user or a session, each with "user" or "session"
    :param texts: the names of the fields that hold text of any length
    :param sums: fields that, if absent, are the sum of two others
    """

    kind: str
    required: Collection[str]
    checks: Mapping[str, Check]
    keyed_ids: Mapping[str, str]
    texts: Collection[str]
    sums: Mapping[str, tuple[str, str]]


class Packed(NamedTuple):
    """A checked event on its way to the sender's thread.

    :param objects: JSON objects whose members are all fields except the texts
    :param size: the approximate number of bytes that it needs in memory
    """

    topic: str
    key: str
    kind: str
    objects: tuple[str, ...]
    texts: Mapping[str, str]
    size: int


class Encoded(NamedTuple):
    """A record for Kafka."""

    topic: str
    key: str
    value: bytes


def pack(declaration: Declaration, topic: str, key: str, given: Mapping[str, Any]) -> Packed:
    """Check an event, and encode all of its fields except the texts. The time does not depend on the length of the
    texts.

    :param key: the name of the field that is the record's key
    :raises Invalid: the service would reject it
    """
    fields = check_fields(declaration.required, declaration.checks, given)
    _check_sums(declaration, fields)
    texts = {name: fields.pop(name) for name in declaration.texts if name in fields}
    objects = [_dump(fields)]
    _check_storable(fields, objects[0])
    if unknown := {name: value for name, value in given.items() if name not in declaration.checks}:
        objects.append(_dump(unknown, _ESCAPING))  # the service accepts any value of these
    size = sum(map(len, objects)) + sum(len(one) if one.isascii() else 3 * len(one) for one in texts.values())
    return Packed(topic, str(fields[key]), declaration.kind, tuple(objects), texts, size)


def encode(packed: Packed) -> Encoded:
    """The record of a checked event.

    :raises Invalid: a text has a character that PostgreSQL cannot store
    """
    for name, value in packed.texts.items():
        _check_text(name, value)
    members = ",".join(one[1:-1] for one in (*packed.objects, _PLAIN.encode(packed.texts)) if one != "{}")
    return Encoded(packed.topic, packed.key, f"{{{members}}}".encode())


def _check_sums(declaration: Declaration, fields: Mapping[str, Any]) -> None:
    for name, (first, second) in declaration.sums.items():
        if name not in fields and first in fields and second in fields:
            try:
                declaration.checks[name](_whole(fields[first]) + _whole(fields[second]))
            except Invalid as invalid:
                raise Invalid(f"the sum of {first} and {second} {invalid}", name) from None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) else int(rounded(value, 0))


def _dump(fields: Mapping[str, Any], encoder: json.JSONEncoder | None = None) -> str:
    try:
        document = (encoder or _PLAIN).encode(fields)
    except RecursionError:
        raise Invalid(f"nested deeper than {_MOST_LEVELS} levels") from None
    except (TypeError, ValueError, OverflowError):
        raise Invalid("holds a value that JSON cannot represent", ", ".join(_containers(fields))) from None
    if document.count("[") + document.count("{") > _MOST_LEVELS and _levels(document) > _MOST_LEVELS:
        raise Invalid(f"nested deeper than {_MOST_LEVELS} levels", ", ".join(_containers(fields)))
    return document


def _containers(fields: Mapping[str, Any]) -> list[str]:
    """The names of the fields that may contain other values."""
    return [name for name, value in fields.items() if not isinstance(value, (str, int))]


def _levels(document: str) -> int:
    deepest = level = 0
    for bracket in _NO_BRACKET.sub("", document):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def _check_storable(fields: Mapping[str, Any], document: str) -> None:
    """Reject characters that jsonb cannot store, at any depth of an object or array."""
    if "\\u0000" not in document and _is_encodable(document):
        return
    for name in _containers(fields):
        dumped = _PLAIN.encode(fields[name])
        _check_text(name, "\0" if _NUL.search(dumped) else dumped)


def _check_text(name: str, value: str) -> None:
    if "\0" in value:
        raise Invalid("holds a NUL character (\\u0000), which PostgreSQL cannot store", name)
    if not _is_encodable(value):
        raise Invalid("holds half of a surrogate pair, which is not a character", name)


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _default(value: Any) -> str:
    """The JSON form of values that JSON lacks, in members that the service does not check."""
    if isinstance(value, datetime):
        return date_time(value)
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    raise TypeError


_PLAIN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default)
_ESCAPING = json.JSONEncoder(allow_nan=False, separators=(",", ":"), default=_default)
