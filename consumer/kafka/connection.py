"""aiokafka's connections, with five of its behaviours corrected in one place, for every client of this process.

A reset under uvloop. A peer's reset closes uvloop's transport at once, and aiokafka hears of it some turns of the loop
later. Sending in between is a RuntimeError under uvloop, where asyncio's own loop would drop the bytes. aiokafka
expects OSError alone: any other error ends its task that fetches, beats or asks for metadata, in silence and for good.

Topics that nobody asked for. aiokafka's metadata requests allow the broker to create the topics they name, and none of
its clients has a setting against it. A broker with `auto.create.topics.enable`, which is Kafka's default, would create
every topic of the settings. A topic is created by a CreateTopics request of ours or not at all.

Refused log-ins. aiokafka logs why a broker did not let it in, and raises only that no broker can be reached. The reason
is kept here, so that a wrong password is not reported as an outage.

Credentials that change. A client's user, password and TLS context are fixed when it is made. Each connection asks for
them when it connects.

Refused tokens. A broker answers a token that it does not accept with a challenge, and says why after one more message
(RFC 7628, section 3.2.3). aiokafka takes the challenge for success.
"""

from __future__ import annotations

import ssl
from typing import Any

from aiokafka import conn
from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from consumer.credentials.errors import CredentialsError
from consumer.kafka.credentials import KafkaCredentials
from consumer.settings.logins import OAUTHBEARER

_HEARD = b"\x01"


class NoCredentials(KafkaError):  # type: ignore[misc]
    """There is nothing to log in with."""


class Connection(AIOKafkaConnection):  # type: ignore[misc]
    """A connection that is broken once its transport is closed, and creates no topics."""

    refusal: str = ""
    """Why the newest connection of this process was refused, or not even tried; empty if it was not refused."""

    async def connect(self) -> Any:
        """Connect and log in.

        :raises KafkaError: the broker refuses us, or there is nothing to log in with
        :raises OSError: it cannot be reached
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
        """Take the credentials of this moment. A token is obtained here, so that the broker need not wait for it."""
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
        """Send the token, and hear why it is refused."""
        return _TokenAuthenticator(sasl_oauth_token_provider=self._sasl_oauth_token_provider)

    def send(self, request: Any, expect_response: bool = True) -> Any:
        """Send a request; what can be awaited for its answer.

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
        except CredentialsError as error:  # it has expired meanwhile
            raise NoCredentials(str(error)) from None
        return first


def is_refused() -> bool:
    """Whether the newest connection of this process was refused, or had nothing to log in with."""
    return bool(Connection.refusal)


def described(error: BaseException) -> str:
    """What has gone wrong with Kafka, with the reason why a broker has refused us, if one has."""
    return Connection.refusal or str(error) or type(error).__name__


def patch_connections() -> None:
    """Have every client of this process make such connections; aiokafka has no setting for their class."""
    conn.AIOKafkaConnection = Connection
