"""Sends HTTP requests to programs on this machine."""

from __future__ import annotations

import json
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any

TIMEOUT_S = 5.0


def is_ok(port: int, path: str) -> bool:
    """Whether the response has status 200."""
    return _get(port, path)[0] == 200


def get_json(port: int, path: str) -> Any:
    """The JSON of the response; None if there is no response with status 200 (yet)."""
    status, body = _get(port, path)
    return json.loads(body) if status == 200 else None


def _get(port: int, path: str) -> tuple[int, bytes]:
    """The status and body of the response; the status is 0 if there is no response."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)) as connection:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException):
            return 0, b""
