# Made by `python docs/generate.py` from consumer.events.numbers.
"""Numbers, exactly as they were written."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation


def exact(text: str) -> Decimal:
    """The number in `text`, which is one by JSON's grammar.

    Decimal cannot hold an exponent of nineteen digits or more. Such a number is zero at the scale of every column, or
    lies beyond the range of every column, and is returned as zero or as infinity.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        digits, _, exponent = text.lower().partition("e")
        if exponent.startswith("-") or not Decimal(digits):
            return Decimal(0)
        return Decimal("-Infinity" if text.startswith("-") else "Infinity")
