"""Which ids a record names, wherever and however they are written: for finding what has to be erased.

Broken records are looked through too, so nothing is parsed here. An id is found with and without hyphens, in either
case, behind JSON's escapes, in UTF-16, in base64 (the `data_base64` of a CloudEvent, a token in a header), and as 16
bytes that are a whole key, value or header.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import chain

from consumer.events.record import Record

# JSON in a string of JSON is escaped twice, and so on; base64 may hold base64.
_DEEPEST = 3
_HYPHENATED = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BARE = rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"  # not any stretch of a longer hash
_ID = re.compile(_HYPHENATED + b"|" + _BARE, re.IGNORECASE)
_RUN = re.compile(rb"[0-9A-Fa-f-]{32,}")  # an id is in one of these, and to look for them is quick
# Each run of backslashes is looked at once, from its first one on: a record may be nothing but backslashes.
_ESCAPED = re.compile(rb"(?<!\\)\\++u00([0-7][0-9a-f])", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{32,}")
_PORTION, _LONGEST_ID = 65_536, 36
_LONGEST_TOKEN = 1024  # of these any beginning is tried: what stands before the base64 may look like it
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def find_user_ids(record: Record) -> set[bytes]:
    """The 16 bytes of every id that key, value or headers name; more rather than fewer."""
    found: set[bytes] = set()
    for part in _parts(record):
        found |= _ids_in(part, _DEEPEST)
    return found


def _parts(record: Record) -> Iterator[bytes]:
    yield from (part for part in (record.key, record.value) if part)
    for name, value in record.headers:
        yield name.encode("utf-8", "surrogateescape")
        if value:
            yield value


def _ids_in(raw: bytes, depth: int) -> set[bytes]:
    found = {raw} if len(raw) == 16 else set()
    text = _unescaped(raw)
    for portion in chain.from_iterable(map(_portions, _RUN.findall(text))):
        found |= {bytes.fromhex(match.replace(b"-", b"").decode()) for match in _ID.findall(portion)}
    if depth:
        for run in _BASE64.findall(text):
            for shift in range(4 if len(run) <= _LONGEST_TOKEN else 1):
                found |= _ids_in(_decoded(run[shift:]), depth - 1)
    return found


def _portions(run: bytes) -> Iterator[bytes]:
    """A run in overlapping portions: within one search no other thread gets a turn."""
    return (run[start : start + _PORTION + _LONGEST_ID] for start in range(0, len(run), _PORTION))


def _unescaped(raw: bytes) -> bytes:
    """The text without what may hide ASCII in it: the zeros of UTF-16 and UTF-32, and JSON's escapes."""
    text = raw.replace(b"\0", b"")
    for _ in range(_DEEPEST):
        if b"\\" not in text:
            break
        text = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 16)]), text).replace(b"\\/", b"/")
    return text


def _decoded(run: bytes) -> bytes:
    whole = run[: len(run) // 4 * 4] if len(run) % 4 == 1 else run  # one character alone is no byte
    return base64.b64decode(whole.translate(_URL_SAFE) + b"=" * (-len(whole) % 4))
