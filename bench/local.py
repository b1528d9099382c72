"""Questions over HTTP to programs on this machine."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any

TIMEOUT_S = 5.0


def is_ok(port: int, path: str) -> bool:
    """Whether 200 is answered there."""
    return _get(port, path)[0] == 200


def get_json(port: int, path: str) -> Any:
    """What is answered there; None where nothing is, or not yet."""
    status, body = _get(port, path)
    return json.loads(body) if status == 200 else None


def _get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body; 0 where nobody listens yet."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException):
            return 0, b""
