"""Tests a transaction that PostgreSQL ended because it was idle: the log names this cause."""

import asyncio

import psycopg
import pytest
from pydantic import SecretStr

from consumer.ingest.ports import Unavailable
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.service import eventually
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(60)


def wait_until_ended(dsn: str, pid: int) -> None:
    """Wait until PostgreSQL has ended the session."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        alive = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        eventually(lambda: connection.execute(alive, [pid]).fetchone() == (0,), message="the session has ended")


@pytest.mark.parametrize("turns", [0, 1, 2, 3, None])
async def test_the_cause_is_named(stack: Servers, turns: int | None) -> None:
    """It is known by its SQLSTATE, whether the client learns of it at once, with its next statement, or has read the
    server's message but not the end of the connection.
    """
    database = Database(Postgres(dsn=SecretStr(stack.dsn)))
    await database.open()
    try:
        with pytest.raises(Unavailable, match="25P03") as raised:
            await stay_idle(database, stack.dsn, turns)
        assert "is_closed" not in str(raised.value)
        async with database.transaction() as transaction:
            assert await transaction.fetch("SELECT 1")
    finally:
        await database.close(5)


async def stay_idle(database: Database, dsn: str, turns: int | None) -> None:
    """Send nothing in a transaction until PostgreSQL ends it; continue after so many turns of the event loop."""
    async with database.transaction() as transaction:
        await transaction.execute("SET LOCAL idle_in_transaction_session_timeout = 50")
        ((pid,),) = await transaction.fetch("SELECT pg_backend_pid()")
        if turns is None:
            await asyncio.to_thread(wait_until_ended, dsn, pid)
        else:
            wait_until_ended(dsn, pid)
            for _ in range(turns):
                await asyncio.sleep(0)
        await transaction.execute("SELECT 1")
