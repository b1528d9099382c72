"""Finds the strings in a record that may be the id of a user, so that an erasure finds the records that name the user.

Broken records are searched too, so nothing is parsed here. Each whole JSON string counts, also with escapes and in JSON
inside a string. Short strings count only as the value of a field that names a user, or as the key of the record:
erasing a user whose id is "1" must not empty every record that contains a "1".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from consumer.events.ids import LONGEST_KEY

SHORTEST = 6
"""The least number of characters of a string that counts as an id in any field."""
_LONGEST_BYTES = 12 * LONGEST_KEY  # a character outside the basic plane is two escapes of six bytes
_OWNERS = frozenset({"userid", "acquiredby", "user", "subject", "cesubject", "enduserid"})
_NO_LETTER = re.compile(r"[^a-z]+")
# Up to the next quotation mark that is not escaped; a record may end within a string.
_SEGMENT = re.compile(rb'((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
# A field that names a user outside JSON: in forms, YAML, XML, the repr of a Python dictionary; or as a number.
_UNQUOTED = re.compile(
    rb"(?:user_?id|acquired_?by)[\\\"']*\s*[=:>]\s*(?:'([^']{1,1024})'|([^\\\"',;&\s<>{}\[\]]{1,1024}))", re.IGNORECASE
)
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")


def names_user(name: str) -> bool:
    """Whether a member or header of this name holds the id of a user: user_id, userId, user.id, acquired_by."""
    return _NO_LETTER.sub("", name.lower()) in _OWNERS


def find_user_keys(raw: bytes, depth: int) -> Iterator[bytes]:
    """Yield the strings, in UTF-8, that may be the id of a user. In doubt, a string is included.

    :param depth: how many levels of JSON inside JSON strings are searched
    """
    for text in (raw, *_narrowed(raw)):
        yield from _quoted(text, depth)
        yield from (found[1] or found[2] for found in _UNQUOTED.finditer(text))


def _narrowed(raw: bytes) -> Iterator[bytes]:
    """Yield the bytes converted to UTF-8 from UTF-16 and UTF-32, if they contain zeros."""
    if b"\0" in raw:
        yield from (raw.decode(encoding, "ignore").encode("utf-8", "ignore") for encoding in _WIDE)


def _quoted(text: bytes, depth: int) -> Iterator[bytes]:
    """Yield the text between any two quotation marks, also outside strings: a broken record may lack one."""
    name = between = b""
    for found in _SEGMENT.finditer(text):
        raw = found[1]
        if len(raw) <= _LONGEST_BYTES or b"\\" in raw:
            segment = _unescaped(raw)
            needed = 1 if between.strip() == b":" and names_user(_unescaped(name)) else SHORTEST
            if needed <= len(segment) <= LONGEST_KEY:
                yield segment.encode("utf-8", "surrogatepass")
            if depth and '"' in segment:
                yield from _quoted(segment.encode("utf-8", "surrogatepass"), depth - 1)
        name, between = between, raw


def _unescaped(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text
