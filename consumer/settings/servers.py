"""The settings of the two servers: Kafka and PostgreSQL."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from consumer.settings import dsn as dsns
from consumer.settings import logins
from consumer.settings.group import Group, Limit, Positive, Seconds, existing
from consumer.settings.sources import variable

_BROKER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/,@\[\]]+)(:\d{1,5})?")


class SecurityProtocol(StrEnum):
    """Security protocols of Kafka."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class Kafka(Group):
    """The Kafka cluster that records are read from."""

    bootstrap_servers: str = "localhost:9092"
    """Brokers for the first connection: host:port, comma-separated."""
    group_id: Annotated[str, Field(min_length=1)] = "ragledger"
    """Name of the consumer group, in Kafka and in the ledger."""
    security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """Security protocol of the brokers."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    """SASL mechanism. OAUTHBEARER needs a token command, or a token URL with a client id and a client secret."""
    sasl_username: str | None = None
    """SASL user."""
    sasl_password: SecretStr | None = None
    """SASL password."""
    sasl_oauth_token_command: str | None = None
    """Program that prints a token for OAUTHBEARER, with its arguments. No shell runs it."""
    sasl_oauth_token_url: str | None = None
    """Token endpoint of an OpenID provider (https), for OAUTHBEARER with client credentials."""
    sasl_oauth_client_id: str | None = None
    """Client id at the token endpoint."""
    sasl_oauth_client_secret: SecretStr | None = None
    """Client secret at the token endpoint."""
    sasl_oauth_scope: str | None = None
    """Scope to ask the token endpoint for."""
    sasl_oauth_extensions: str | None = None
    """SASL extensions to send with a token: name=value, comma-separated."""
    sasl_oauth_token_ttl_s: Seconds = 300.0
    """Seconds for which a token without an expiry is used."""
    ssl_cafile: Path | None = None
    """File of certificate authorities to trust (PEM); the system's if unset."""
    ssl_certfile: Path | None = None
    """File of our client certificate (PEM), if the brokers require one."""
    ssl_keyfile: Path | None = None
    """File of the key of our client certificate (PEM)."""
    start_from: Literal["earliest", "latest"] = "earliest"
    """First position in a partition that the ledger does not know yet."""
    session_timeout_ms: Annotated[int, Field(ge=1000)] = 8_000
    """Without a heartbeat for this long, the replica loses its partitions. Most of the delay after a kill is this."""
    max_poll_interval_ms: Annotated[int, Field(ge=1000)] = 300_000
    """Without a poll for this long, the replica loses its partitions too."""
    rebalance_timeout_ms: Annotated[int, Field(ge=1000)] = 60_000
    """Time for which the group waits in a rebalance until this replica gives up its partitions."""
    metadata_max_age_ms: Annotated[int, Field(ge=100)] = 15_000
    """Longest time until the replica notices a new topic or partition."""
    fetch_max_bytes: Positive = 16_777_216
    """Largest number of bytes that one fetch returns."""
    client_rack: str | None = None
    """Rack of this replica, to fetch from a broker nearby (KIP-392)."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: str) -> str:
        if not all(_BROKER.fullmatch(server.strip()) for server in servers.split(",")):
            raise ValueError("must be host:port, comma-separated, each port a number")
        return servers

    @field_validator("ssl_cafile", "ssl_certfile", "ssl_keyfile")
    @classmethod
    def _is_there(cls, path: Path | None) -> Path | None:
        return existing(path)

    @field_validator("sasl_oauth_token_command")
    @classmethod
    def _is_command(cls, command: str | None) -> str | None:
        return logins.checked_command(command)

    @field_validator("sasl_oauth_token_url")
    @classmethod
    def _is_endpoint(cls, url: str | None) -> str | None:
        return logins.checked_endpoint(url)

    @field_validator("sasl_oauth_extensions")
    @classmethod
    def _are_extensions(cls, extensions: str | None) -> str | None:
        logins.extensions_of(extensions)
        return extensions

    @model_validator(mode="after")
    def _sasl_needs_credentials(self) -> Self:
        if "SASL" not in self.security_protocol:
            return self
        protocol = f"{variable('kafka', 'security_protocol')}={self.security_protocol.value!r}"
        if self.sasl_mechanism == logins.OAUTHBEARER:
            self._token_needs_a_source(f"{variable('kafka', 'sasl_mechanism')}='{logins.OAUTHBEARER}'")
        elif not (self.sasl_username and self.sasl_password):
            needed = f"{variable('kafka', 'sasl_username')} and {variable('kafka', 'sasl_password')}"
            raise ValueError(f"{protocol}: needs both {needed}")
        return self

    def _token_needs_a_source(self, mechanism: str) -> None:
        command, url = variable("kafka", "sasl_oauth_token_command"), variable("kafka", "sasl_oauth_token_url")
        if bool(self.sasl_oauth_token_command) == bool(self.sasl_oauth_token_url):
            raise ValueError(f"{mechanism}: needs either {command} or {url}, not both")
        if self.sasl_oauth_token_url and not (self.sasl_oauth_client_id and self.sasl_oauth_client_secret):
            client, secret = variable("kafka", "sasl_oauth_client_id"), variable("kafka", "sasl_oauth_client_secret")
            raise ValueError(f"{url}: needs both {client} and {secret}")


class Postgres(Group):
    """The PostgreSQL database that rows are written to."""

    dsn: SecretStr = SecretStr("postgresql://localhost/ragledger")
    """postgresql://user:password@host:port/database?sslmode=…"""
    password_command: str | None = None
    """Program that prints the password, such as a token, with its arguments. No shell runs it."""
    password_ttl_s: Seconds = 300.0
    """Seconds for which a printed password without an expiry is used."""
    pool_size: Annotated[int, Field(ge=3, le=100)] = 5
    """Largest number of connections: two write, the others claim, roll up and answer health checks."""
    ssl_root_cert: Path | None = None
    """File of certificate authorities to trust (PEM). If set, the server's certificate and name are verified."""
    pgbouncer: bool = False
    """Whether connections go through a pooler in transaction mode. If so, no prepared statements are kept."""
    connect_timeout_s: Seconds = 10.0
    """Time limit for a new connection, in seconds."""
    statement_timeout_s: Limit = 60.0
    """Time limit for one statement of a write, in seconds. It also ends the COPY of a frozen replica."""
    lock_timeout_s: Limit = 10.0
    """Time limit for a lock, in seconds, such as the lock of a ledger row that another replica is moving."""

    @property
    def parsed(self) -> dsns.Dsn:
        """The parsed DSN, with the authorities of `ssl_root_cert`."""
        parsed = dsns.parse(self.dsn.get_secret_value())
        if self.ssl_root_cert is None:
            return parsed
        return parsed.with_parameters(sslmode="verify-full", sslrootcert=str(self.ssl_root_cert))

    @model_validator(mode="before")
    @classmethod
    def _heed_pooler(cls, given: Any) -> Any:
        """Set `pgbouncer` if the DSN is made for a pooler and the setting is absent."""
        dsn = given.get("dsn") if isinstance(given, dict) else None
        text = dsn.get_secret_value() if isinstance(dsn, SecretStr) else dsn
        if not isinstance(text, str) or "pgbouncer" in given or any(dsns.problems_of(text)):
            return given
        return {**given, "pgbouncer": True} if dsns.parse(text).is_pooled else given

    @field_validator("dsn")
    @classmethod
    def _is_postgres(cls, dsn: SecretStr) -> SecretStr:
        problems = list(dsns.problems_of(dsn.get_secret_value()))
        if problems:
            raise ValueError("; ".join(problems))
        return dsn

    @field_validator("password_command")
    @classmethod
    def _is_command(cls, command: str | None) -> str | None:
        return logins.checked_command(command)

    @model_validator(mode="after")
    def _password_has_one_source(self) -> Self:
        if self.password_command and self.parsed.has_password:
            raise ValueError(
                f"{variable('postgres', 'dsn')}=(hidden): has a password, and"
                f" {variable('postgres', 'password_command')} prints one: leave out one of them"
            )
        return self

    @model_validator(mode="after")
    def _authorities_are_known(self) -> Self:
        if dsns.lacks_authorities(self.parsed):
            raise ValueError(
                f"{variable('postgres', 'dsn')}=(hidden): has an sslmode that verifies the server, but no authorities"
                " are set: add sslrootcert=system for those of the operating system, or sslrootcert= with a file (PEM)"
            )
        return self

    @field_validator("ssl_root_cert")
    @classmethod
    def _is_there(cls, path: Path | None) -> Path | None:
        return existing(path)
