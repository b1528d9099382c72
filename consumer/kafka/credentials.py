"""Provides each new connection to Kafka with the current secrets, files and tokens.

An aiokafka client reads user, password and TLS context once, when it is created. Our connections ask this module each
time they connect, see :mod:`consumer.kafka.client_patches`.
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
from consumer.settings.loading import reread
from consumer.settings.logins import extensions_of
from consumer.settings.servers import Kafka, SecurityProtocol
from consumer.settings.sources import SettingsError, variable

_COMMAND, _URL = variable("kafka", "sasl_oauth_token_command"), variable("kafka", "sasl_oauth_token_url")
_FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")

_Seen = tuple[tuple[Path, int, int, int] | None, ...]


class KafkaCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """The credentials of these settings. Every client has them as its token provider, whatever its SASL mechanism."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        self._token = TokenSource(self._obtain, settings.sasl_oauth_token_ttl_s)
        self._context: ssl.SSLContext | None = None
        self._seen: _Seen = ()

    def now(self) -> Kafka:
        """Read the settings again.

        :raises CredentialsError: they are wrong or missing
        """
        try:
            return reread("kafka", self._settings)
        except SettingsError as error:
            raise CredentialsError(str(error)) from None

    def tls(self, now: Kafka) -> ssl.SSLContext | None:
        """Return the TLS context, loaded again if a file has changed; None without TLS.

        :raises CredentialsError: a file cannot be read, or certificate and key do not match
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
        """Return a token for OAUTHBEARER.

        :raises CredentialsError: none can be obtained now
        """
        return await self._token.token()

    def extensions(self) -> Mapping[str, str]:
        """Return the SASL extensions that are sent with a token."""
        return extensions_of(self._settings.sasl_oauth_extensions)

    def rejected(self) -> None:
        """A broker has refused these credentials."""
        self._token.rejected()

    async def _obtain(self) -> tuple[str, float | None]:
        now = self.now()
        if now.sasl_oauth_token_command:
            return await printed_by(now.sasl_oauth_token_command, _COMMAND), None
        secret = now.sasl_oauth_client_secret
        if not (now.sasl_oauth_token_url and now.sasl_oauth_client_id and secret):
            raise CredentialsError(f"{_URL}: is no longer set")
        client = oidc.Client(
            now.sasl_oauth_token_url, now.sasl_oauth_client_id, secret.get_secret_value(), now.sasl_oauth_scope
        )
        return await oidc.token_for(client, _URL)


@lru_cache(maxsize=16)
def credentials_for(settings: Kafka) -> KafkaCredentials:
    """Return the credentials of these settings. All clients of the process get the same object, and share one token."""
    return KafkaCredentials(settings)


def _stamp(path: Path | None) -> tuple[Path, int, int, int] | None:
    if path is None:
        return None
    found = os.stat(path)  # noqa: PTH116 - follows links, such as those of Kubernetes
    return path, found.st_ino, found.st_mtime_ns, found.st_size


def _no_password() -> str:
    """Return no password for an encrypted key; without this function OpenSSL would ask on the terminal."""
    return ""
