"""Formats numbers and times for people. PURE."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

NOTHING = "\N{EN DASH}"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def number(value: Any, unit: str = "", *, decimals: int = 2) -> str:
    """Format as 1,234.5, with at most so many decimals and a unit; a dash if there is no value."""
    if value is None:
        return NOTHING
    shown = f"{value:,.{decimals}f}" if decimals else f"{value:,.0f}"
    shown = shown.rstrip("0").rstrip(".") if "." in shown else shown
    return f"{shown} {unit}" if unit else shown


def whole(value: Any, unit: str = "") -> str:
    """Format without decimals."""
    return number(value, unit, decimals=0)


def money(value: Any) -> str:
    """Format as Japanese yen with two decimals, as in the columns."""
    return NOTHING if value is None else f"¥{value:,.2f}"


def whole_money(value: Any) -> str:
    """Format as Japanese yen without decimals."""
    return NOTHING if value is None else f"¥{value:,.0f}"


def comparison(operator: str) -> str:
    """Return an operator as a mathematical sign."""
    return {"<=": "≤", ">=": "≥"}.get(operator, operator)


def plural(count: int, word: str) -> str:
    """1 day, 2 days."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def short_day(day: date) -> str:
    """31 Jan."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def clock(moment: datetime) -> str:
    """14:03:05 UTC."""
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC"


def stamp(moment: datetime) -> str:
    """2026-01-31 14:03:05 UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def ago(moment: datetime, now: datetime) -> str:
    """3 s, 5 min, 2 h or 4 d ago."""
    seconds = max(0, round((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:,} {unit} ago"
    return f"{seconds} s ago"
