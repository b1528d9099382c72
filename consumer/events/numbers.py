"""Numbers, exactly as they were written."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation


def exact(text: str) -> Decimal:
    """The number in `text`, which is one by JSON's grammar; infinite where Decimal cannot hold its exponent.

    Such an exponent has nineteen digits or more: the number lies beyond every column, whatever it was.
    """
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("-Infinity" if text.startswith("-") else "Infinity")
