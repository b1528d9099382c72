"""The settings, their defaults and what is allowed. :mod:`consumer.settings.loading` reads them.

Groups are frozen. Each part of the program gets its own group, never all settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from consumer.settings.group import Group, Port, Positive, Seconds, existing
from consumer.settings.servers import Kafka, Postgres
from consumer.settings.sources import variable

SHORTEST_KEY = 32
TopicName = Annotated[str, Field(min_length=1, max_length=249, pattern=r"^[a-zA-Z0-9._-]+$")]


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
        return existing(path)


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


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

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
