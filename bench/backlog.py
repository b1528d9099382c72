"""Measures memory with a long backlog: every event waits on the topics before ragledger starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import database, dataset
from bench.dataset import Dataset
from bench.events import Event
from bench.ragledger import Ragledger
from bench.servers import Servers


@dataclass(frozen=True, slots=True)
class Backlog:
    """The result of the measurement.

    :param events: the number of waiting events
    :param resident_mb: the maximum resident memory of ragledger, including shared pages
    """

    events: int
    resident_mb: float
    rows_per_s: float


def measure(servers: Servers, published: Dataset, more: Iterable[Event], tick: Callable[[], None]) -> Backlog:
    """Publish `more` after the waiting events, let ragledger write all of them, and check the ledger.

    :raises BenchError: ragledger fails, takes too long, or its ledger is wrong
    """
    longer = dataset.append(servers, published, more, tick)
    database.reset(servers.connection)
    measured = Ragledger(servers, longer.rows, longer.verdicts).measure_unchecked("backlog")
    assert measured.resident_mb is not None
    return Backlog(measured.rows, measured.resident_mb, measured.rows_per_s)
