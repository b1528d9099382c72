"""What each new connection to Kafka logs in with: the secrets, files and tokens of that moment.

aiokafka takes user, password and TLS context once, for all connections that a client will ever make. So our connections
ask here when they connect, see :mod:`consumer.kafka.connection`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from aiokafka.abc import AbstractTokenProvider
from aiokafka.helpers import create_ssl_context

from consumer.credentials import oidc
from consumer.credentials.errors import CredentialsError
from consumer.credentials.programs import printed_by
from consumer.credentials.tokens import TokenSource
from consumer.settings.logins import extensions_of
from consumer.settings.model import Kafka, SecurityProtocol, SettingsError, reread, variable

_COMMAND, _URL = variable("kafka", "sasl_oauth_token_command"), variable("kafka", "sasl_oauth_token_url")
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")

_Seen = tuple[tuple[Path, int, int, int] | None, ...]


class KafkaCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """The credentials of these settings; a client carries them as its provider of tokens, whatever its mechanism."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._token = TokenSource(self._obtain, settings.sasl_oauth_token_ttl_s)
        self._context: ssl.SSLContext | None = None
        self._seen: _Seen = ()

    def now(self) -> Kafka:
        """The settings as they are now.

        :raises CredentialsError: they are wrong, or gone
        """
        try:
            return reread("kafka", self._settings)
        except SettingsError as error:
            raise CredentialsError(str(error)) from None

    def tls(self, now: Kafka) -> ssl.SSLContext | None:
        """The TLS context, made again if a file has changed; None without TLS.

        :raises CredentialsError: a file cannot be read, or they do not belong together
        """
        if now.security_protocol not in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL):
            return None
        try:
            seen = tuple(map(_stamp, (now.ssl_cafile, now.ssl_certfile, now.ssl_keyfile)))
            if self._context is None or seen != self._seen:
                self._context = create_ssl_context(
                    cafile=now.ssl_cafile, certfile=now.ssl_certfile, keyfile=now.ssl_keyfile, password=_no_password
                )
                self._seen = seen
        except OSError as error:
            names = ", ".join(variable("kafka", name) for name in _FILES)
            raise CredentialsError(f"{names}: {error}") from None
        return self._context

    async def token(self) -> str:
        """A token for OAUTHBEARER.

        :raises CredentialsError: there is none now
        """
        return await self._token.token()

    def extensions(self) -> Mapping[str, str]:
        """What is sent with a token."""
        return extensions_of(self._settings.sasl_oauth_extensions)

    def rejected(self) -> None:
        """A broker has not let us in with these."""
        self._token.rejected()

    async def _obtain(self) -> tuple[str, float | None]:
        now = self.now()
        if now.sasl_oauth_token_command:
            return await printed_by(now.sasl_oauth_token_command, _COMMAND), None
        secret = now.sasl_oauth_client_secret
        if not (now.sasl_oauth_token_url and now.sasl_oauth_client_id and secret):
            raise CredentialsError(f"{_URL}: is not set any more")
        client = oidc.Client(
            now.sasl_oauth_token_url, now.sasl_oauth_client_id, secret.get_secret_value(), now.sasl_oauth_scope
        )
        return await oidc.token_for(client, _URL)


@lru_cache(maxsize=16)
def credentials_for(settings: Kafka) -> KafkaCredentials:
    """The credentials of these settings, the same for all clients of the process: they share one token."""
    return KafkaCredentials(settings)


def _stamp(path: Path | None) -> tuple[Path, int, int, int] | None:
    if path is None:
        return None
    found = os.stat(path)  # noqa: PTH116 - follows links, such as those of Kubernetes
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _no_password() -> str:
    """For an encrypted key: without this OpenSSL would ask a person, on the terminal."""
    return ""
