"""One connection for an operator's job, with error messages for people.

    DatabaseError
    ├── ConnectError          no connection: address, credentials, TLS, an outage
    ├── ConnectionLostError   it ended in the middle of the work
    └── StatementError        the database refused a statement; carries its SQLSTATE

It works behind a pooler in transaction mode: it uses no session settings and no named prepared statements. Statements
with parameters run inside a transaction, because asyncpg prepares and executes in two round trips.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias

import asyncpg
from pydantic import SecretStr, ValidationError

from consumer.credentials.errors import CredentialsError
from consumer.postgres.client_files import UnreadableError
from consumer.postgres.login import Login, SessionRefusedError
from consumer.postgres.login import connect as connect_with
from consumer.postgres.session import SETTINGS, set_local
from consumer.postgres.tls import certificate_problem
from consumer.settings.servers import Postgres

CONNECT_TIMEOUT_S = 10.0
APPLICATION_NAME = "ragledger admin"

Target: TypeAlias = Login | str
"""A database: a login from the settings, or a DSN (a postgresql:// URL)."""


class DatabaseError(Exception):
    """An error of the connection to the database, or of a statement."""


class ConnectError(DatabaseError):
    """No connection could be made."""


class ConnectionLostError(DatabaseError):
    """The connection ended before the work was done. Changes that were not committed are undone."""


class StatementError(DatabaseError):
    """The database refused a statement.

    The message is the database's own without its DETAIL, which may quote a whole row.
    """

    def __init__(self, error: asyncpg.PostgresError) -> None:
        """Keep the parts of the driver's error that may be shown."""
        self.sqlstate: str = error.sqlstate or "XX000"
        self.message: str = getattr(error, "message", None) or str(error)
        self.hint: str | None = getattr(error, "hint", None)
        super().__init__(f"{self.message} (SQLSTATE {self.sqlstate})")


class AdminConnection:
    """A connection; made by :func:`connect`."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        """Wrap an open connection."""
        self._connection = connection
        self._warnings: list[str] = []
        self.settings = dict(SETTINGS)
        """The settings that each transaction sets."""
        connection.add_log_listener(self._on_message)

    def _on_message(self, _connection: object, message: asyncpg.PostgresLogMessage) -> None:
        """Keep a WARNING with its hint. Notices and debug messages are dropped."""
        if message.severity == "WARNING":
            hint = getattr(message, "hint", None)
            self._warnings.append(f"{message.message}. {hint}" if hint else str(message.message))

    def take_warnings(self) -> tuple[str, ...]:
        """The warnings of the database since the last call."""
        taken, self._warnings = tuple(self._warnings), []
        return taken

    async def execute(self, sql: str) -> None:
        """Run one statement without parameters. If a transaction is open, it runs in that.

        :raises StatementError: :raises ConnectionLostError:
        """
        with _translated():
            await self._connection.execute(sql)

    async def rows(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        """Run one statement with parameters and return its rows, column name to value.

        :raises StatementError: :raises ConnectionLostError:
        """
        async with self._savepoint_or_transaction():
            with _translated():
                return [dict(row) for row in await self._connection.fetch(sql, *parameters)]

    async def copy_out(
        self, select: str, write: Callable[[bytes], Coroutine[Any, Any, None]], *, quotes_values: bool = False
    ) -> None:
        """Pass the rows of a query to `write`, piece by piece, as CSV in UTF-8 with a header. NULL is an empty field.

        If `write` fails, the connection is closed: at the last piece the COPY has ended, and asyncpg would wait forever
        for the end of it.

        :param quotes_values: quote every value, not only where CSV needs it
        :raises StatementError: :raises ConnectionLostError:
        """
        try:
            with _translated():
                await self._connection.copy_from_query(
                    select, output=write, format="csv", header=True, encoding="utf8", force_quote=quotes_values or None
                )
        except DatabaseError:
            raise
        except BaseException:
            self._connection.terminate()
            raise

    async def copy_in(self, table: str, columns: Sequence[str], csv: AsyncIterable[bytes]) -> None:
        """Copy the output of :meth:`copy_out` into a table.

        :raises StatementError: :raises ConnectionLostError:
        """
        with _translated():
            await self._connection.copy_to_table(
                table, source=csv, columns=columns, format="csv", header=True, encoding="utf8"
            )

    @asynccontextmanager
    async def transaction(self, *, keep: bool = True) -> AsyncIterator[None]:
        """Open a transaction. At the end, commit it, or undo it if `keep` is False. An error also undoes it.

        It is READ COMMITTED, whatever the role's default is. So between two statements it holds no snapshot; a
        concurrent index build of another session would wait for a snapshot.

        :raises StatementError: :raises ConnectionLostError:
        """
        transaction = self._connection.transaction(isolation="read_committed")
        with _translated():
            await transaction.start()
        try:
            with _translated():
                await self._connection.execute(set_local(self.settings))
            yield
        except BaseException:
            await self._undo(transaction)
            raise
        if not keep:
            await self._undo(transaction)
            return
        with _translated():
            await transaction.commit()

    @asynccontextmanager
    async def _savepoint_or_transaction(self) -> AsyncIterator[None]:
        """The context of one statement: its own transaction, or a savepoint in the open one."""
        if not self._connection.is_in_transaction():
            async with self.transaction():
                yield
            return
        savepoint = self._connection.transaction()
        with _translated():
            await savepoint.start()
        try:
            yield
        except BaseException:
            await self._undo(savepoint)
            raise
        with _translated():
            await savepoint.commit()

    async def _undo(self, transaction: asyncpg.transaction.Transaction) -> None:
        if not self._connection.is_closed():  # a lost connection has undone it already
            with _translated():
                await transaction.rollback()


@asynccontextmanager
async def connect(target: Target) -> AsyncIterator[AdminConnection]:
    """Connect within `CONNECT_TIMEOUT_S` seconds.

    :raises ConnectError: the message names the address and the reason, never the password
    """
    login = target if isinstance(target, Login) else _login_of(target)
    try:
        connection = await connect_with(
            login,
            timeout=CONNECT_TIMEOUT_S,
            statement_cache_size=0,
            # Rows are copied to files and back as text, perhaps by a session that expects dates in another order.
            server_settings={"application_name": APPLICATION_NAME, "datestyle": "ISO"},
        )
    except TimeoutError as error:
        raise ConnectError(f"{login.address} did not answer within {CONNECT_TIMEOUT_S:.0f} s") from error
    except ssl.SSLCertVerificationError as error:
        problem = certificate_problem(error)
        raise ConnectError(f"cannot connect to {login.address}: {problem}") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise ConnectError(f"cannot connect to {login.address}: {error}") from error
    except (CredentialsError, UnreadableError, SessionRefusedError) as error:
        raise ConnectError(f"cannot connect to {login.address}: {error}") from None
    try:
        yield AdminConnection(connection)
    finally:
        # An error while closing does not matter. If the server does not answer, asyncpg cuts the connection.
        with suppress(TimeoutError, OSError, asyncpg.InterfaceError):
            await connection.close(timeout=CONNECT_TIMEOUT_S)


def _login_of(dsn: str) -> Login:
    """The login for a database that a caller has passed, instead of the one in the settings.

    :raises ConnectError: the DSN is wrong
    """
    try:
        return Login(Postgres(dsn=SecretStr(dsn)))
    except ValidationError as error:
        raise ConnectError(f"the DSN {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except asyncpg.PostgresConnectionError as error:
        raise ConnectionLostError(f"the connection to PostgreSQL was lost: {error}") from error
    except asyncpg.PostgresError as error:
        raise StatementError(error) from error
    except (asyncpg.InterfaceError, OSError) as error:
        raise ConnectionLostError(f"the connection to PostgreSQL was lost: {error}") from error
