"""Summarizes rounds as medians and spreads, and compares them with the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from bench.backlog import Backlog
from bench.delay import Delay
from bench.measure import COPY, IdleStart, Measurement
from bench.ragledger import NAME
from bench.rounds import Suite
from bench.shapes import Costs
from bench.traces import TraceCosts

# The limit and the goal in milliseconds, by batch delay.
_DELAYS_MS = {200: (250.0, 220.0), 50: (80.0, 65.0)}
_MEMORY_MB = (200.0, 150.0)


class Spread(NamedTuple):
    """The median, the minimum and the maximum of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of the values of the rounds."""
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of one contestant over all rounds. Each ratio compares values of the same round."""

    contestant: str
    rows_per_s: Spread
    rows_per_s_ready: Spread
    rows_per_s_from_start: Spread
    seconds_to_first_row: Spread
    ratio: Spread
    ratio_ready: Spread
    ratio_from_start: Spread
    cpu_us: Spread
    cpu_to_postgres: Spread
    postgres_us: Spread
    kafka_us: Spread
    resident_mb: float | None
    unique_mb: float | None


def summarize(suite: Suite) -> list[Summary]:
    """The summaries of all contestants, raw COPY first."""
    return [_summary(suite, name) for name in suite.names]


def _summary(suite: Suite, name: str) -> Summary:
    ours, copies = suite.of(name), suite.of(COPY)

    def spread(read: Callable[[Measurement], float]) -> Spread:
        return Spread.of([read(one) for one in ours])

    def ratio(read: Callable[[Measurement], float]) -> Spread:
        return Spread.of([read(one) / copy.rows_per_s for one, copy in zip(ours, copies, strict=True)])

    return Summary(
        contestant=name,
        rows_per_s=spread(lambda one: one.rows_per_s),
        rows_per_s_ready=spread(lambda one: one.rows_per_s_ready),
        rows_per_s_from_start=spread(lambda one: one.rows_per_s_from_start),
        seconds_to_first_row=spread(lambda one: one.seconds_to_first_row),
        ratio=ratio(lambda one: one.rows_per_s),
        ratio_ready=ratio(lambda one: one.rows_per_s_ready),
        ratio_from_start=ratio(lambda one: one.rows_per_s_from_start),
        cpu_us=spread(lambda one: one.cpu_us),
        cpu_to_postgres=spread(lambda one: one.cpu_us / one.postgres_us),
        postgres_us=spread(lambda one: one.postgres_us),
        kafka_us=spread(lambda one: one.kafka_us),
        resident_mb=_most([one.resident_mb for one in ours]),
        unique_mb=_most([one.unique_mb for one in ours]),
    )


def _most(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known, default=None)


@dataclass(frozen=True, slots=True)
class Target:
    """A target of ragledger: the minimum and the goal. A missed target is reported but is not an error."""

    figure: str
    measured: float
    least: float
    goal: float
    higher_is_better: bool = False

    def is_met(self, bound: float) -> bool:
        """Whether the figure meets the bound."""
        return self.measured >= bound if self.higher_is_better else self.measured <= bound


def of(summaries: Sequence[Summary], name: str) -> Summary:
    """One contestant's summary."""
    return next(one for one in summaries if one.contestant == name)


def targets(everything: Suite, costs: Costs, idle: IdleStart, traces: TraceCosts) -> list[Target]:
    """Compare ragledger with raw COPY and with PostgreSQL's own work, and its costs with each other."""
    ours = of(summarize(everything), NAME)
    return [
        Target("rows a second, as a share of binary COPY", ours.ratio.median, 0.85, 1.1, higher_is_better=True),
        Target("CPU for a row, as a share of PostgreSQL's", ours.cpu_to_postgres.median, 0.7, 0.5),
        Target(
            "CPU for the most expensive realistic shape, as a multiple of the cheapest",
            costs.dearest_to_cheapest,
            1.3,
            1.15,
        ),
        Target("CPU for a record in the exact lane, as a multiple of the fast lane", costs.exact_to_fast, 4.0, 2.5),
        Target("CPU for a dialogue from a trace, as a share of PostgreSQL's", traces.to_postgres, 2.2, 1.0),
        Target("CPU of an idle start, s", idle.cpu, 0.6, 0.4),
    ]


def targets_against(peers: Sequence[Summary], ours: Summary) -> list[Target]:
    """Compare ragledger with the fastest peer, and with the peer that uses the least CPU."""
    speed = ours.rows_per_s.median / max(one.rows_per_s.median for one in peers)
    cpu = ours.cpu_us.median / min(one.cpu_us.median for one in peers)
    return [
        Target("rows a second, times the fastest peer's", speed, 2.3, 3.0, higher_is_better=True),
        Target("CPU for a dialogue, as a share of the least that a peer takes", cpu, 0.5, 0.33),
    ]


def targets_of(delays: Sequence[Delay], backlog: Backlog | None) -> list[Target]:
    """Compare the delay until an event can be queried, and the memory with a backlog, with their targets."""
    found = [
        Target(
            f"99 of 100 events at {delay.rate:,} a second are committed within, ms (batch delay {delay.batch_delay})",
            delay.p99,
            *_DELAYS_MS[delay.batch_delay],
        )
        for delay in delays
    ]
    if backlog:
        name = f"most memory with a backlog of {backlog.events:,}, MB"
        found.append(Target(name, backlog.resident_mb, *_MEMORY_MB))
    return found
