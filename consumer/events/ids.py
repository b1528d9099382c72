"""Converts the string ids of users and sessions to UUIDs under a namespace.

The same string under the same namespace always becomes the same UUID. It is a UUID of version 5 (RFC 9562 §5.5) of
"user:" or "session:" and the string, so that a user and a session of the same name differ. A UUID is not changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import Literal
from uuid import UUID

import msgspec

LONGEST_KEY = 1024
"""The largest number of characters of a string id."""
UUID_FORM = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""The text form of a UUID (RFC 9562 §4), with or without hyphens, in either case."""

Owner = Literal["user", "session"]


def user_id(namespace: UUID, key: str) -> UUID:
    """Return the UUID under which a user is stored.

    :param key: the id of the user in the application
    :raises ValueError: `key` cannot be an id; the message says why
    """
    return id_of("user", namespace, key)


def session_id(namespace: UUID, key: str) -> UUID:
    """Return the UUID under which a session is stored. Parameters and errors as in :func:`user_id`."""
    return id_of("session", namespace, key)


def id_of(owner: Owner, namespace: UUID, key: str) -> UUID:
    """Return the UUID of a user or a session. Parameters and errors as in :func:`user_id`."""
    if UUID_FORM.fullmatch(key):
        return msgspec.convert(key, UUID)
    if not 0 < len(key) <= LONGEST_KEY:
        raise ValueError(f"must have 1 to {LONGEST_KEY} characters, has {len(key)}")
    if "\0" in key:
        raise ValueError("holds a NUL character")
    try:
        return UUID(bytes=hasher(owner, namespace)(key.encode()))
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is not a character") from None


@cache
def hasher(owner: Owner, namespace: UUID) -> Callable[[bytes], bytes]:
    """Return a fast function that converts a string id in UTF-8 to the 16 bytes of its UUID, without any check."""
    start = hashlib.sha1(namespace.bytes + f"{owner}:".encode(), usedforsecurity=False)

    def hashed(key: bytes) -> bytes:
        digest = start.copy()
        digest.update(key)
        raw = bytearray(digest.digest()[:16])
        raw[6] = raw[6] & 0x0F | 0x50  # version 5
        raw[8] = raw[8] & 0x3F | 0x80  # variant of RFC 9562
        return bytes(raw)

    return hashed
