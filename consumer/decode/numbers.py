"""Reads the numbers of a whole column at once, and rounds them exactly as the exact lane does.

A number becomes a count of units: hundredths in a column of scale 2, ones in a column of integers. C loops compute with
binary floating point numbers. The result is exact, because this module decides a number only if its distance from the
middle between two units is larger than the floating point error. The caller decides the other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from operator import mul, sub
from typing import TypeVar

import msgspec
from msgspec import Raw

from consumer.decode.vectorized import NULL_JSON, NotRecognised
from consumer.events.fields import INT_MAX

# A float differs from the number in the text by at most 2**-53 of its size, and so does the product with a power of ten
# from the exact product. Up to INT_MAX units the two errors together are below 5e-7 units.
_SURE = 0.5 - 1e-6
_MOST_UNITS = float(INT_MAX) + 1

_Number = TypeVar("_Number", int, float)
_NUMBER_CHARACTERS = b"0123456789+-.eE,"
_decode_floats = msgspec.json.Decoder(list[float]).decode
_decode_integers = msgspec.json.Decoder(list[int]).decode


class Rounded:
    """Numbers in units.

    :param units: the rounded numbers; an undecided number has one of its two neighbours here
    :param undecided: the indexes of numbers that are too near to the middle between two units
    """

    __slots__ = ("undecided", "units")

    def __init__(self, numbers: Sequence[float], scale: int) -> None:
        """Round the numbers.

        :raises NotRecognised: a number is outside the range of every column
        """
        scaled = list(map(mul, numbers, repeat(10.0**scale)))
        if scaled and not (min(scaled) >= -_MOST_UNITS and max(scaled) <= _MOST_UNITS):
            raise NotRecognised
        self.units: list[int] = list(map(float.__round__, scaled))
        distances = list(map(abs, map(sub, scaled, self.units)))
        are_sure = max(distances, default=0.0) < _SURE
        self.undecided = () if are_sure else [n for n, distance in enumerate(distances) if distance >= _SURE]


def where_given(
    make: Callable[[Sequence[bytes | Raw], bytes], Sequence[int]], values: Sequence[Raw]
) -> Sequence[int | None]:
    """The whole number of each JSON value; None for a null.

    :param make: gets the values that are not null, and the same values joined by commas, without quotation marks
    """
    joined = _join(values)
    if NULL_JSON not in joined:
        return make(values, joined)
    texts = list(map(bytes, values))
    given = [text for text in texts if text != NULL_JSON]
    made = iter(make(given, _join(given)))
    return [None if text == NULL_JSON else next(made) for text in texts]


def _join(texts: Sequence[bytes | Raw]) -> bytes:
    joined = b",".join(texts)
    return joined.translate(None, b'"') if b'"' in joined else joined


def floats_in(joined: bytes, count: int) -> list[float]:
    """The numbers in a joined text.

    :param count: how many numbers the text must hold
    :raises NotRecognised: one of the texts is not a number as JSON writes it
    """
    return _numbers_in(_decode_floats, joined, count)


def integers_in(joined: bytes, count: int) -> list[int]:
    """The whole numbers in a joined text.

    :param count: how many numbers the text must hold

    :raises NotRecognised: one of the texts is not a whole number as JSON writes it
    """
    return _numbers_in(_decode_integers, joined, count)


def _numbers_in(decode: Callable[[bytes], list[_Number]], joined: bytes, count: int) -> list[_Number]:
    # Only the characters of numbers may occur. Otherwise white space and commas inside a string would be accepted.
    if joined.translate(None, _NUMBER_CHARACTERS):
        raise NotRecognised
    found = decode(b"[" + joined + b"]")
    if len(found) != count:
        raise NotRecognised
    return found
