"""The PostgreSQL client of the service, on top of asyncpg: connections, transactions, COPY.

It needs no session state: time limits are set in each transaction, so it works behind a pooler in transaction mode.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Literal, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from consumer.decode.copy_format import SIGNATURE, TRAILER
from consumer.ingest.ports import Cause, Unavailable
from consumer.postgres.errors import (
    ENDED,
    IDLE_SECONDS,
    CopyNotSupported,
    Objection,
    WrongDatabase,
    skipped,
    translated_errors,
)
from consumer.postgres.login import Login, connect
from consumer.postgres.session import SETTINGS, set_local
from consumer.settings.servers import Postgres

Isolation: TypeAlias = Literal["read_committed", "repeatable_read"]

APPLICATION_NAME = "ragledger"
COPY_ROWS_A_MESSAGE = 128
COPY_BYTES_A_MESSAGE = 1_048_576
ROWS_STREAMED = 1_000
_COPY_NOT_SUPPORTED = "0A000"
_streams = itertools.count(1)
# The errors of asyncpg after a server or a proxy has dropped an idle connection.
_DROPPED = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
)
_ROUND_SECONDS = 1.0  # short, so that progress can be seen
CLIENT_GRACE_SECONDS = 5.0  # the server's own limit ends a statement first


class Transaction:
    """An open transaction. Every method raises :class:`Unavailable` or :class:`Refused` if PostgreSQL refuses.

    :param longest: the server's limit for a statement, in seconds. Soon after this time the connection is cut
    :param answered: called for each answer
    :ivar round_seconds: how long a statement should take if the caller can choose
    """

    def __init__(self, connection: PoolConnectionProxy[Any], longest: float, answered: Callable[[], None]) -> None:
        self._connection, self._limit, self._answered = connection, longest + CLIENT_GRACE_SECONDS, answered
        self.round_seconds = min(_ROUND_SECONDS, longest / 8)
        self._is_cut = False

    async def execute(self, sql: str, *arguments: Any) -> str:
        """Run a statement and return its command tag."""
        async with self._bounded(sql):
            return str(await self._connection.execute(sql, *arguments))

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Run a statement and return its rows."""
        async with self._bounded(sql):
            return await self._connection.fetch(sql, *arguments)

    async def stream(self, sql: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        """Run a query and yield its rows; only a few are in memory at a time.

        Uses a cursor in SQL, because asyncpg's cursor needs a named statement, whose name may exist already behind a
        pooler. A cursor in SQL takes no arguments, so PostgreSQL first turns them into literals. Each cursor has its
        own name, because asyncpg caches the row type of a FETCH.
        """
        texts = [None if argument is None else str(argument) for argument in arguments]
        quoted = await self.fetch("SELECT quote_nullable(text) AS literal FROM unnest($1::text[]) AS text", texts)
        literal = re.sub(r"\$(\d+)", lambda place: str(quoted[int(place[1]) - 1]["literal"]), sql)
        name = f"stream_{next(_streams)}"
        await self.execute(f"DECLARE {name} NO SCROLL CURSOR FOR {literal}")
        while rows := await self.fetch(f"FETCH {ROWS_STREAMED} FROM {name}"):
            for row in rows:
                yield row
        await self.execute(f"CLOSE {name}")

    async def copy(self, table: str, columns: Sequence[str], tuples: Sequence[bytes]) -> None:
        """COPY tuples in binary format into a table.

        :raises CopyNotSupported: PostgreSQL accepts no COPY into this table
        """
        try:
            async with self._bounded(f"COPY {table}"):
                copied = await self._connection.copy_to_table(
                    table, source=_messages(tuples), columns=columns, format="binary"
                )
        except Objection as error:
            if error.sqlstate == _COPY_NOT_SUPPORTED:
                raise CopyNotSupported(str(error), error.cause, error.sqlstate) from None
            raise
        if copied != f"COPY {len(tuples)}":
            raise skipped(table)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A savepoint: if the body fails, only its changes are rolled back."""
        nested = self._connection.transaction()
        async with self._bounded():
            await nested.start()
        async with self._undone_when_it_fails(nested):
            yield
        async with self._bounded():
            await nested.commit()

    @asynccontextmanager
    async def whole(self, begun: Any) -> AsyncIterator[None]:
        """COMMIT or ROLLBACK the transaction after the body.

        If the task is cancelled, the connection is cut, because a frozen server would not answer a ROLLBACK either.
        """
        try:
            async with self._undone_when_it_fails(begun):
                yield
            async with self._bounded():
                await begun.commit()
        except asyncio.CancelledError:
            self._cut()
            raise

    @asynccontextmanager
    async def _undone_when_it_fails(self, transaction: Any) -> AsyncIterator[None]:
        try:
            yield
        except Exception:
            if not self._is_cut and not _is_gone(self._connection):
                async with self._bounded():
                    await transaction.rollback()
            raise

    @asynccontextmanager
    async def _bounded(self, sql: str = "transaction") -> AsyncIterator[None]:
        """Limit the time of one request. asyncpg's own limit waits for the cancellation, and does not apply to COPY.

        If the server disappears during a COPY, or ends the session between two statements, asyncpg's connection may
        stay in a state in which it accepts no request: it is never used again.
        """
        with translated_errors(sql):
            try:
                async with asyncio.timeout(self._limit):
                    with _noticing_loss(self._connection):
                        yield
            except TimeoutError:
                self._cut()
                raise TimeoutError(f"no answer for {self._limit:.0f} s") from None
            except asyncpg.InternalClientError as error:
                self._cut()
                raise Unavailable(ENDED, Cause.CONNECTION) from error
            except asyncpg.InterfaceError as error:
                if _is_gone(self._connection):
                    raise Unavailable(ENDED, Cause.CONNECTION) from error
                raise
        self._answered()

    def _cut(self) -> None:
        self._is_cut = True
        with suppress(asyncpg.InterfaceError):  # asyncpg may know already that it is closed
            self._connection.terminate()


class Database:
    """A pool of connections to one database, which may be unavailable at the start.

    :ivar answers: the number of statements answered since the start; it shows the progress of a write
    :ivar statement_seconds: the longest time that a statement may take
    """

    def __init__(self, settings: Postgres) -> None:
        self._settings, self._login = settings, Login(settings)
        self._pool: asyncpg.Pool[Any] | None = None
        self._limits = _limits_sql(settings)
        self.statement_seconds = settings.statement_timeout_s
        self._limit = settings.statement_timeout_s + CLIENT_GRACE_SECONDS
        self.answers = 0

    async def open(self) -> None:
        """Create the pool. It connects when it is first used."""
        settings = self._settings
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=settings.pool_size,
            max_inactive_connection_lifetime=60,
            reset=_nothing_to_reset,
            **_connection_limits(settings) | {"connect": self._connect},
        )

    async def _connect(self, _dsn: None, **limits: Any) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection for the pool. The pool passes the arguments that `open` has set."""
        return await connect(self._login, **limits)

    async def close(self, timeout: float) -> None:
        """Close every connection; cut those that are still open after `timeout` seconds."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self, isolation: Isolation = "read_committed") -> AsyncIterator[Transaction]:
        """A transaction with the time limits of the settings, committed at the end.

        The isolation is set explicitly, because writes need each statement to see what was committed before it.

        A session keeps the search path and the server of its start, and the server may have become a standby. After an
        error that this may have caused, later transactions get new sessions.

        :param isolation: `repeatable_read` if several statements must see one state of the database
        :raises Unavailable: no connection, or it was lost; after a lost COMMIT the outcome is unknown
        """
        try:
            with translated_errors():
                async with AsyncExitStack() as ended:
                    connection, begun = await self._begin(ended, isolation)
                    transaction = Transaction(connection, self.statement_seconds, self._count_answer)
                    async with transaction.whole(begun):
                        yield transaction
        except Unavailable as error:
            if self._pool is not None and (error.cause is Cause.READ_ONLY or isinstance(error, WrongDatabase)):
                await self._pool.expire_connections()
            raise

    async def _begin(self, ended: AsyncExitStack, isolation: Isolation) -> tuple[PoolConnectionProxy[Any], Any]:
        """Get a connection and begin a transaction with our limits. If the connection was dropped while it was idle,
        try another one: this is not an outage.
        """
        assert self._pool is not None, "open() comes first"
        for others in range(self._settings.pool_size, -1, -1):
            connection = await ended.enter_async_context(self._pool.acquire())
            transaction = connection.transaction(isolation=isolation)
            try:
                async with asyncio.timeout(self._limit):
                    with _noticing_loss(connection):
                        await transaction.start()
                        await connection.execute(self._limits)
            except BaseException as error:
                with suppress(asyncpg.InterfaceError):  # asyncpg may know already that it is closed
                    connection.terminate()
                if not others or not isinstance(error, _DROPPED):
                    raise
            else:
                return connection, transaction
        raise AssertionError("the last try raises")

    def _count_answer(self) -> None:
        self.answers += 1


def _is_gone(connection: Any) -> bool:
    """Whether the connection is closed. If the pool has taken a lost connection back, even this question fails."""
    try:
        return bool(connection.is_closed()) or bool(connection._transport.is_closing())
    except asyncpg.InterfaceError:
        return True


@contextmanager
def _noticing_loss(connection: PoolConnectionProxy[Any]) -> Iterator[None]:
    """Translate the RuntimeError of uvloop for sending on a closed connection, as long as asyncpg has not noticed the
    loss.
    """
    try:
        yield
    except RuntimeError as error:
        if _is_gone(connection):
            raise ConnectionResetError("the server closed it") from error
        raise


async def _nothing_to_reset(_connection: object) -> None:
    """Skip the reset of a returned connection: our settings and locks end with each transaction anyway."""


def _connection_limits(settings: Postgres) -> dict[str, Any]:
    options: dict[str, Any] = {
        "timeout": settings.connect_timeout_s,
        "server_settings": {"application_name": APPLICATION_NAME},
    }
    if settings.pgbouncer:
        options["statement_cache_size"] = 0
    return options


def _limits_sql(settings: Postgres) -> str:
    """Statements that set the time limits, UTC (for now() in defaults), and the settings our SQL relies on."""
    limits = {
        "statement_timeout": settings.statement_timeout_s,
        "lock_timeout": settings.lock_timeout_s,
        "idle_in_transaction_session_timeout": IDLE_SECONDS,
    }
    in_milliseconds = "; ".join(f"SET LOCAL {name} = {int(seconds * 1000)}" for name, seconds in limits.items())
    return f"{in_milliseconds}; SET LOCAL timezone = 'UTC'; {set_local(SETTINGS)}"


async def _messages(tuples: Sequence[bytes]) -> AsyncIterator[bytes]:
    """The messages of a COPY. Large tuples are cut into several messages, so that the event loop runs in between."""
    yield SIGNATURE
    for start in range(0, len(tuples), COPY_ROWS_A_MESSAGE):
        rows = tuples[start : start + COPY_ROWS_A_MESSAGE]
        for message in [b"".join(rows)] if sum(map(len, rows)) <= COPY_BYTES_A_MESSAGE else _pieces(rows):
            yield message
    yield TRAILER


def _pieces(tuples: Iterable[bytes]) -> Iterator[bytes]:
    for one in tuples:
        for start in range(0, len(one), COPY_BYTES_A_MESSAGE):
            yield one[start : start + COPY_BYTES_A_MESSAGE]
