"""Finds every id in a record, so that an erasure finds the records that name a user.

Broken records are searched too, so nothing is parsed here. An id is found with and without hyphens, in upper and lower
case, with JSON escapes, in UTF-16, in base64 (the `data_base64` of a CloudEvent, a token in a header), and as 16 bytes
that are a whole key, value or header. With a namespace, string ids are found as well: see :mod:`.user_keys`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import chain
from uuid import UUID

from consumer.events.ids import hasher
from consumer.events.record import Record
from consumer.events.user_keys import SHORTEST, find_user_keys, names_user

# JSON inside a JSON string is escaped once more for each level; base64 may contain base64.
_DEEPEST = 3
_HYPHENATED = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BARE = rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])"  # not a part of a longer hash
_ID = re.compile(_HYPHENATED + b"|" + _BARE, re.IGNORECASE)
_RUN = re.compile(rb"[0-9A-Fa-f-]{32,}")  # every id is in such a run, and the search for runs is fast
# Each run of backslashes is matched once, from its first one on: a record may consist of backslashes only.
_ESCAPED = re.compile(rb"(?<!\\)\\++u00([0-7][0-9a-f])", re.IGNORECASE)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{32,}")
_PORTION, _LONGEST_ID = 65_536, 36
_LONGEST_TOKEN = (
    1024  # up to this length each start is tried, because the characters before the base64 may look like base64
)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def find_user_ids(record: Record, namespace: UUID | None = None) -> set[bytes]:
    """Return the 16 bytes of every id in key, value and headers. In doubt, an id is included.

    :param namespace: the namespace of string ids; None if string ids are not accepted
    """
    found: set[bytes] = set()
    for part in _parts(record):
        for raw, text in _layers(part, _DEEPEST):
            found |= _ids_in(raw, text)
    return found if namespace is None else found | set(map(hasher("user", namespace), _keys(record)))


def _keys(record: Record) -> set[bytes]:
    """Return the strings, in UTF-8, that may be the id of a user."""
    found = {
        key for part in _parts(record) for raw, _ in _layers(part, _DEEPEST) for key in find_user_keys(raw, _DEEPEST)
    }
    found |= {value for name, value in record.headers if value and (len(value) >= SHORTEST or names_user(name))}
    return found | {record.key, record.key.strip(b'"')} if record.key else found


def _parts(record: Record) -> Iterator[bytes]:
    yield from (part for part in (record.key, record.value) if part)
    for name, value in record.headers:
        yield name.encode("utf-8", "surrogateescape")
        if value:
            yield value


def _layers(raw: bytes, depth: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bytes and the decoded base64 in them, each with its unescaped text."""
    text = _unescaped(raw)
    yield raw, text
    if depth:
        for run in _BASE64.findall(text):
            for shift in range(4 if len(run) <= _LONGEST_TOKEN else 1):
                yield from _layers(_decoded(run[shift:]), depth - 1)


def _ids_in(raw: bytes, text: bytes) -> set[bytes]:
    found = {raw} if len(raw) == 16 else set()
    for portion in chain.from_iterable(map(_portions, _RUN.findall(text))):
        found |= {bytes.fromhex(match.replace(b"-", b"").decode()) for match in _ID.findall(portion)}
    return found


def _portions(run: bytes) -> Iterator[bytes]:
    """Split a run into overlapping portions, because no other thread can run during one search."""
    return (run[start : start + _PORTION + _LONGEST_ID] for start in range(0, len(run), _PORTION))


def _unescaped(raw: bytes) -> bytes:
    """Return the text without the zeros of UTF-16 and UTF-32, and with JSON escapes replaced."""
    text = raw.replace(b"\0", b"")
    for _ in range(_DEEPEST):
        if b"\\" not in text:
            break
        text = _ESCAPED.sub(lambda escape: bytes([int(escape[1], 16)]), text).replace(b"\\/", b"/")
    return text


def _decoded(run: bytes) -> bytes:
    whole = run[: len(run) // 4 * 4] if len(run) % 4 == 1 else run  # one remaining character does not make a byte
    return base64.b64decode(whole.translate(_URL_SAFE) + b"=" * (-len(whole) % 4))
