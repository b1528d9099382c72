"""Corrects behaviours of aiokafka that no setting changes, for every client of this process.

Each entry names the upstream issue. Check all of them again when aiokafka is upgraded; a test compares the version.

resets under uvloop   https://github.com/aio-libs/aiokafka/issues/1038
    When the peer resets a connection, uvloop closes the transport immediately, and aiokafka learns of it some
    iterations of the event loop later. A send in between raises RuntimeError under uvloop; asyncio's own loop would
    drop the bytes. aiokafka expects only OSError. Any other error ends its task for fetches, heartbeats or
    metadata. The task logs nothing, and nothing restarts it.
bad records           https://github.com/aio-libs/aiokafka/issues/321
    A record that cannot be unpacked raises again at each attempt, and a seek to the next offset reads the same
    batch. :mod:`consumer.kafka.unpacking` keeps every record that can be read. It also returns well compressed
    records in parts, because unpacking blocks the event loop.
unwanted topics       not reported
    aiokafka's metadata requests allow the broker to create the topics that they name. A broker with
    `auto.create.topics.enable`, which is Kafka's default, would create every topic of the settings. Only our own
    CreateTopics requests may create topics.
refused logins        not reported
    aiokafka logs why a broker refused the login, but its exception only says that no broker can be reached. The reason
    is kept here, so that a wrong password is not reported as an outage.
changing credentials  not reported
    A client's user, password and TLS context are fixed when the client is created. These connections ask for them
    each time they connect.
refused tokens        not reported
    A broker answers an invalid token with a challenge, and gives the reason after one more message (RFC 7628,
    section 3.2.3). aiokafka takes the challenge for success.
"""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from consumer.credentials.errors import CredentialsError
from consumer.kafka.credentials import KafkaCredentials
from consumer.kafka.unpacking import Batches, FetchResult, PartitionUnpacker
from consumer.settings.logins import OAUTHBEARER

CHECKED_VERSION = "0.14.0"
"""The version of aiokafka for which the entries above were checked."""

_HEARD = b"\x01"


class NoCredentials(KafkaError):  # type: ignore[misc]
    """There are no credentials to log in with."""


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that counts as broken as soon as its transport is closed, and never creates topics."""

    refusal: str = ""
    """Why the newest connection of this process was refused or not attempted; empty if it was not refused."""

    async def connect(self) -> Any:
        """Connect and log in.

        :raises KafkaError: the broker refuses the login, or there are no credentials
        :raises OSError: the broker cannot be reached
        """
        try:
            await self._equip()
            streams = await super().connect()
        except Exception as error:
            Connection.refusal = self._refusal_of(error)
            raise
        Connection.refusal = ""
        return streams

    async def _equip(self) -> None:
        """Set the current credentials. The token is obtained first, so that the broker does not wait for it."""
        credentials = self._sasl_oauth_token_provider
        if not isinstance(credentials, KafkaCredentials):
            return
        try:
            now = credentials.now()
            self._ssl_context = credentials.tls(now)
            self._sasl_plain_username = now.sasl_username
            self._sasl_plain_password = now.sasl_password.get_secret_value() if now.sasl_password else None
            if self._sasl_mechanism == OAUTHBEARER and "SASL" in self._security_protocol:
                await credentials.token()
        except CredentialsError as error:
            raise NoCredentials(str(error)) from None

    def _refusal_of(self, error: BaseException | None) -> str:
        if isinstance(error, NoCredentials):
            return str(error.args[0])
        if isinstance(error, KafkaConnectionError):  # over TLS 1.3 a certificate is refused after the handshake
            return self._refusal_of(error.__cause__) if isinstance(error.__cause__, ssl.SSLError) else ""
        if not isinstance(error, KafkaError | ssl.SSLError):
            return ""
        if isinstance(self._sasl_oauth_token_provider, KafkaCredentials):
            self._sasl_oauth_token_provider.rejected()
        return f"{self.host}:{self.port} refuses the connection: {error}"

    def authenticator_oauth(self) -> Any:
        """Return an authenticator that sends the token and receives the reason if it is refused."""
        return _TokenAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request, and return an awaitable of its response.

        :raises KafkaConnectionError: the connection is gone
        """
        if isinstance(request, MetadataRequest):
            request = MetadataRequest(request._topics, allow_auto_topic_creation=False)
        try:
            return super().send(request, expect_response)
        except RuntimeError as error:
            if not self._writer.is_closing():
                raise
            self.close(CloseReason.CONNECTION_BROKEN, error)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


class _TokenAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        if self._token_sent:
            return (_HEARD, True) if payload else None
        try:
            first: tuple[bytes, bool] = await super().step(payload)
        except CredentialsError as error:  # the token has expired since it was obtained
            raise NoCredentials(str(error)) from None
        return first


def is_refused() -> bool:
    """Whether the newest connection of this process was refused, or had no credentials."""
    return bool(Connection.refusal)


def described(error: BaseException) -> str:
    """Return why a broker refused the last login; if none did, the text of the error."""
    return Connection.refusal or str(error) or type(error).__name__


def patch_clients() -> None:
    """Make aiokafka use these classes. The import of the package does so, before any client is created."""
    conn.AIOKafkaConnection = Connection
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionUnpacker
    fetcher.FetchResult = FetchResult
