"""Selects the last lines of the service's log for a bundle: only lines that contain no event text."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_LINES = 500
LIBRARIES = ("aiohttp", "aiokafka", "asyncio", "asyncpg")
_OUR_EVENT = re.compile(r"[a-z_]{1,60}")
_FRAME = re.compile(r'Traceback |  File "[^"]*", line \d+, in \S+$')
_ERROR = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?=:|$)")


@dataclass(frozen=True, slots=True)
class LogLines:
    """The newest accepted lines, and the number of lines that were left out because ragledger did not write them
    as JSON.
    """

    lines: Sequence[Mapping[str, Any]]
    left_out: int


def last_lines(log: Iterable[bytes]) -> LogLines:
    """Read a log. A log collector may have put text before each line."""
    lines: deque[Mapping[str, Any]] = deque(maxlen=MOST_LINES)
    left_out = 0
    for raw in log:
        line = _parsed(raw)
        if line is None:
            left_out += bool(raw.strip())
        else:
            lines.append(line)
    return LogLines(list(lines), left_out)


def _parsed(raw: bytes) -> Mapping[str, Any] | None:
    try:
        line = json.loads(raw[raw.index(b"{") :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not {"event", "level", "timestamp"} <= line.keys() or not _is_known(line):
        return None
    return line | ({"exception": _frames(line["exception"])} if "exception" in line else {})


def _is_known(line: Mapping[str, Any]) -> bool:
    """Return whether ragledger or one of its libraries wrote the line."""
    if "logger" in line:
        return str(line["logger"]).partition(".")[0] in LIBRARIES
    return _OUR_EVENT.fullmatch(str(line["event"])) is not None


def _frames(trace: object) -> str:
    """Return the frames and the types of errors in a traceback, without messages, which may quote anything."""
    kept = []
    for line in str(trace).splitlines():
        if _FRAME.match(line):
            kept.append(line)
        elif not line.startswith(" ") and (kind := _ERROR.match(line)):
            kept.append(kind[0])
    return "\n".join(kept)
