"""Memory with a long backlog: every event waits on the topics before ragledger starts."""

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
    """What was found.

    :param events: how many waited
    :param resident_mb: the most memory ragledger held, shared pages included
    """

    events: int
    resident_mb: float
    rows_per_s: float


def measure(servers: Servers, published: Dataset, more: Iterable[Event], tick: Callable[[], None]) -> Backlog:
    """Publish `more` behind what waits already, and let ragledger write all of it; the ledger is checked.

    :raises BenchError: something is not as it must be
    """
    longer = dataset.append(servers, published, more, tick)
    database.reset(servers.connection)
    measured = Ragledger(servers, longer.rows, longer.verdicts).measure_unchecked("backlog")
    assert measured.resident_mb is not None
    return Backlog(measured.rows, measured.resident_mb, measured.rows_per_s)
