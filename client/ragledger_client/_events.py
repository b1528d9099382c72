"""Turns the fields of an event into the bytes of a record.

The work has two parts. :func:`snapshot` runs in the application's thread and only copies, so that the call is short.
:func:`encode` runs in the sender's thread. It checks the event and encodes it.
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
from ragledger_client._ids import with_uuids

_MOST_LEVELS = 500
_VALUE_BYTES = 64  # about what a value needs in memory beside its text: an object, and its place in a dict or list
_ATOMS = frozenset({int, float, bool, type(None), datetime, UUID, Decimal})  # contain no other values
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Declaration(NamedTuple):
    """A kind of event, as the service declares it.

    :param keyed_ids: fields that identify a user or a session, each with "user" or "session"
    :param sums: fields that, if absent, are the sum of two others
    """

    kind: str
    required: Collection[str]
    checks: Mapping[str, Check]
    keyed_ids: Mapping[str, str]
    sums: Mapping[str, tuple[str, str]]


class Recorded(NamedTuple):
    """An event on its way to the sender's thread, not checked yet.

    :param fields: a copy that the application cannot change
    :param size: the approximate number of bytes that it needs in memory
    """

    declaration: Declaration
    fields: Mapping[str, Any]
    size: int


class Encoded(NamedTuple):
    """A record for Kafka."""

    topic: str
    key: str
    value: bytes


def snapshot(declaration: Declaration, given: Mapping[str, Any], most_bytes: int) -> Recorded:
    """Copy the mappings, lists and tuples of an event, at any depth, as dicts and lists.

    Other values are not copied: they cannot change, or :func:`encode` rejects them. The work is done level by level,
    without recursion, because the application's own calls count towards
    Python's recursion limit.

    :raises Invalid: the event is nested too deep (such as a list that contains itself), or needs more than `most_bytes`
    """
    fields = dict(given)
    size = _bytes_without_values(fields)
    containers: list[tuple[str, Any]] = [("", fields)]
    for _ in range(_MOST_LEVELS):
        inner: list[tuple[str, Any]] = []
        for name, container in containers:
            for place, value in container.items() if type(container) is dict else enumerate(container):
                if isinstance(value, str):
                    size += len(value) if value.isascii() else 3 * len(value)
                elif type(value) not in _ATOMS and (copy := _shallow_copy(value)) is not None:
                    container[place] = copy
                    inner.append((name or str(place), copy))
                    size += _bytes_without_values(copy)
                if size > most_bytes:
                    raise Invalid("makes the event larger than max_bytes", name or str(place))
        if not inner:
            return Recorded(declaration, fields, size)
        containers = inner
    raise Invalid(f"nested deeper than {_MOST_LEVELS} levels", containers[0][0])


def _shallow_copy(value: Any) -> dict[Any, Any] | list[Any] | None:
    if isinstance(value, (list, tuple)):
        return list(value)
    return dict(value) if isinstance(value, (dict, Mapping)) else None  # Mapping alone is slow


def _bytes_without_values(container: dict[Any, Any] | list[Any]) -> int:
    names = container if type(container) is dict else ()
    return _VALUE_BYTES * len(container) + sum([len(name) for name in names if isinstance(name, str)])


def encode(recorded: Recorded, topic: str, key: str, namespace: UUID | None) -> Encoded:
    """Check an event, and make its record.

    :param key: the name of the field that is the record's key
    :param namespace: converts ids of users and sessions that are not UUIDs
    :raises Invalid: the service would reject it
    """
    declaration = recorded.declaration
    given = with_uuids(declaration.keyed_ids, namespace, recorded.fields)
    fields = check_fields(declaration.required, declaration.checks, given)
    _check_sums(declaration, fields)
    document = _dump(fields)
    _check_storable(fields, document)
    if unknown := {name: value for name, value in given.items() if name not in declaration.checks}:
        document = f"{document[:-1]},{_dump(unknown, _ESCAPING)[1:]}"  # the service accepts any value of these
    return Encoded(topic, str(fields[key]), document.encode())


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
        return (encoder or _PLAIN).encode(fields)
    except (TypeError, ValueError, OverflowError):
        containers = [name for name, value in fields.items() if not isinstance(value, (str, int))]
        raise Invalid("holds a value that JSON cannot represent", ", ".join(containers)) from None


def _check_storable(fields: Mapping[str, Any], document: str) -> None:
    """Reject characters that PostgreSQL cannot store, at any depth."""
    if "\\u0000" not in document and _is_encodable(document):
        return
    for name, value in fields.items():
        dumped = _PLAIN.encode(value)
        if _NUL.search(dumped):
            raise Invalid("holds a NUL character (\\u0000), which PostgreSQL cannot store", name)
        if not _is_encodable(dumped):
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
