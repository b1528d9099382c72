"""Measures 1, 2 and 4 replicas of one consumer group: `python -m bench.replicas`.

Backlog: all replicas start at once and write a backlog. Measured: the partitions of each replica, and the CPU of all
replicas for each dialogue, without the CPU of their idle starts.

Changes: a producer sends dialogues at a steady rate while replicas join, leave (SIGTERM) and are killed (SIGKILL).
Measured: the longest delay from publishing to the commit during each change, by PostgreSQL's clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Annotated, NamedTuple, Self

import typer
from rich.console import Console
from rich.table import Table

from bench import database, topics, usage
from bench.dataset import TOPICS
from bench.delay import without_time
from bench.errors import BenchError
from bench.events import DIALOGUES, events
from bench.local import is_ok
from bench.program import Program
from bench.ragledger import RUN, Ragledger, settings, topic_names
from bench.servers import Servers, started_servers
from consumer.settings.sources import variable

SIZES = (1, 2, 4)
SETTLE_SECONDS = 6.0
TIMEOUT_S = 120.0
_POLL_S = 0.05
_TOPIC = TOPICS["dialogue"]
_PARTITIONS = "SELECT count(*) FROM ingest_ledger WHERE consumer_group = %s AND topic = %s GROUP BY owner ORDER BY 1"
_LONGEST = """
SELECT coalesce(max(extract(epoch FROM pg_xact_commit_timestamp(xmin) - created_at AT TIME ZONE 'UTC')), 0)::float8
FROM ai_dialogue_log
WHERE created_at BETWEEN (to_timestamp(%s) AT TIME ZONE 'UTC') AND (to_timestamp(%s) AT TIME ZONE 'UTC')
"""


class Written(NamedTuple):
    """A backlog that some replicas have written.

    :param partitions: the number of the topic's partitions that each replica has in the end
    :param cpu: CPU of all replicas for each dialogue, in microseconds
    """

    replicas: int
    partitions: Sequence[int]
    cpu: float


class Change(NamedTuple):
    """A change of the group under load.

    :param delay: the longest delay from publishing to the commit, in seconds
    """

    name: str
    delay: float


class Group:
    """The replicas of one consumer group. A context manager that ends them all."""

    def __init__(self, servers: Servers, name: str, start_from: str) -> None:
        self.name = name
        self._servers, self._start_from = servers, start_from
        self._replicas: list[tuple[Program, int]] = []
        self._started = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program, _port in self._replicas:
            program.kill()

    def join(self) -> None:
        """Start one more replica."""
        variables = settings(self._servers, self.name, {_TOPIC})
        variables[variable("kafka", "start_from")] = self._start_from
        self._started += 1
        program = Program(self._servers.workspace, f"{self.name}-{self._started}", RUN, variables)
        self._replicas.append((program, int(variables[variable("http", "port")])))

    def leave(self) -> None:
        """Stop the oldest replica with SIGTERM."""
        program, _port = self._replicas.pop(0)
        if program.stop():
            raise BenchError("a replica did not end with 0 after SIGTERM")

    def lose(self) -> None:
        """Kill the oldest replica."""
        program, _port = self._replicas.pop(0)
        program.kill()

    def wait(self, is_so: Callable[[], bool], problem: str) -> None:
        """Wait for a condition while every replica runs.

        :raises BenchError: a replica ends by itself, or the condition does not come
        """
        deadline = time.monotonic() + TIMEOUT_S
        while not is_so():
            for program, _port in self._replicas:
                with program.explained():
                    program.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{problem} within {TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)

    def wait_ready(self) -> None:
        """Wait until every replica is ready, and each one has partitions."""
        self.wait(self._is_spread, "the replicas did not share the partitions")

    def partitions(self) -> Sequence[int]:
        """How many partitions of the topic each replica has, in ascending order."""
        return [row[0] for row in self._servers.connection.execute(_PARTITIONS, [self.name, _TOPIC]).fetchall()]

    def cpu_seconds(self) -> float:
        """The CPU of all replicas so far."""
        return sum(usage.cpu_seconds(program.pid) for program, _port in self._replicas)

    def _is_spread(self) -> bool:
        are_ready = all(is_ok(port, "/readyz") for _program, port in self._replicas)
        return are_ready and len(self.partitions()) == len(self._replicas)


def measure_backlog(servers: Servers, count: int, replicas: int) -> Written:
    """Let some replicas write a backlog of `count` records."""
    ours = Ragledger(servers, ())
    ours.prepare(1)
    database.reset(servers.connection)
    with Group(servers, f"backlog-{replicas}", "earliest") as group:
        for _ in range(replicas):
            group.join()
        done = lambda: database.records_accounted(servers.connection, group.name) >= count  # noqa: E731
        group.wait(done, "the backlog was not written")
        cpu = group.cpu_seconds() - replicas * ours.idle.cpu
        group.wait_ready()
        return Written(replicas, group.partitions(), cpu / count * 1e6)


def measure_changes(servers: Servers, rate: int, seed: int) -> Iterator[Change]:
    """Change a group of two replicas under load."""
    database.reset(servers.connection)
    with Group(servers, "changes", "latest") as group, _load(servers, rate, seed):
        group.join()
        group.join()
        group.wait_ready()
        time.sleep(SETTLE_SECONDS)
        yield _change(servers, group, "none", lambda: None)
        yield _change(servers, group, "a replica joins", group.join)
        yield _change(servers, group, "a replica leaves", group.leave)
        yield _change(servers, group, "a replica is killed", group.lose)


def _change(servers: Servers, group: Group, name: str, change: Callable[[], None]) -> Change:
    began = time.time()
    change()
    group.wait_ready()
    time.sleep(SETTLE_SECONDS)
    ended = time.time()
    time.sleep(SETTLE_SECONDS)
    row = servers.connection.execute(_LONGEST, [began - 1, ended]).fetchone()
    assert row is not None
    return Change(name, row[0])


@contextmanager
def _load(servers: Servers, rate: int, seed: int) -> Iterator[None]:
    """Publish dialogues at a steady rate."""
    is_over = threading.Event()
    thread = threading.Thread(target=_publish, args=(servers, rate, seed, is_over))
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _publish(servers: Servers, rate: int, seed: int, is_over: threading.Event) -> None:
    filler = topics.Filler(servers.kafka.bootstrap_servers, linger_ms=0)
    start = time.monotonic()
    for number, event in enumerate(event for event in events(2**63, seed, DIALOGUES) if event.row is not None):
        if is_over.wait(max(0.0, start + number / rate - time.monotonic())):
            break
        filler.publish(_TOPIC, without_time(event))
    filler.close()


def main(
    count: Annotated[int, typer.Option("--events", min=10_000, help="Number of dialogues in the backlog.")] = 100_000,
    rate: Annotated[int, typer.Option(min=10, help="Dialogues a second during the changes.")] = 500,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events.")] = 1,
) -> None:
    """Measure groups of replicas, and print tables."""
    err, out = Console(stderr=True, highlight=False), Console(highlight=False)
    with started_servers(lambda text: err.print(text, style="dim", markup=False)) as servers:
        topics.create(servers.kafka.bootstrap_servers, topic_names())
        filler = topics.Filler(servers.kafka.bootstrap_servers)
        for event in islice(events(2**63, seed, DIALOGUES), count):
            filler.publish(_TOPIC, event.value, event.timestamp_ms)
        filler.close()
        backlogs = Table("replicas", "partitions of each", "CPU for a dialogue, µs")
        for size in SIZES:
            written = measure_backlog(servers, count, size)
            backlogs.add_row(str(size), ", ".join(map(str, written.partitions)), f"{written.cpu:.0f}")
        out.print(backlogs)
        changes = Table("change", "longest delay to the commit, s")
        for change in measure_changes(servers, rate, seed + 1):
            changes.add_row(change.name, f"{change.delay:.2f}")
        out.print(changes)


if __name__ == "__main__":
    typer.run(main)
