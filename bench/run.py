"""Runs the whole benchmark: servers, topics, rows and rounds, then the backlog and the delays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from bench import backlog, dataset, delay, peers, results, shapes, topics, traces
from bench.events import DIALOGUES, Event, events
from bench.ragledger import Ragledger, topic_names
from bench.rounds import Contestant, Rounds, Suite, copies
from bench.servers import Servers, started_servers

IDLE_STARTS = 3
_NO_ONE: tuple[Sequence[Contestant], Mapping[str, str]] = ((), MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of a run.

    :param events: the number of events, of all kinds together
    :param backlog: the number of waiting events in the measurement of memory; 0 skips it
    :param progress: called with a description of each step
    :param tick: called for every published event
    """

    events: int
    rounds: int
    seed: int
    with_peers: bool
    backlog: int
    progress: Callable[[str], None]
    tick: Callable[[], None]

    def make(self) -> Iterator[Event]:
        """The events of the rounds. Each call returns the same events."""
        return events(self.events, self.seed)

    def make_more(self, seed: int, count: int) -> Iterator[Event]:
        """Further events, from another seed."""
        return events(count, self.seed + seed)

    def make_dialogues(self, seed: int) -> Iterator[Event]:
        """An endless sequence of further dialogues, without duplicates."""
        return (event for event in events(2**63, self.seed + seed, DIALOGUES) if event.row is not None)


def run(plan: Plan) -> results.Results:
    """Run the benchmark and return its results.

    :raises BenchError: a contestant that may not fail has failed
    :raises EmbeddedError: a server does not start
    """
    machine, taken_at = results.this_machine(), datetime.now(UTC)
    with started_servers(plan.progress) as servers:
        topics.create(servers.kafka.bootstrap_servers, topic_names())
        plan.progress(f"publishing {plan.events:,} events")
        published = dataset.publish(servers, plan.make(), plan.tick)
        rows, dialogues, provenance = published.rows, published.of("dialogue"), published.of("provenance")
        ours = Ragledger(servers, published.amended, published.verdicts)
        plan.progress(f"{ours.name}, not counted: the broker warms up")
        ours.measure(0)
        others = peers.find(servers, dialogues, plan.make, plan.progress) if plan.with_peers else _NO_ONE
        return results.Results(
            taken_at,
            machine,
            results.versions(servers),
            results.settings(plan.rounds, plan.seed),
            everything=_measure(plan, "all", servers, ours, rows),
            dialogues=_measure(plan, "dialogues", servers, Ragledger(servers, dialogues), dialogues, *others),
            provenance=_measure(plan, "provenance", servers, Ragledger(servers, provenance), provenance),
            backlog=_measure_backlog(plan, servers, published),
            delays=_measure_delays(plan, servers, ours),
            idle_start=ours.idle,
            costs=_measure_decoding(plan),
            traces=_measure_traces(plan, servers),
        )


def _measure(
    plan: Plan,
    key: str,
    servers: Servers,
    ragledger: Ragledger,
    rows: Sequence[dataset.Rows],
    others: Sequence[Contestant] = (),
    skipped: Mapping[str, str] = MappingProxyType({}),
) -> Suite:
    """Measure raw COPY, ragledger and the other contestants on these rows."""
    ours = [*copies(servers, rows), ragledger]
    rounds = Rounds([*ours, *others], [other.name for other in others], plan.progress)
    rounds.prepare(IDLE_STARTS)
    measured = rounds.measure(plan.rounds)
    names = [one.name for one in (*ours, *others) if one.name not in rounds.failed]
    return Suite(key, rows, names, measured, {**skipped, **rounds.failed})


def _measure_decoding(plan: Plan) -> shapes.Costs:
    plan.progress("decoding, each shape alone")
    return shapes.measure()


def _measure_traces(plan: Plan, servers: Servers) -> traces.TraceCosts:
    plan.progress("traces, staged and folded")
    return traces.measure(servers.postgres, seed=plan.seed, without=[servers.backend_pid])


def _measure_delays(plan: Plan, servers: Servers, ours: Ragledger) -> list[delay.Delay]:
    found = []
    for batch_delay in delay.BATCH_DELAYS_MS:
        plan.progress(f"delay at {delay.RATE:,} events a second, batches of {batch_delay} ms")
        found.append(delay.measure(servers, ours, plan.make_dialogues(1), batch_delay))
    return found


def _measure_backlog(plan: Plan, servers: Servers, published: dataset.Dataset) -> backlog.Backlog | None:
    """Measure memory with a backlog, which contains the rows of the rounds and more."""
    if not plan.backlog:
        return None
    plan.progress(f"a backlog of {plan.backlog:,} events")
    return backlog.measure(servers, published, plan.make_more(2, plan.backlog - plan.events), plan.tick)
