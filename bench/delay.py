"""Measures the delay from publishing to the commit at a steady rate, for each row, by PostgreSQL's clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from bench import database
from bench.dataset import TOPICS
from bench.errors import BenchError
from bench.events import DIALOGUE_TABLE, Event
from bench.ragledger import Ragledger
from bench.servers import Servers
from bench.topics import Filler

RATE, SECONDS = 1000, 20
WARM_UP_SECONDS = 2  # a producer first requests metadata of the topic, and the first batch of a service is its slowest
# The default of RAGLEDGER_BATCH__MAX_DELAY_MS comes first, because the target is for this value.
BATCH_DELAYS_MS = (200, 50)
_PERCENTILES = (0.5, 0.95, 0.99, 1.0)
# The commit timestamp of a row's transaction, minus the record's timestamp. The producer sets the record's timestamp,
# which becomes created_at because the event has none. PostgreSQL takes the commit timestamp right before it writes the
# commit (track_commit_timestamp).
_DELAYS = """
SELECT count(*), percentile_cont(%s::float8[]) WITHIN GROUP (
    ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - created_at AT TIME ZONE 'UTC') * 1000
) FROM ai_dialogue_log WHERE created_at >= to_timestamp(%s) AT TIME ZONE 'UTC'
"""


@dataclass(frozen=True, slots=True)
class Delay:
    """The result for one batch delay. All times are in milliseconds.

    :param batch_delay: RAGLEDGER_BATCH__MAX_DELAY_MS
    :param rate: events a second
    """

    batch_delay: int
    rate: int
    events: int
    p50: float
    p95: float
    p99: float
    longest: float


def measure(servers: Servers, ours: Ragledger, events: Iterable[Event], batch_delay: int) -> Delay:
    """Publish dialogues at a steady rate while ragledger runs.

    :param events: dialogues without duplicates

    :raises BenchError: not all events were written in time
    """
    database.reset(servers.connection)
    values = [without_time(event) for event in islice(events, RATE * (WARM_UP_SECONDS + SECONDS))]
    with ours.running_at_the_end(batch_delay):
        began = time.time()
        _publish(servers, values)
        _wait(servers, len(values))
    parameters = [list(_PERCENTILES), began + WARM_UP_SECONDS]
    row = servers.connection.execute(_DELAYS, parameters).fetchone()
    assert row is not None
    return Delay(batch_delay, RATE, row[0], *row[1])


def without_time(event: Event) -> bytes:
    """The value without `created_at`. The row then has the record's timestamp."""
    members = json.loads(event.value)
    members.pop("created_at", None)
    return json.dumps(members, ensure_ascii=False).encode()


def _publish(servers: Servers, values: list[bytes]) -> None:
    filler = Filler(servers.kafka.bootstrap_servers, linger_ms=0)
    start = time.monotonic()
    for place, value in enumerate(values):
        time.sleep(max(0.0, start + place / RATE - time.monotonic()))
        filler.publish(TOPICS["dialogue"], value)
    filler.close()


def _wait(servers: Servers, count: int) -> None:
    deadline = time.monotonic() + 60
    while database.count(servers.connection, [DIALOGUE_TABLE]) < count:
        if time.monotonic() > deadline:
            raise BenchError(f"not all of {count} events were written within 60 s")
        time.sleep(0.05)
