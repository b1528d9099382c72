"""Logs each new connection to PostgreSQL in with the current secrets, files and tokens."""

from __future__ import annotations

from typing import Any

import asyncpg

from consumer.credentials.errors import CredentialsError
from consumer.credentials.programs import printed_by
from consumer.credentials.tokens import TokenSource
from consumer.postgres.client_files import read_by_client
from consumer.postgres.tls import tls_options
from consumer.settings import dsn as dsns
from consumer.settings.loading import reread
from consumer.settings.servers import Postgres
from consumer.settings.sources import SettingsError, variable

DSN, COMMAND = variable("postgres", "dsn"), variable("postgres", "password_command")
# Connections, authentication, resources, shutdown.
_EXPLAINED_ELSEWHERE = frozenset({"08", "28", "53", "57"})
_ADVICE = {
    "3D000": f"create it, or correct {DSN}",
    "22023": f"correct the options in {DSN}",
    "42704": f"correct the options in {DSN}",
}


class SessionRefusedError(Exception):
    """The server refuses a session: there is no such database or setting, or a login trigger of the owner's raises.

    No statement has caused this, so it must not be taken for the refusal of a row.
    """


class Login:
    """The address and the credentials of one database. The address is fixed at the start; user, password and TLS files
    may change.
    """

    def __init__(self, settings: Postgres) -> None:
        self._settings = settings
        self._password = TokenSource(self._print_password, settings.password_ttl_s)

    @property
    def address(self) -> str:
        """Host, port and database, without user, password and options."""
        return self._settings.parsed.address

    async def options(self) -> dict[str, Any]:
        """The arguments that asyncpg needs besides the limits: `dsn`, and also `password` and `ssl` if the DSN does not
        contain them.

        :raises CredentialsError: a secret cannot be read, or a program prints no password
        """
        dsn = self._dsn()
        options = {"dsn": dsn.for_client(), **tls_options(dsn)}
        if self._settings.password_command:
            options["password"] = await self._password.token()
        return options

    def rejected(self) -> None:
        """The server has refused these credentials."""
        self._password.rejected()

    def _dsn(self) -> dsns.Dsn:
        return self._settings.parsed.with_login_of(self._now().parsed)

    def _now(self) -> Postgres:
        try:
            return reread("postgres", self._settings)
        except SettingsError as error:
            raise CredentialsError(str(error)) from None

    async def _print_password(self) -> tuple[str, float | None]:
        return await printed_by(self._now().password_command or "", COMMAND), None


async def connect(login: Login, **limits: Any) -> asyncpg.Connection[asyncpg.Record]:
    """Connect.

    :param limits: the other arguments of asyncpg
    :raises CredentialsError: there are no credentials
    :raises UnreadableError: a file that asyncpg reads itself cannot be read
    :raises SessionRefusedError: the server refuses the session, and it is neither an outage nor the login
    """
    options = await login.options()
    try:
        with read_by_client():
            connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(**{**limits, **options})
    except asyncpg.InvalidAuthorizationSpecificationError:
        login.rejected()
        raise
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "")[:2] in _EXPLAINED_ELSEWHERE:
            raise
        raise SessionRefusedError(_refusal(error)) from None
    return connection


def _refusal(error: asyncpg.PostgresError) -> str:
    """Why there is no session, in the server's words. A value of the DSN's options is not quoted."""
    sqlstate = error.sqlstate or "XX000"
    words = type(error).__name__ if sqlstate.startswith("22") else getattr(error, "message", "")
    advice = _ADVICE.get(sqlstate)
    return f"PostgreSQL refuses the connection: {words} ({sqlstate}){f': {advice}' if advice else ''}"
