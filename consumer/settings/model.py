"""The settings: variables ``RAGLEDGER_GROUP__NAME`` from the environment, an env file and a secrets directory.

Groups are frozen. Each part of the program gets its own group, never all settings.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from consumer.settings import dsn as dsns
from consumer.settings import logins
from consumer.settings.given import HIDDEN, is_file, is_readable, shown, shown_address, shown_path
from consumer.settings.sources import PREFIX, Layers, refuse_ignored, service_links, variables
from consumer.settings.sources import SettingsError as SettingsError
from consumer.text import printable

SHORTEST_KEY = 32
Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=1_000_000_000, allow_inf_nan=False)]
# PostgreSQL's limits are whole milliseconds in 32 bits, and 0 means no limit.
Limit = Annotated[float, Field(ge=0.001, le=2_147_483)]
TopicName = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$")]
_BROKER = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/,@\[\]]+)(:\d{1,5})?")


class Group(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    _given: frozenset[str] | None = PrivateAttr(None)
    """The variables of this group, to read them again; None if the group was not made from variables."""


AnyGroup = TypeVar("AnyGroup", bound=Group)


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
        return _existing(path)

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
        return _existing(path)


class Topics(Group):
    """Names of the topics, by kind of event."""

    dialogue: TopicName = "rag.dialogue"
    """Answered questions."""
    provenance: TopicName = "rag.provenance"
    """Acquired content."""
    feedback: TopicName = "rag.feedback"
    """Users' verdicts on earlier answers."""
    verification: TopicName = "rag.verification"
    """Checks of provenance."""
    plugin: TopicName = "rag.plugin"
    """Reports of content sources about themselves."""
    expired: TopicName = "rag.provenance.expired"
    """Notices about provenance whose retention is over. Retention writes this topic; ragledger never consumes it."""
    otlp_spans: TopicName | None = None
    """OpenTelemetry traces, as the Collector's Kafka exporter writes them (by default to otlp_spans); none if unset."""
    otlp_logs: TopicName | None = None
    """OpenTelemetry logs, for content that comes as log events (by default to otlp_logs); none if unset."""

    @property
    def named(self) -> Mapping[str, str]:
        """The topics in use, by purpose."""
        return {kind: name for kind, name in self.model_dump().items() if name is not None}

    @property
    def consumed(self) -> Sequence[str]:
        """The topics that records are read from."""
        return [name for kind, name in self.named.items() if kind != "expired"]

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        names = self.named
        taken = Counter(names.values())
        same = [f"{variable('topics', kind)}={name!r}" for kind, name in names.items() if taken[name] > 1]
        if same:
            raise ValueError(f"{' and '.join(same)}: each kind needs a topic of its own, as the topic decides the kind")
        return self


class Ids(Group):
    """Ids of users and sessions that are not UUIDs."""

    namespace: UUID | None = None
    """Namespace (a UUID) under which a string id becomes a UUID; if unset, string ids are refused. Never change it."""


class BatchSettings(Group):
    """Limits of a batch. At the first limit reached, the batch is written."""

    max_rows: Positive = 5_000
    """Largest number of records."""
    max_bytes: Positive = 16_777_216
    """Largest number of bytes in keys, values and headers. The record that reaches the limit may exceed it."""
    max_delay_ms: Positive = 200
    """Longest time since the batch's first record, in milliseconds."""
    max_record_bytes: Positive = 8_388_608
    """A record with a larger value becomes a dead letter."""


class DeadLetters(Group):
    """The limit on dead letters. Above it the fault is probably not in the records, so the partition stops."""

    max_ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """A partition stops if more than this share of its newest offsets became dead letters; no limit if unset."""
    window: Positive = 1_000
    """Number of newest offsets that the share is computed over."""
    min_count: Positive = 10
    """With fewer dead letters than this, a partition does not stop."""


class Http(Group):
    """The HTTP server: the page, the metrics and the health checks."""

    host: str = "0.0.0.0"  # noqa: S104 - Prometheus and the probes come from outside the container
    """Address to listen on."""
    port: Port = 9108
    """Port to listen on; 0 chooses a free port."""


class Rollup(Group):
    """The daily aggregates."""

    interval_s: Seconds = 60.0
    """Seconds between two checks for due days."""
    timezone: str = "UTC"
    """The business time zone, which decides where a day begins."""

    @field_validator("timezone")
    @classmethod
    def _exists(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("must be a time zone of the IANA database, such as UTC or Asia/Tokyo")
        return name


class Prices(Group):
    """The cost of answers."""

    file: Path | None = None
    """File of prices and rates (YAML); if unset, only costs that are stated in yen are known."""
    interval_s: Seconds = 60.0
    """Seconds between two checks for changes of the file and for costs to recompute."""

    @field_validator("file")
    @classmethod
    def _is_there(cls, path: Path | None) -> Path | None:
        return _existing(path)


class Plugins(Group):
    """The registry of content sources."""

    unhealthy_after_s: Seconds = 900.0
    """Seconds without a report after which a plugin in use is unhealthy."""


class Partitions(Group):
    """The monthly partitions of the dialogues, after `ragledger partition convert` has created them."""

    months_ahead: Annotated[int, Field(ge=1, le=24)] = 3
    """Number of months after the current one for which partitions are created."""
    interval_s: Seconds = 3600.0
    """Seconds between two checks for missing partitions."""
    archive_dir: Path = Path("archives")
    """Directory into which `ragledger partition archive` writes the files of months; files for an object store are made
    here.
    """


class Retention(Group):
    """The deletion of provenance whose retention is over, and of old dialogues and dead letters."""

    interval_s: Seconds | None = None
    """Seconds between two runs of retention by the service; no runs if unset."""
    batch_rows: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Largest number of rows that one transaction archives and deletes."""
    dialogues_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Full business days for which dialogues are kept; without limit if unset."""
    dead_letters_days: Annotated[int, Field(ge=1, le=36_500)] | None = None
    """Days for which dead letters are kept, open ones too; without limit if unset."""


class Erasure(Group):
    """Erasures of users."""

    key: SecretStr | None = None
    """Key of the hashes of erased users: at least 32 characters, the same for all replicas; the database's if unset."""
    previous_keys: SecretStr | None = None
    """Earlier keys, comma-separated. Users who were erased under them stay erased."""

    @property
    def secrets(self) -> Sequence[bytes]:
        """The key and the previous keys; empty if no key is set."""
        given = [self.key, self.previous_keys] if self.key else []
        texts = [text for secret in given if secret for text in secret.get_secret_value().split(",")]
        return [text.strip().encode() for text in texts]

    @model_validator(mode="after")
    def _keys_are_usable(self) -> Self:
        if self.previous_keys and not self.key:
            raise ValueError(
                f"{variable('erasure', 'previous_keys')} without {variable('erasure', 'key')}: set the key in use"
            )
        if any(len(secret) < SHORTEST_KEY for secret in self.secrets):
            raise ValueError(
                f"{variable('erasure', 'key')}: every key needs {SHORTEST_KEY} characters at least, such as from"
                " `openssl rand -hex 32`"
            )
        if self.key and "," in self.key.get_secret_value():
            raise ValueError(
                f"{variable('erasure', 'key')}: is one key, without a comma; previous keys belong into"
                f" {variable('erasure', 'previous_keys')}"
            )
        return self


class Otlp(Group):
    """Dialogues from OpenTelemetry traces."""

    quiet_s: Annotated[float, Field(ge=0, le=86_400)] = 10.0
    """Seconds without a new span after which a trace is folded without its root span."""
    keep_h: Annotated[float, Field(gt=0, le=8_760)] = 24.0
    """Hours for which the spans of a trace are kept. Spans that arrive later have no effect."""
    retrieved_is_cited: bool = True
    """Whether the retrieved documents count as citations of the answer."""


class Slo(Group):
    """The objectives."""

    file: Path | None = None
    """File of objectives (YAML); the built-in objectives if unset."""


class Shutdown(Group):
    """The shutdown of the service."""

    timeout_s: Seconds = 30.0
    """Seconds within which the service writes all batches and leaves the group."""


class Watchdog(Group):
    """The watchdog. It ends a process that makes no progress, with exit code 4, so that a supervisor restarts it."""

    stall_s: Seconds = 120.0
    """Seconds without progress, although records wait and both servers answer, after which the process ends."""
    blocked_s: Seconds = 30.0
    """Seconds of a blocked event loop after which the process ends."""


class Log(Group):
    """The log on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The lowest level that is logged."""
    format: Literal["auto", "console", "json"] = "auto"
    """console for people, json for machines; auto is console on a terminal and json elsewhere."""


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_parse_none_str="", frozen=True, extra="forbid"
    )

    kafka: Kafka = Kafka()
    postgres: Postgres = Postgres()
    topics: Topics = Topics()
    ids: Ids = Ids()
    batch: BatchSettings = BatchSettings()
    dead_letters: DeadLetters = DeadLetters()
    http: Http = Http()
    rollup: Rollup = Rollup()
    prices: Prices = Prices()
    plugins: Plugins = Plugins()
    partitions: Partitions = Partitions()
    retention: Retention = Retention()
    erasure: Erasure = Erasure()
    otlp: Otlp = Otlp()
    slo: Slo = Slo()
    shutdown: Shutdown = Shutdown()
    watchdog: Watchdog = Watchdog()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use our own source, which rejects misspelt names in every layer."""
        return init_settings, Layers(settings_cls)


def load() -> Settings:
    """Load the settings of this process.

    :raises SettingsError: a setting is wrong or unknown
    """
    given = variables()
    refuse_ignored()
    _refuse_unknown(given)
    try:
        loaded = Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(problem) for problem in error.errors())) from None
    # Copies, because a group without variables is the default object, which all settings share.
    return loaded.model_copy(update={name: _remembering(name, group, given) for name, group in loaded})


def _remembering(name: str, group: Group, given: Collection[str]) -> Group:
    copy = group.model_copy()
    copy._given = frozenset(one for one in given if one.startswith(variable(name, "")))
    return copy


def reread(name: str, group: AnyGroup) -> AnyGroup:
    """Read a group again, because the files of secrets may have changed. A group not made from variables is unchanged.

    :param name: the name of the group in the settings
    :raises SettingsError: a setting is wrong now, or a secret of the start is missing
    """
    if group._given is None:
        return group
    prefix = variable(name, "")
    now = {one: value for one, value in variables().items() if one.startswith(prefix)}
    # Without this check, a file that is just being replaced would mean the default, which is another database.
    secrets = {variable(name, one) for one, field in type(group).model_fields.items() if _is_secret(field)}
    if gone := sorted(group._given & secrets - now.keys()):
        raise SettingsError(f"{gone[0]}: was set when the process started, and is now missing")
    members = {one.removeprefix(prefix).lower(): value or None for one, value in now.items()}
    # An unknown name is an error at the start only. Later it may be a backup copy of an editor.
    known = {one: value for one, value in members.items() if one in type(group).model_fields}
    try:
        found = type(group).model_validate(known)
    except ValidationError as error:
        problems = [{**problem, "loc": (name, *problem["loc"])} for problem in error.errors()]
        raise SettingsError("\n".join(map(_explain, problems))) from None
    found._given = group._given
    return found


def ignored(settings: Settings) -> Sequence[str]:
    """Return one sentence for each kind of variables and parameters that were set but have no effect."""
    links, parameters = service_links(), settings.postgres.parsed.ignored
    sentences = [
        f"{len(links)} variables that Kubernetes sets for services named like ragledger: {', '.join(links)}",
        f"parameters of {variable('postgres', 'dsn')} that are meant for other clients: {', '.join(parameters)}",
    ]
    return [sentence for sentence, names in zip(sentences, (links, parameters), strict=True) if names]


def owner_name() -> str:
    """Return the name of this process in the ledger: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def user_name() -> str:
    """Return the user and the host of this process, for audit records."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user needs no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def variable(*path: str | int) -> str:
    """Return the environment variable of a setting: ("kafka", "group_id") becomes RAGLEDGER_KAFKA__GROUP_ID."""
    return PREFIX + "__".join(str(step).upper() for step in path)


def known_variables() -> dict[str, Any]:
    """Return the environment variable and the field of every setting."""
    return {
        variable(group, name): field
        for group, group_field in Settings.model_fields.items()
        for name, field in group_field.annotation.model_fields.items()  # type: ignore[union-attr]
    }


def _is_secret(field: Any) -> bool:
    return "SecretStr" in str(field.annotation)


def _existing(path: Path | None) -> Path | None:
    if path is not None and not is_file(path):
        raise ValueError("there is no such file")
    if path is not None and not is_readable(path):
        raise ValueError("the user of this process may not read that file")
    return path


def _refuse_unknown(names: Collection[str]) -> None:
    known = known_variables()
    unknown = sorted(name for name in names if name not in known)
    if unknown:
        raise SettingsError("\n".join(_unknown(name, known) for name in unknown))


def _unknown(name: str, known: Collection[str]) -> str:
    close = [one for one in known if _squeezed(one) == _squeezed(name)] or get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]}?)" if close else "; `ragledger config show` lists them all"
    return f"{printable(name)}: there is no such setting{hint}"


def _squeezed(name: str) -> str:
    return name.replace("_", "")


def _explain(problem: Any) -> str:
    text: str = problem["msg"].removeprefix("Value error, ")
    parsing = problem.get("ctx", {}).get("error")
    if isinstance(parsing, str):  # the words of a parser, which quote characters of the value
        text = text.removesuffix(f", {parsing}")
    if text.startswith(PREFIX):  # the message names its settings
        return text
    sentence = text if text[:2].isupper() else text[:1].lower() + text[1:]
    return f"{variable(*problem['loc'])}{_value(problem)}: {sentence}"


def _value(problem: Any) -> str:
    """Return "=" and the value of the setting; nothing for a group, because it may contain a secret."""
    name = variable(*problem["loc"])
    field = known_variables().get(name)
    if field is None:
        return ""
    given = problem.get("input")
    if _is_secret(field):
        return f"={HIDDEN}"
    if given is None:
        return "="
    if "Path" in str(field.annotation):
        return f"={shown_path(given)}"
    return f"={shown_address(given) if field.annotation is str else shown(given)}"
