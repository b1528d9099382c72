"""Parses numbers exactly."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation


def exact(text: str) -> Decimal:
    """Return the number in `text`, which must match JSON's grammar.

    Decimal cannot hold an exponent of nineteen digits or more. At the scale of every column, such a number is zero or
    out of range, so zero or infinity is returned.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        digits, _, exponent = text.lower().partition("e")
        if exponent.startswith("-") or not Decimal(digits):
            return Decimal(0)
        return Decimal("-Infinity" if text.startswith("-") else "Infinity")
