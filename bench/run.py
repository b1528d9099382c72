"""The whole run: servers, topics, rows, rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from bench import dataset, peers, results, topics
from bench.events import DIALOGUE_TABLE, Event, events
from bench.ragledger import Ragledger, topic_names
from bench.rounds import Contestant, Rounds, Suite, copies
from bench.servers import Servers, started_servers

PROVENANCE_SHARE = 0.1
IDLE_STARTS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    :param tell: is told what goes on
    :param tick: is called for every event that is published
    """

    events: int
    rounds: int
    seed: int
    with_peers: bool
    tell: Callable[[str], None]
    tick: Callable[[], None]

    def make(self) -> Iterator[Event]:
        """The events: the same every time."""
        return events(self.events, PROVENANCE_SHARE, self.seed)


def run(plan: Plan) -> results.Results:
    """Measure.

    :raises BenchError: something is not as it must be
    :raises EmbeddedError: a server does not start
    """
    machine, taken_at = results.this_machine(), datetime.now(UTC)
    with started_servers(plan.tell) as servers:
        topics.create(servers.kafka.bootstrap_servers, topic_names())
        plan.tell(f"publishing {plan.events:,} events")
        rows = dataset.publish(servers, plan.make(), plan.tick)
        ours = Ragledger(servers, rows)
        plan.tell(f"{ours.name}, uncounted: the broker warms up")
        ours.measure(0)
        suites = [_measure(plan, "all", rows, [*copies(servers, rows), ours])]
        if plan.with_peers:
            suites.append(_measure_peers(plan, servers, rows))
        settings = results.settings(plan.rounds, plan.seed)
        return results.Results(taken_at, machine, results.versions(servers), settings, suites, ours.idle)


def _measure_peers(plan: Plan, servers: Servers, rows: Sequence[dataset.Rows]) -> Suite:
    """The peers, with raw COPY and ragledger beside them, on the rows that all of them take."""
    dialogues = [part for part in rows if part.table == DIALOGUE_TABLE]
    found, skipped = peers.find(servers, dialogues, plan.make, plan.tell)
    ours = [*copies(servers, dialogues), Ragledger(servers, dialogues)]
    return _measure(plan, "dialogues", dialogues, ours, found, skipped)


def _measure(
    plan: Plan,
    key: str,
    rows: Sequence[dataset.Rows],
    ours: Sequence[Contestant],
    others: Sequence[Contestant] = (),
    skipped: Mapping[str, str] = MappingProxyType({}),
) -> Suite:
    rounds = Rounds([*ours, *others], [other.name for other in others], plan.tell)
    rounds.prepare(IDLE_STARTS)
    measured = rounds.measure(plan.rounds)
    names = [one.name for one in (*ours, *others) if one.name not in rounds.failed]
    return Suite(key, rows, names, measured, {**skipped, **rounds.failed})
