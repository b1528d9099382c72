"""The rows everybody writes: on the topics, as COPY files, and as a checksum of how the table must look."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from bench import database, topics
from bench.events import COLUMNS, DIALOGUE_TABLE, PROVENANCE_TABLE, Event
from bench.psql import copy_in, copy_out
from bench.servers import Servers
from consumer.settings.model import Topics

_NAMES = Topics()
TOPICS: Mapping[str, str] = {DIALOGUE_TABLE: _NAMES.dialogue, PROVENANCE_TABLE: _NAMES.provenance}


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table.

    :param mean_bytes: of the records' values
    :param last_ids: of each partition's last record: once these are there, so is nearly everything
    :param files: the rows as COPY reads them, by format
    :param checksum: of the table once all rows are in it
    """

    table: str
    count: int
    mean_bytes: float
    last_ids: Sequence[str]
    files: Mapping[str, Path]
    checksum: str


def publish(servers: Servers, events: Iterable[Event], tick: Callable[[], None]) -> list[Rows]:
    """Make the events once: to Kafka, to a file in COPY's text format, which PostgreSQL then turns into its binary one.

    The last step also warms the server up: its log files are as many afterwards as a round needs.
    """
    seen = _Seen(servers)
    with seen.files:
        for event in events:
            seen.take(event)
            tick()
    seen.filler.close()
    return [_load(servers, seen, table) for table in COLUMNS if seen.counts[table]]


def append(servers: Servers, rows: Sequence[Rows], events: Iterable[Event], tick: Callable[[], None]) -> list[Rows]:
    """Publish more events behind the ones that are there; the rows to expect then, without files and checksums."""
    filler = topics.Filler(servers.kafka.bootstrap_servers)
    counts = Counter({part.table: part.count for part in rows})
    last_ids = {part.table: deque(part.last_ids, maxlen=topics.PARTITIONS) for part in rows}
    for event in events:
        filler.publish(TOPICS[event.table], event.value)
        counts[event.table] += 1
        last_ids[event.table].append(event.id)
        tick()
    filler.close()
    return [
        replace(part, count=counts[part.table], last_ids=list(last_ids[part.table]), files={}, checksum="")
        for part in rows
    ]


class _Seen:
    """What is remembered of the events while they stream by."""

    def __init__(self, servers: Servers) -> None:
        self.filler = topics.Filler(servers.kafka.bootstrap_servers)
        self.counts: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.last_ids: dict[str, deque[str]] = {table: deque(maxlen=topics.PARTITIONS) for table in COLUMNS}
        self.paths = {table: servers.workspace.directory / f"{table}.text" for table in COLUMNS}
        self.files = ExitStack()
        self._open: dict[str, TextIO] = {
            table: self.files.enter_context(path.open("w", encoding="utf-8")) for table, path in self.paths.items()
        }

    def take(self, event: Event) -> None:
        self.filler.publish(TOPICS[event.table], event.value)
        self._open[event.table].write(f"{event.line}\n")
        self.counts[event.table] += 1
        self.sizes[event.table] += len(event.value)
        self.last_ids[event.table].append(event.id)


def _load(servers: Servers, seen: _Seen, table: str) -> Rows:
    text, binary = seen.paths[table], servers.workspace.directory / f"{table}.binary"
    copy_in(servers, {table: text}, "text")
    copy_out(servers, table, binary)
    checksum = database.checksum(servers.connection, table)
    database.reset(servers.connection)
    count = seen.counts[table]
    files = {"text": text, "binary": binary}
    return Rows(table, count, seen.sizes[table] / count, list(seen.last_ids[table]), files, checksum)
