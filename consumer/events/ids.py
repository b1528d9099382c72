"""UUIDs of users and sessions whose ids are other strings. The string itself is not kept."""

from __future__ import annotations

from uuid import UUID, uuid5


def user_id(namespace: UUID, key: str) -> UUID:
    """The UUID of a user: version 5 (RFC 9562 §5.5) of `user:` and the key."""
    return uuid5(namespace, f"user:{key}")


def session_id(namespace: UUID, key: str) -> UUID:
    """The UUID of a session: version 5 of `session:` and the key."""
    return uuid5(namespace, f"session:{key}")
