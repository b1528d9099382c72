"""Reads an env file: lines of NAME=value, in which nothing is expanded.

docs/configuration.md has the rules. A malformed line is an error: if it were skipped, a default would silently stay in
force. Messages do not quote the line, because it may contain a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_ASSIGNMENT = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\s*=(?P<value>.*)", re.DOTALL)
_OUR_NAME = re.compile(r"(?:export\s+)?(RAGLEDGER_[A-Za-z0-9_]+)\s*(?::|$|\s)")
_QUOTES = ("'", '"')


class EnvFileError(ValueError):
    """A line cannot be read; the message says which."""


def read(path: Path) -> Mapping[str, str]:
    """Return the assignments of the file. Of several lines with the same name, the last one counts.

    :raises EnvFileError: a line is not an assignment
    """
    return dict(_assignments(path.read_bytes().removeprefix(b"\xef\xbb\xbf")))


def _assignments(content: bytes) -> Iterator[tuple[str, str]]:
    for number, raw in enumerate(content.split(b"\n"), 1):
        line = _text(raw, number)
        if line and not line.startswith("#"):
            yield _assignment(line, number)


def _text(raw: bytes, number: int) -> str:
    try:
        line = raw.decode().strip()
    except UnicodeDecodeError:
        raise EnvFileError(f"line {number}: is not UTF-8") from None
    if not all(character.isprintable() or character == "\t" for character in line):
        raise EnvFileError(f"line {number}: has a control character in it")
    return line


def _assignment(line: str, number: int) -> tuple[str, str]:
    match = _ASSIGNMENT.fullmatch(line)
    if match is None:
        ours = _OUR_NAME.match(line)
        raise EnvFileError(f"line {number}{f' ({ours[1]})' if ours else ''}: is not an assignment: write NAME=value")
    return match["name"], _value(match["value"].strip(), f"line {number} ({match['name']})")


def _value(value: str, where: str) -> str:
    """Return the value unchanged, but without one pair of quotes around it."""
    if not value.startswith(_QUOTES):
        return value
    if len(value) < 2 or value[-1] != value[0]:
        raise EnvFileError(f"{where}: the value begins with a quote and does not end with it")
    return value[1:-1]
