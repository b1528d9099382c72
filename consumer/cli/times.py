"""Parses times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from consumer.events import timestamps


def moment(text: str) -> datetime:
    """Parse a date or an RFC 3339 date-time; without an offset it is UTC.

    :raises typer.BadParameter: the text is neither
    """
    try:
        return timestamps.parse(text if len(text) > len("2026-01-31") else f"{text}T00:00:00").replace(tzinfo=UTC)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} {error}") from None
