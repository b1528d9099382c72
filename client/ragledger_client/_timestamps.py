# Made by `python docs/generate.py` from consumer.events.timestamps.
"""Parses RFC 3339 date-times, and rounds them to microseconds as PostgreSQL does."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

# RFC 3339 §5.6, with five unambiguous extensions: the offset may be missing (then it is UTC), a space may replace the T
# (the note in §5.6), any number of fraction digits is allowed (Go and Java send nine), the seconds may be missing (then
# they are 0), and the colon of the offset may be missing.
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?",
    re.ASCII,
)

_MICROSECOND_DIGITS = 6
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, like the columns


def parse(text: str) -> datetime:
    """Return `text` as a naive UTC datetime, rounded to microseconds (half to even, like PostgreSQL's rint).

    :raises ValueError: `text` is not an RFC 3339 date-time, or is outside the years 1 to 9999
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("must be an RFC 3339 date-time such as 2026-01-31T09:30:00Z")
    date, clock, second, fraction, _zulu, sign, hours, minutes = match.groups()
    leap = second == "60"
    try:
        if leap or (fraction and len(fraction) > _MICROSECOND_DIGITS):
            moment = datetime.fromisoformat(f"{date}T{clock}:{'59' if leap else second}") + _extra(leap, fraction)
        else:
            moment = datetime.fromisoformat(f"{date}T{clock}:{second or '00'}.{fraction or '':0<6}")
        return moment - _offset(sign, hours, minutes) if sign else moment
    except (ValueError, OverflowError):
        raise ValueError("is not a date-time that exists between the years 1 and 9999") from None


def from_milliseconds(milliseconds: int) -> datetime:
    """Return a Kafka record timestamp as a naive UTC datetime.

    :raises ValueError: it is outside the years 1 to 9999
    """
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        raise ValueError("missing, and the record's timestamp lies outside the years 1 to 9999") from None


def _extra(leap: bool, fraction: str | None) -> timedelta:
    """Return the fraction, and the second of a leap second (:60), which PostgreSQL carries into the next minute."""
    return timedelta(seconds=int(leap), microseconds=round(float(f"0.{fraction or 0}") * 1_000_000))


def _offset(sign: str, hours: str, minutes: str) -> timedelta:
    if int(hours) > 23 or int(minutes) > 59:
        raise ValueError
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return -offset if sign == "-" else offset
