"""Reads the expiry of a token from the token itself. PURE."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit


def seconds_left(token: str, now: float) -> float | None:
    """Return the seconds until a token expires. The token is a JWT, or a request that AWS has signed.

    :param now: seconds since 1970
    :returns: None if the token has another format or no expiry
    """
    expires_at = _of_jwt(token)
    if expires_at is None:
        expires_at = _of_signed_request(token)
    if expires_at is None:
        expires_at = _of_signed_request(_decoded(token).decode("latin-1"))  # Amazon MSK's token is also base64
    return None if expires_at is None else expires_at - now


def _of_jwt(token: str) -> float | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = json.loads(_decoded(parts[1]))
    except (ValueError, RecursionError):
        return None
    expires_at = claims.get("exp") if isinstance(claims, Mapping) else None
    return float(expires_at) if isinstance(expires_at, int | float) else None


def _decoded(text: str) -> bytes:
    """Decode base64 for URLs, with or without padding; empty if the text is not base64."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _of_signed_request(token: str) -> float | None:
    try:
        query = parse_qs(urlsplit(token).query)
        signed_at = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return signed_at.timestamp() + int(query["X-Amz-Expires"][0])
    except (KeyError, ValueError):
        return None
