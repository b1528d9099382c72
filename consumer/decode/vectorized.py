"""Work on many values at once: C loops over joined bytes, and a cache of earlier results.

A function here recognises only the common shape. If one value has another shape, it raises :class:`NotRecognised`.
"""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product, repeat
from operator import floordiv, sub
from typing import TypeVar

import msgspec

from consumer.decode.copy_format import NULL, jsonb_heads

# This is less than the number of levels that the exact lane accepts. A value that might be too deep goes to the exact
# lane.
MOST_BRACKETS = 400
NULL_JSON = b"null"
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - the same moment, for times without an offset
_MICROSECOND = timedelta(microseconds=1)

_Value = TypeVar("_Value")
_Made = TypeVar("_Made")
_Absent = TypeVar("_Absent")


class NotRecognised(Exception):
    """A value does not have the common shape, so the exact lane decides."""


def where_present(
    make: Callable[[list[_Value]], list[_Made]], values: Sequence[_Value | None], absent: _Absent
) -> Sequence[_Made | _Absent]:
    """The results for the values that are present, each at its place. The other places hold `absent`.

    :param make: gets all present values at once, and returns a result for each
    """
    present = [value for value in values if value is not None]
    made = make(present)
    if len(present) == len(values):
        return made
    of_present = iter(made)
    return [absent if value is None else next(of_present) for value in values]


def ids_of(texts: Sequence[str]) -> list[bytes]:
    """The 16 bytes of each id.

    :raises NotRecognised: a text is not 32 hexadecimal digits and four hyphens
    """
    joined = ",".join(texts).encode()
    # The pattern repeats once for each text. A text that holds a comma would need another repetition.
    if joined.translate(_HEXADECIMAL_TO_ZERO) != b",".join([_PLAIN_ID] * len(texts)):
        raise NotRecognised
    raw = unhexlify(joined.translate(None, b",-"))
    return [raw[start : start + 16] for start in range(0, len(raw), 16)]


_PLAIN_ID = b"00000000-0000-0000-0000-000000000000"
_HEXADECIMAL_TO_ZERO = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)


def moments_of(texts: Sequence[str]) -> list[int]:
    """Date-times as microseconds since 2000-01-01 UTC.

    :raises NotRecognised: a text has another form, or lies in the first or last year of the calendar
    """
    times = plain_times(texts)
    epochs = [_EPOCH if time.tzinfo else _NAIVE_EPOCH for time in times]
    return list(map(floordiv, map(sub, times, epochs), repeat(_MICROSECOND)))


def plain_times(texts: Sequence[str]) -> Sequence[datetime]:
    """Date-times in a form that msgspec and the exact lane read alike.

    :raises NotRecognised: a text has another form, or lies in the first or last year of the calendar
    """
    if not texts:
        return ()
    joined = '","'.join(texts)
    if not _are_plain(joined) or "0001-" in joined or "9999-" in joined or _TIE.search(joined):
        raise NotRecognised
    times = _decode_times(f'["{joined}"]')
    if len(times) != len(texts):  # a text held the separator
        raise NotRecognised
    return times


def _are_plain(joined: str) -> bool:
    return _PLAIN_TIMES.issuperset(joined.encode().translate(_DIGITS_TO_ZERO).split(b'","'))


_decode_times = msgspec.json.Decoder(list[datetime]).decode
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")

# Up to nine decimals of a second, as Go and Java send them, with a T or a space, without an offset or with any. All
# digits count as zeros here.
_PLAIN_TIMES = frozenset(
    f"0000-00-00{separator}00:00:00{fraction}{offset}".encode()
    for separator, fraction, offset in product(
        "T ", ("", *("." + "0" * digits for digits in range(1, 10))), ("", "Z", "+00:00", "-00:00")
    )
)


# Exactly in the middle between two microseconds, where msgspec and PostgreSQL round differently.
_TIE = re.compile(r"\.\d{6}50*(?!\d)", re.ASCII)


def json_parts(raws: Sequence[bytes]) -> Sequence[Sequence[bytes]]:
    """The COPY fields of JSON that is stored unchanged: the heads, and then the JSON itself, which may be long.

    :raises NotRecognised: PostgreSQL could not store a value, or the exact lane might refuse it
    :raises UnicodeDecodeError: a value is not UTF-8
    """
    _check_json(raws)
    heads = jsonb_heads(raws)
    if NULL_JSON not in raws:
        return heads, raws
    heads = [NULL if raw == NULL_JSON else head for raw, head in zip(raws, heads, strict=True)]
    return heads, [b"" if raw == NULL_JSON else raw for raw in raws]


def _check_json(raws: Sequence[bytes]) -> None:
    """Leave deep nesting and escaped NUL characters to the exact lane, which understands escaped backslashes.

    msgspec does not check the UTF-8 of the values that it only slices out, so it is checked here. msgspec has already
    refused halves of surrogate pairs.
    """
    joined = b",".join(raws)
    if b"\\" in joined and b"\\u0000" in joined:  # the search for a single byte is much faster
        raise NotRecognised
    if not joined.isascii():
        joined.decode()  # the comma is a byte of its own, so two broken values cannot make a whole character
    if any(map(_may_be_deep, raws)):
        raise NotRecognised


def check_depth(raw: bytes) -> None:
    """Leave JSON that might be nested too deeply to the exact lane.

    :param raw: valid JSON
    :raises NotRecognised: it has more than :data:`MOST_BRACKETS` opening brackets
    """
    if _may_be_deep(raw):
        raise NotRecognised


def _may_be_deep(raw: bytes) -> bool:
    # Each opening bracket has a closing one.
    return len(raw) > 2 * MOST_BRACKETS and raw.count(b"[") + raw.count(b"{") > MOST_BRACKETS
