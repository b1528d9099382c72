"""PostgreSQL, through asyncpg: connections, transactions, COPY, and its errors in our words.

Nothing here needs a session to last: time limits are set for each transaction, so a pooler in transaction mode fits in.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Literal, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from consumer.decode.copy_format import SIGNATURE, TRAILER
from consumer.ingest.ports import Refused, StoreError, Unavailable
from consumer.postgres.client_files import UnreadableError, read_by_client
from consumer.postgres.queries import name_of
from consumer.postgres.session import SETTINGS, set_local
from consumer.postgres.tls import certificate_problem, tls_options
from consumer.settings.model import Postgres

Isolation: TypeAlias = Literal["read_committed", "repeatable_read"]

APPLICATION_NAME = "ragledger"
COPY_ROWS_A_MESSAGE = 128
COPY_BYTES_A_MESSAGE = 1_048_576
ROWS_STREAMED = 1_000
UNIQUE_VIOLATION = "23505"
_streams = itertools.count(1)
_SCHEMA_MISSING = frozenset({"42P01", "42703", "42704", "3F000"})
_COPY_NOT_SUPPORTED = "0A000"
# The standard's "no data": a row was neither inserted nor was its id there before.
SKIPPED = "02000"
_NOT_ALLOWED = "42501"
_ABOUT_THE_SESSION = frozenset({"28", "53"})  # authentication, connections, memory, disk: nothing of an event
# Data exceptions, integrity constraints, WITH CHECK OPTION, program limits (an index entry too large, JSON nested too
# deeply), what triggers raise: PostgreSQL's manual, appendix A; class 45 is the SQL standard's for users' own errors.
_DATA_CLASSES = frozenset({"22", "23", "44", "45", "54", "P0"})
_CAUSES = {
    "08": "connection",
    "25": "read_only",
    "28": "privilege",
    "40": "conflict",
    "42": "schema",
    "53": "resources",
    "55": "lock",
    "57": "shutdown",
    "58": "system",
    # Where the class says less than the code.
    "25P03": "timeout",
    "25P04": "timeout",
    "42501": "privilege",
    "57014": "timeout",
}
# What PostgreSQL itself calls an outage: connections, read-only, authentication, conflicts, resources, locks, shutdown,
# the system, broken files. The pattern is used in the server too.
OUTAGES = "08|25|28|40|53|57|58|55006|55P03|XX001|XX002"
_IS_OUTAGE = re.compile(OUTAGES)
# Where PL/pgSQL's RAISE reports from: somebody's trigger chose the SQLSTATE, whatever class it is of. Within the server
# only the first line of the context tells, in the server's language and with the function's name, which may be quoted;
# RAISE is the last word of it, or nearly. A line that quotes a statement has a quotation mark before any PL/pgSQL.
_RAISE = "exec_stmt_raise"
RAISED = r"""^[^"]*PL/pgSQL.*[^[:alnum:]_"()]RAISE([^[:alnum:]_"()][^"()]*)?$"""
# What a server or a proxy that drops idle connections leaves us with.
_DROPPED = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
)
# Longer than a transaction waits for its turn; ends what a frozen reader left open.
_IDLE_SECONDS = 10.0
_IDLE = "25P03"
_CANCELED = "57014"
_ENDED = (
    "the connection to PostgreSQL was ended from the other side in the middle of a transaction, between two statements:"
    f" as the server does with a transaction in which nothing is asked for {_IDLE_SECONDS:.0f} s ({_IDLE}), or when it"
    " is shut down"
)
_ROUND_SECONDS = 1.0  # often enough to see that the work gets on
CLIENT_GRACE_SECONDS = 5.0  # the server's own limit comes first


def _raise_every_sqlstate() -> None:
    """asyncpg takes SQLSTATEs of the classes 01 and 02 for notices, and a notice takes no traceback: whoever handles
    one gets a TypeError instead. A trigger may raise them as errors, and then they are to be none that asyncpg knows.
    """
    known: dict[str, type] = vars(type(asyncpg.PostgresError))["_message_map"]
    for sqlstate in [code for code, kind in known.items() if issubclass(kind, asyncpg.PostgresLogMessage)]:
        del known[sqlstate]


_raise_every_sqlstate()


class Objection(Unavailable):
    """PostgreSQL objects, and it is no outage: something of ours is wrong (a right, a table), or a row has provoked it.

    Who writes rows finds out which; for everybody else the store cannot be used now.
    """

    def __init__(self, message: str, cause: str, sqlstate: str, constraint: tuple[str, str, str] | None = None) -> None:
        super().__init__(message, cause)
        self.sqlstate, self.constraint = sqlstate, constraint


class WrongDatabase(Unavailable):
    """The database that answers is not as it has to be; raised within a transaction by whoever looks."""


class CopyNotSupported(Objection):
    """PostgreSQL refuses COPY here (row-level security applies to this role): insert from a staging table instead."""


OBJECTIONS = (Refused, Objection)


class Transaction:
    """An open transaction. Every method raises :class:`Unavailable` or :class:`Refused` when PostgreSQL objects.

    :param longest: seconds that the server lets a statement take; soon after it the connection is cut
    :param answered: called for each answer
    :ivar round_seconds: how long a statement should take whose length can be chosen
    """

    def __init__(self, connection: PoolConnectionProxy[Any], longest: float, answered: Callable[[], None]) -> None:
        self._connection, self._limit, self._answered = connection, longest + CLIENT_GRACE_SECONDS, answered
        self.round_seconds = min(_ROUND_SECONDS, longest / 8)
        self._is_cut = False

    async def execute(self, sql: str, *arguments: Any) -> str:
        """Run a statement; its command tag."""
        async with self._bounded(sql):
            return str(await self._connection.execute(sql, *arguments))

    async def fetch(self, sql: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Run a statement; its rows."""
        async with self._bounded(sql):
            return await self._connection.fetch(sql, *arguments)

    async def stream(self, sql: str, *arguments: object) -> AsyncIterator[asyncpg.Record]:
        """Run a query; its rows one by one, of which few are held at a time.

        A cursor of SQL's own: asyncpg's needs a named statement, and behind a pooler names meet those of others. SQL's
        takes no arguments, so PostgreSQL writes them as literals first. Each has a name of its own, as asyncpg
        remembers what a FETCH returns.
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

        :raises CopyNotSupported: PostgreSQL takes no COPY into this table
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
        """What fails inside is rolled back alone."""
        nested = self._connection.transaction()
        async with self._bounded():
            await nested.start()
        async with self._undone_when_it_fails(nested):
            yield
        async with self._bounded():
            await nested.commit()

    @asynccontextmanager
    async def whole(self, begun: Any) -> AsyncIterator[None]:
        """The transaction itself, once it has begun, to COMMIT or ROLLBACK.

        Whoever is cancelled cuts the connection: a frozen server would not take a ROLLBACK either.
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
        """One question. asyncpg's own limit would go on to wait for the cancellation, and does not hold within a COPY.

        A server that goes away in the middle of a COPY can leave asyncpg's state machine in it: never use it again.
        """
        with translated_errors(sql):
            try:
                async with asyncio.timeout(self._limit):
                    with _noticing_loss(self._connection):
                        yield
            except (TimeoutError, asyncpg.InternalClientError) as error:
                self._cut()
                if isinstance(error, TimeoutError):
                    raise TimeoutError(f"no answer for {self._limit:.0f} s") from None
                raise
            except asyncpg.InterfaceError as error:
                if _is_gone(self._connection):
                    raise Unavailable(_ENDED, "connection") from error
                raise
        self._answered()

    def _cut(self) -> None:
        self._is_cut = True
        with suppress(asyncpg.InterfaceError):  # it may be known to be gone
            self._connection.terminate()


class Database:
    """A pool of connections to one database, which need not be there yet.

    `answers` counts the statements that were answered: whether a write under way gets on. `statement_seconds` is the
    longest that one may take.
    """

    def __init__(self, settings: Postgres) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool[Any] | None = None
        self._limits = _limits_sql(settings)
        self.statement_seconds = settings.statement_timeout_s
        self._limit = settings.statement_timeout_s + CLIENT_GRACE_SECONDS
        self.answers = 0

    async def open(self) -> None:
        """Make the pool; it connects when first used."""
        settings = self._settings
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=settings.pool_size,
            max_inactive_connection_lifetime=60,
            reset=_nothing_to_reset,
            **connect_options(settings),
        )

    async def close(self, timeout: float) -> None:
        """Close every connection, the hard way after `timeout` seconds."""
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

        What is written relies on each statement seeing what was committed before it, whatever the role's default.

        What a session got when it began it has for ever: a primary that became a standby, a search path. After errors
        that may come of it, later transactions get new sessions.

        :param isolation: for readers that need one state of the database over several statements
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
            if self._pool is not None and (error.cause == "read_only" or isinstance(error, WrongDatabase)):
                await self._pool.expire_connections()
            raise

    async def _begin(self, ended: AsyncExitStack, isolation: Isolation) -> tuple[PoolConnectionProxy[Any], Any]:
        """A connection, and its transaction under our limits. One that was dropped while it lay idle is no outage: take
        another one.
        """
        assert self._pool is not None, "open() comes first"
        for others in range(self._settings.pool_size, -1, -1):
            with read_by_client():
                connection = await ended.enter_async_context(self._pool.acquire())
            transaction = connection.transaction(isolation=isolation)
            try:
                async with asyncio.timeout(self._limit):
                    with _noticing_loss(connection):
                        await transaction.start()
                        await connection.execute(self._limits)
            except BaseException as error:
                with suppress(asyncpg.InterfaceError):  # it may be known to be gone
                    connection.terminate()
                if not others or not isinstance(error, _DROPPED):
                    raise
            else:
                return connection, transaction
        raise AssertionError("the last try raises")

    def _count_answer(self) -> None:
        self.answers += 1


def _is_gone(connection: Any) -> bool:
    """The pool takes a connection back as soon as it is lost, and then not even this may be asked of it."""
    try:
        return bool(connection.is_closed()) or bool(connection._transport.is_closing())
    except asyncpg.InterfaceError:
        return True


@contextmanager
def _noticing_loss(connection: PoolConnectionProxy[Any]) -> Iterator[None]:
    """Under uvloop, sending on a connection that is gone is a RuntimeError until asyncpg hears of it."""
    try:
        yield
    except RuntimeError as error:
        if _is_gone(connection):
            raise ConnectionResetError("it was closed from the other side") from error
        raise


async def _nothing_to_reset(_connection: object) -> None:
    """Every setting and lock of ours ends with its transaction; asking the server to forget costs a round trip."""


def connect_options(settings: Postgres) -> dict[str, Any]:
    """What asyncpg needs to reach the database."""
    dsn = dsn_of(settings)
    options: dict[str, Any] = {
        "dsn": dsn,
        "timeout": settings.connect_timeout_s,
        "server_settings": {"application_name": APPLICATION_NAME},
        **tls_options(dsn),
    }
    if settings.pgbouncer:
        options["statement_cache_size"] = 0
    return options


def dsn_of(settings: Postgres) -> str:
    """The DSN as asyncpg reads it, which with authorities to trust asks for a verified server."""
    return settings.parsed.for_client()


def _limits_sql(settings: Postgres) -> str:
    """What our SQL relies on, and UTC, which now() writes in defaults."""
    limits = {
        "statement_timeout": settings.statement_timeout_s,
        "lock_timeout": settings.lock_timeout_s,
        "idle_in_transaction_session_timeout": _IDLE_SECONDS,
    }
    in_milliseconds = "; ".join(f"SET LOCAL {name} = {int(seconds * 1000)}" for name, seconds in limits.items())
    return f"{in_milliseconds}; SET LOCAL timezone = 'UTC'; {set_local(SETTINGS)}"


async def _messages(tuples: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Messages need not end where tuples do: large tuples are cut, so that the loop turns between two pieces."""
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


@contextmanager
def translated_errors(sql: str = "") -> Iterator[None]:
    """asyncpg's errors as ours.

    Never the DETAIL of a PostgreSQL error: it quotes the row, which is event text.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translate(_said_by_server(error), name_of(sql)) from None
    except UnreadableError as error:
        raise Unavailable(str(error), "connection") from None
    except ssl.SSLCertVerificationError as error:
        raise Unavailable(certificate_problem(error), "tls") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        if isinstance(error, ValueError):  # an argument that asyncpg cannot encode: ours to mend, no outage
            raise
        raise Unavailable(
            f"the connection to PostgreSQL failed: {str(error) or type(error).__name__}", "connection"
        ) from error


def _said_by_server(error: asyncpg.PostgresError) -> asyncpg.PostgresError:
    """What the server said before it ended the connection; asyncpg has it as the cause."""
    cause = error.__cause__
    is_lost = isinstance(error, asyncpg.PostgresConnectionError)
    return cause if is_lost and isinstance(cause, asyncpg.PostgresError) else error


def refusal(sqlstate: str, schema: str, table: str, column: str, constraint: str) -> Refused:
    """A refusal that a block in the server has caught: a row was in it, and without the row there was no error."""
    if sqlstate == SKIPPED and table:  # else somebody's trigger has raised it
        return skipped(table)
    error = asyncpg.PostgresError.new({"C": sqlstate, "s": schema, "t": table, "c": column, "n": constraint})
    return Refused(_describe(error, sqlstate, _places(error)), sqlstate, _constraint(error))


def skipped(table: str) -> Refused:
    """A row that was not inserted, although its id was not there before and nothing has raised an error."""
    return Refused(f"a trigger on {table} has left the row out, or changed its id ({SKIPPED})", SKIPPED)


def _translate(error: asyncpg.PostgresError, statement: str = "") -> StoreError:
    sqlstate, constraint = error.sqlstate or "XX000", _constraint(error)
    if sqlstate[:2] in _DATA_CLASSES:
        return Refused(_describe(error, sqlstate, _places(error)), sqlstate, constraint, statement)
    places = [*([f"statement {statement}"] if statement else []), *_places(error)]
    message, cause = _explain(error, sqlstate, places), _CAUSES.get(sqlstate) or _CAUSES.get(sqlstate[:2], "other")
    if _is_raised(error):
        return Objection(message, "refused", sqlstate, constraint)
    if _IS_OUTAGE.match(sqlstate):
        return Unavailable(message, cause)
    return Objection(message, "refused" if cause == "other" else cause, sqlstate, constraint)


def _is_raised(error: asyncpg.PostgresError) -> bool:
    """Whether somebody's PL/pgSQL has raised it, whose message may quote a row."""
    return getattr(error, "server_source_function", None) == _RAISE


def _constraint(error: asyncpg.PostgresError) -> tuple[str, str, str] | None:
    schema, table, name = (getattr(error, part, None) for part in ("schema_name", "table_name", "constraint_name"))
    return (schema, table, name) if schema and table and name else None


def _explain(error: asyncpg.PostgresError, sqlstate: str, places: Sequence[str]) -> str:
    """What is wrong and what to do about it, for whoever runs the service."""
    if _is_raised(error):
        return _describe(error, sqlstate, places)
    if sqlstate == _NOT_ALLOWED:
        return f"{getattr(error, 'message', '')} ({sqlstate}): `ragledger doctor` says what the role lacks"
    if sqlstate[:2] in _ABOUT_THE_SESSION:
        return f"{getattr(error, 'message', '')} ({sqlstate})"
    if sqlstate == _CANCELED:
        limit = "it took longer than RAGLEDGER_POSTGRES__STATEMENT_TIMEOUT_S allows, or somebody has cancelled it"
        return f"{_describe(error, sqlstate, places)}: {limit}"
    if sqlstate == _IDLE:
        return f"PostgreSQL ended the transaction, in which nothing was asked for {_IDLE_SECONDS:.0f} s ({sqlstate})"
    advice = "; is the schema current? Run `ragledger migrate up`" if sqlstate in _SCHEMA_MISSING else ""
    return f"{_describe(error, sqlstate, places)}{advice}"


def _describe(error: asyncpg.PostgresError, sqlstate: str, places: Sequence[str]) -> str:
    """What kind of error it is, and where; never its message, which may quote a value."""
    is_known = type(error) is not asyncpg.UnknownPostgresError
    name = type(error).__name__ if is_known else "an SQLSTATE that PostgreSQL itself raises no error with"
    return f"{name} ({sqlstate}){': ' + ', '.join(places) if places else ''}"


def _places(error: asyncpg.PostgresError) -> list[str]:
    """Which table, column or constraint."""
    return [
        f"{name.removesuffix('_name')} {value}"
        for name in ("table_name", "column_name", "constraint_name")
        if (value := getattr(error, name, None))
    ]
