"""Creates ids: of events, and of users and sessions that have no UUID."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from ragledger_client._checks import UUID_TEXT, Invalid

_LONGEST_KEY = 1024


def uuid7(time_ns: int) -> str:
    """A UUID of version 7 (RFC 9562 §5.7): it grows with time, down to a quarter of a microsecond.

    It has no state, so threads and forked processes share nothing. 62 bits are random.

    :param time_ns: nanoseconds since 1970
    """
    milliseconds, rest = divmod(time_ns, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    value = milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def with_uuids(fields: Mapping[str, str], namespace: UUID | None, event: Mapping[str, Any]) -> dict[str, Any]:
    """The event, with UUIDs instead of other ids of users and sessions.

    With the same namespace, the service makes the same UUIDs. So both may convert ids.

    :param fields: the names of fields that hold such ids, each with "user" or "session"
    :raises Invalid: there is no UUID for a string
    """
    found = dict(event)
    for name, owner in fields.items():
        value = event.get(name)
        if isinstance(value, str) and not UUID_TEXT.fullmatch(value):
            found[name] = _uuid_of(name, owner, namespace, value)
    return found


def _uuid_of(name: str, owner: str, namespace: UUID | None, value: str) -> UUID:
    if namespace is None:
        raise Invalid("must be a UUID; for other strings give the ledger a namespace", name)
    if not 0 < len(value) <= _LONGEST_KEY or "\0" in value:
        raise Invalid(f"must have 1 to {_LONGEST_KEY} characters, and none of them NUL", name)
    try:
        return uuid5(namespace, f"{owner}:{value}")
    except UnicodeEncodeError:
        raise Invalid("holds half of a surrogate pair, which is not a character", name) from None
