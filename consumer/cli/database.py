"""Opens the database for one command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.postgres.client import Database
from consumer.settings.model import Settings

CLOSE_SECONDS = 5.0


@asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """Open a connection pool for the duration of a command."""
    database = Database(settings.postgres)
    await database.open()
    try:
        yield database
    finally:
        await database.close(CLOSE_SECONDS)
