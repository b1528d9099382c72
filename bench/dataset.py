"""Prepares the rows that every contestant writes: on the topics, as COPY files, and as checksums of the tables."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from bench import database, topics
from bench.events import TABLES, Event
from bench.psql import copy_in, copy_out
from bench.servers import Servers
from consumer.settings.model import Topics

_NAMES = Topics()
TOPICS: Mapping[str, str] = {"dialogue": _NAMES.dialogue, "provenance": _NAMES.provenance, "feedback": _NAMES.feedback}
"""The topic of each kind."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table.

    :param kind: the kind of event that they come from
    :param records: the number of records on the topic of this kind; it includes duplicates
    :param mean_bytes: the mean size of the records' values
    :param last_ids: the ids in the last record of each partition; if these rows exist, nearly all rows exist
    :param files: the rows as files for COPY, by format
    :param checksum: the checksum of the table with all rows, without feedback
    :param amended_checksum: the checksum of the table with all rows and all feedback
    """

    table: str
    kind: str
    count: int
    records: int
    mean_bytes: float
    last_ids: Sequence[str]
    files: Mapping[str, Path]
    checksum: str
    amended_checksum: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Everything that was published.

    :param verdicts: the number of feedback records
    """

    rows: Sequence[Rows]
    verdicts: int

    def of(self, kind: str) -> Sequence[Rows]:
        """The rows of only one kind, without feedback."""
        return [part for part in self.rows if part.kind == kind]

    @property
    def amended(self) -> Sequence[Rows]:
        """All rows, with feedback."""
        return [replace(part, checksum=part.amended_checksum) for part in self.rows]


def publish(servers: Servers, events: Iterable[Event], tick: Callable[[], None]) -> Dataset:
    """Write the events once to Kafka, and to a text COPY file that PostgreSQL converts to a binary one.

    The conversion also warms the server up: afterwards it has all the log files that a round needs.
    """
    seen = _Seen(servers)
    with seen.files:
        for event in events:
            seen.take(event)
            tick()
    seen.filler.close()
    rows = [_load(servers, seen, kind) for kind in TABLES if seen.counts[kind]]
    return Dataset(rows, len(seen.verdicts))


def append(servers: Servers, dataset: Dataset, events: Iterable[Event], tick: Callable[[], None]) -> Dataset:
    """Publish more events after the existing ones. Return the expected rows, without files and checksums."""
    filler = topics.Filler(servers.kafka.bootstrap_servers)
    counts = Counter({part.kind: part.count for part in dataset.rows})
    records = Counter({part.kind: part.records for part in dataset.rows} | {"feedback": dataset.verdicts})
    last_ids = {part.kind: deque(part.last_ids, maxlen=topics.PARTITIONS) for part in dataset.rows}
    for event in events:
        filler.publish(TOPICS[event.kind], event.value, event.timestamp_ms)
        records[event.kind] += 1
        if event.row is not None:
            counts[event.kind] += 1
            last_ids[event.kind].append(event.id)
        tick()
    filler.close()
    rows = [
        replace(
            part,
            count=counts[part.kind],
            records=records[part.kind],
            last_ids=list(last_ids[part.kind]),
            files={},
            checksum="",
            amended_checksum="",
        )
        for part in dataset.rows
    ]
    return Dataset(rows, records["feedback"])


@dataclass
class _Seen:
    """The files and counts of the events published so far."""

    servers: Servers
    counts: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    verdicts: list[tuple[str, int]] = field(default_factory=list)
    files: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        directory = self.servers.workspace.directory
        self.filler = topics.Filler(self.servers.kafka.bootstrap_servers)
        self.last_ids: dict[str, deque[str]] = {kind: deque(maxlen=topics.PARTITIONS) for kind in TABLES}
        self.paths = {kind: directory / f"{table}.text" for kind, table in TABLES.items()}
        self._open: dict[str, TextIO] = {
            kind: self.files.enter_context(path.open("w", encoding="utf-8")) for kind, path in self.paths.items()
        }

    def take(self, event: Event) -> None:
        self.filler.publish(TOPICS[event.kind], event.value, event.timestamp_ms)
        self.records[event.kind] += 1
        self.sizes[event.kind] += len(event.value)
        if event.verdict is not None:
            self.verdicts.append((event.id, event.verdict))
        if event.row is not None:
            self._open[event.kind].write(f"{event.line}\n")
            self.counts[event.kind] += 1
            self.last_ids[event.kind].append(event.id)


def _load(servers: Servers, seen: _Seen, kind: str) -> Rows:
    table, text = TABLES[kind], seen.paths[kind]
    binary = servers.workspace.directory / f"{table}.binary"
    copy_in(servers, {table: text}, "text")
    copy_out(servers, table, binary)
    checksum = database.checksum(servers.connection, table)
    if kind == "dialogue":
        database.apply_verdicts(servers.connection, seen.verdicts)
    amended_checksum = database.checksum(servers.connection, table)
    database.reset(servers.connection)
    return Rows(
        table,
        kind,
        seen.counts[kind],
        seen.records[kind],
        seen.sizes[kind] / seen.records[kind],
        list(seen.last_ids[kind]),
        {"text": text, "binary": binary},
        checksum,
        amended_checksum,
    )
