"""The checks of single fields. The service makes the same checks; a test compares the two.

A check takes a value of a snapshot, in which mappings are dicts, and tuples are lists. It returns the value to
publish, or raises :class:`Invalid`. :func:`ragledger_client._events.encode` finds characters that cannot be stored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timezone
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from math import isfinite
from numbers import Real
from typing import Any
from uuid import UUID

from ragledger_client import _timestamps
from ragledger_client._numbers import exact

Check = Callable[[Any], Any]

_NO_NUMBER = "must be a number, or a string that holds one"
_MOST_DIGITS = 20
_ROUNDING = Context(prec=2 * _MOST_DIGITS, rounding=ROUND_HALF_UP, Emax=MAX_EMAX, Emin=MIN_EMIN)


class Invalid(Exception):
    """A value that the service would reject. The message names the place and the reason, and never quotes the value."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.problem, self.path = problem, path

    def within(self, path: str) -> Invalid:
        """Return the same problem, with the path of the value inside the event."""
        separator = "." if self.path and not self.path.startswith("[") else ""
        return Invalid(self.problem, f"{path}{separator}{self.path}")


def text(shortest: int = 0, longest: int | None = None) -> Check:
    """A string of at least `shortest` and at most `longest` characters."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Invalid("must be a string")
        if len(value) < shortest or (longest is not None and len(value) > longest):
            raise Invalid(f"must have {shortest} to {longest} characters")
        return value

    return check


def pattern(expression: str) -> Check:
    """A string that matches as a whole."""
    compiled = re.compile(expression.removeprefix("^").removesuffix("$"))

    def check(value: Any) -> str:
        if isinstance(value, str) and compiled.fullmatch(value):
            return value
        raise Invalid(f"must match {expression}")

    return check


def number(low: str, high: str, scale: int = 0) -> Check:
    """A number, or a string that holds one, in this range after it is rounded to `scale` decimals."""
    least, most = Decimal(low), Decimal(high)
    lower, upper = float(low), float(high)

    def check(value: Any) -> Any:
        published = value if type(value) is int else _number(value)
        # The limits have no more decimals than the scale, so rounding a number between them cannot leave the range.
        if lower < (float(published) if isinstance(published, str) else published) < upper:
            return published
        if not least <= rounded(published, scale) <= most:
            raise Invalid(f"must be between {low} and {high}")
        return published

    return check


def _number(value: Any) -> Any:
    """The number to publish: a Decimal as a string, a number of another library as a float."""
    if isinstance(value, Decimal):
        value = str(value)
    if isinstance(value, bool) or (isinstance(value, str) and not NUMBER.fullmatch(value)):
        raise Invalid(_NO_NUMBER)
    if isinstance(value, (str, int)):
        return value
    if not isinstance(value, Real) or not isfinite(value):
        raise Invalid(_NO_NUMBER)
    return float(value)


def rounded(value: Any, scale: int) -> Decimal:
    """The number as its column stores it; infinity if it is far out of every range."""
    number = Decimal(value) if isinstance(value, int) else exact(value if isinstance(value, str) else repr(value))
    if not number:
        return Decimal(0)
    if not number.is_finite() or number.adjusted() > _MOST_DIGITS:
        return Decimal("Infinity")
    return number.quantize(Decimal(1).scaleb(-scale), context=_ROUNDING)


def uuid(value: Any) -> str:
    """A UUID, or its text in any form of RFC 9562."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, str) and UUID_TEXT.fullmatch(value):
        return value
    raise Invalid("must be a UUID")


def date_time(value: Any) -> str:
    """A datetime with a time zone, or an RFC 3339 date-time."""
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise Invalid("must have a time zone, as datetime.now(timezone.utc) has")
        try:
            return value.astimezone(timezone.utc).isoformat()
        except OverflowError:
            raise Invalid("is not a date-time that exists between the years 1 and 9999") from None
    if not isinstance(value, str):
        raise Invalid("must be a datetime, or a string with an RFC 3339 date-time")
    try:
        _timestamps.parse(value)
    except ValueError as error:
        raise Invalid(str(error)) from None
    return value


def flag(value: Any) -> bool:
    """True or False, nothing else."""
    if isinstance(value, bool):
        return value
    raise Invalid("must be True or False")


def choice(values: Collection[str], aliases: Collection[str] = ()) -> Check:
    """One of the values, or in any case one of the aliases."""

    def check(value: Any) -> str:
        if isinstance(value, str) and (value in values or value.lower() in aliases):
            return value
        others = ", or the SPDX identifier of one of them" if aliases else ""
        raise Invalid(f"must be one of {', '.join(values)}{others}")

    return check


def json_object(value: Any) -> dict[Any, Any]:
    """Any dict."""
    if isinstance(value, dict):
        return value
    raise Invalid("must be a dict")


def members(required: Collection[str], checks: Mapping[str, Check]) -> Check:
    """A mapping with these members. None counts as absent; further members are kept."""

    def check(value: Any) -> dict[str, Any]:
        given = json_object(value)
        return given | check_fields(required, checks, given)

    return check


def array(item: Check) -> Check:
    """A list of such items. The path of an error has no index, so that each cause is reported only once."""

    def check(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Invalid("must be a list")
        try:
            return [item(one) for one in value]
        except Invalid as invalid:
            raise invalid.within("[]") from None

    return check


def check_fields(required: Collection[str], checks: Mapping[str, Check], given: Mapping[str, Any]) -> dict[str, Any]:
    """The known fields to publish, without the fields that are None.

    :raises Invalid: the first field that is wrong, or missing
    """
    found = {}
    for name, value in given.items():
        if value is not None and (check := checks.get(name)):
            try:
                found[name] = check(value)
            except Invalid as invalid:
                raise invalid.within(name) from None
    for name in required:
        if name not in found:
            raise Invalid("required, but missing", name)
    return found


# The grammar of JSON, with the extensions that PostgreSQL accepts; RFC 9562 §4 with or without hyphens.
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
