"""What is done for many values at once: loops in C over joined bytes, and what was made before looked up.

Only the common shape is recognised, of every one of them or of none.
"""

from __future__ import annotations

from binascii import unhexlify
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product, repeat
from operator import floordiv, sub
from typing import TypeVar

import msgspec

from consumer.decode.copy_format import NULL, jsonb_head, length_prefix
from consumer.decode.memory import Memory

# Less than the levels that the exact lane takes, so that whatever might be too deep is left to it.
MOST_BRACKETS = 400
NULL_JSON = b"null"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - the same moment, for times without an offset
_MICROSECOND = timedelta(microseconds=1)

_Value = TypeVar("_Value")
_Made = TypeVar("_Made")
_Absent = TypeVar("_Absent")


class NotRecognised(Exception):
    """Not the common shape: the exact lane decides."""


LENGTHS = Memory(length_prefix)
_JSONB_HEADS = Memory(jsonb_head)


def where_present(
    make: Callable[[list[_Value]], list[_Made]], values: Sequence[_Value | None], absent: _Absent
) -> Sequence[_Made | _Absent]:
    """What is made of the values that are there, each at its place, and `absent` at the others'."""
    present = [value for value in values if value is not None]
    made = make(present)
    if len(present) == len(values):
        return made
    of_present = iter(made)
    return [absent if value is None else next(of_present) for value in values]


def ids_of(texts: Sequence[str]) -> list[bytes]:
    """The 16 bytes of each id.

    :raises NotRecognised: one is not of this form
    """
    joined = ",".join(texts).encode()
    # As many of this form as there are texts: no text can hold a comma, or there would be more.
    if joined.translate(_HEXADECIMAL_TO_ZERO) != b",".join([_PLAIN_ID] * len(texts)):
        raise NotRecognised
    raw = unhexlify(joined.translate(None, b",-"))
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]


_PLAIN_ID = b"00000000-0000-0000-0000-000000000000"
_HEXADECIMAL_TO_ZERO = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)


def moments_of(texts: Sequence[str]) -> list[int]:
    """Date-times in one of the forms that need no rounding, as microseconds since 2000-01-01 UTC.

    :raises NotRecognised: another form, or in one of the years that an offset may lead out of
    """
    times = plain_times(texts)
    epochs = [_EPOCH if time.tzinfo else _NAIVE_EPOCH for time in times]
    return list(map(floordiv, map(sub, times, epochs), repeat(_MICROSECOND)))


def plain_times(texts: Sequence[str]) -> Sequence[datetime]:
    """Date-times in one of the forms that every reader of times reads alike.

    :raises NotRecognised: another form, or in one of the years that an offset may lead out of
    """
    if not texts:
        return ()
    joined = '","'.join(texts)
    if not _are_plain(joined, len(texts[0])) or "0001-" in joined or "9999-" in joined:
        raise NotRecognised
    times = _decode_times(f'["{joined}"]')
    if len(times) != len(texts):  # one of them held what joins them
        raise NotRecognised
    return times


def _are_plain(joined: str, first_length: int) -> bool:
    """Whether each time, of which the first is so long, has a plain form; mostly all have the same."""
    shapes = joined.encode().translate(_DIGITS_TO_ZERO)
    first = shapes[:first_length]
    many, rest = divmod(len(shapes) + 3, first_length + 3)
    same = not rest and shapes == b'","'.join([first] * many)
    return first in _PLAIN_TIMES if same else _PLAIN_TIMES.issuperset(shapes.split(b'","'))


_decode_times = msgspec.json.Decoder(list[datetime]).decode
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")

# Up to microseconds, with a T or a space, in UTC or with an offset: what every reader of times reads alike.
_PLAIN_TIMES = frozenset(
    f"0000-00-00{separator}00:00:00{fraction}{offset}".encode()
    for separator, fraction, offset in product(
        "T ", ("", *("." + "0" * digits for digits in range(1, 7))), ("", "Z", "+00:00", "-00:00")
    )
)


def json_parts(raws: Sequence[bytes]) -> Sequence[Sequence[bytes]]:
    """JSON as it came, once it is known that PostgreSQL can hold it and that the exact lane would not object: what
    stands before it apart from it, as it may be long.
    """
    _check_json(raws)
    heads = _JSONB_HEADS.of(map(len, raws))
    if NULL_JSON not in raws:
        return heads, raws
    heads = [NULL if raw == NULL_JSON else head for raw, head in zip(raws, heads, strict=True)]
    return heads, [b"" if raw == NULL_JSON else raw for raw in raws]


def _check_json(raws: Sequence[bytes]) -> None:
    """Leave to the exact lane what is nested deeply, and what may be an escaped NUL: it knows an escaped backslash
    from an escape. Broken UTF-8 is an error here, as msgspec does not look for it in what it only slices out. Halves of
    surrogate pairs need no look: msgspec has refused them already.
    """
    joined = b",".join(raws)
    if b"\\" in joined and b"\\u0000" in joined:  # the search for one byte is much the quicker
        raise NotRecognised
    if not joined.isascii():
        joined.decode()  # the comma is a byte of its own: what is broken in one cannot be whole in here
    if any(map(_may_be_deep, raws)):
        raise NotRecognised


def check_depth(raw: bytes) -> None:
    """Leave to the exact lane what might be nested too deeply.

    :param raw: valid JSON
    :raises NotRecognised: it has so many brackets
    """
    if _may_be_deep(raw):
        raise NotRecognised


def _may_be_deep(raw: bytes) -> bool:
    # Each bracket that opens has one that closes.
    return len(raw) > 2 * MOST_BRACKETS and raw.count(b"[") + raw.count(b"{") > MOST_BRACKETS
