"""Decides how Prometheus can watch an objective."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from consumer.errors import OperationError
from consumer.ingest.slo import Figure, Objective, Operator
from consumer.telemetry import metrics as m
from consumer.telemetry.histogram import bound_name

_AT_LEAST: Sequence[Operator] = (">", ">=")
_AT_MOST: Sequence[Operator] = ("<", "<=")


@dataclass(frozen=True, slots=True)
class Events:
    """Selectors for counted events: for all of them, and for either the bad or the good ones."""

    all: str
    bad: str = ""
    good: str = ""

    def sum_of_all(self, function: str, window: str) -> str:
        """Return the expression for all events over the window; `function` is rate or increase."""
        return f"sum({function}({self.all}[{window}]))"

    def sum_of_bad(self, function: str, window: str) -> str:
        """Return the expression for the bad events."""
        if self.bad:
            return f"sum({function}({self.bad}[{window}]))"
        return f"({self.sum_of_all(function, window)} - sum({function}({self.good}[{window}])))"


@dataclass(frozen=True, slots=True)
class Budget:
    """An error budget: the share `good` of all events (between 0 and 1, exclusive) has to be good.

    `trouble` is the text of the alert, `note` a comment in the rules.
    """

    objective: Objective
    alert: str
    good: Decimal
    events: Events
    trouble: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Spending:
    """Spending over a day. It is an amount and not a share of events."""

    objective: Objective
    alert: str = "RagledgerCostsTooMuch"


@dataclass(frozen=True, slots=True)
class DayOnly:
    """An objective that Prometheus cannot watch. It is judged only when its day is computed."""

    objective: Objective
    why: str


Watch = Budget | Spending | DayOnly


class _Refused(Exception):
    """Prometheus could watch the objective with another target; the message names one."""


def watch_all(objectives: Sequence[Objective], *, skip_refused: bool = False) -> Sequence[Watch]:
    """Return how each objective is watched.

    :param skip_refused: if the target of an objective cannot be watched, judge it by the day only
    :raises OperationError: a target cannot be watched, although nearby targets can
    """
    watches: list[Watch] = []
    refusals: list[str] = []
    for objective in objectives:
        try:
            watches.append(_watch(objective))
        except _Refused as error:
            refusals.append(f"{objective.name}: {error}")
            watches.append(DayOnly(objective, str(error)))
    if refusals and not skip_refused:
        hint = "Change these targets, or judge these objectives by the day only: --skip-refused"
        raise OperationError("\n".join([*refusals, hint]))
    return watches


def _watch(objective: Objective) -> Watch:
    figure = objective.figure
    if figure in _SHARES:
        return _SHARES[figure].watch(objective)
    if figure in _PERCENTILES:
        return _PERCENTILES[figure].watch(objective)
    if figure not in _COSTS:
        return DayOnly(objective, "Prometheus has no metric of it")
    return Spending(objective) if objective.operator in _AT_MOST else DayOnly(objective, _WRONG_WAY)


_WRONG_WAY = "its operator asks for worse figures, not for better ones"


@dataclass(frozen=True, slots=True)
class _Share:
    """A figure that is a share of events, in percent; `operators` are those that ask for more good events."""

    alert: str
    operators: Sequence[Operator]
    events: Events
    trouble: str

    def watch(self, objective: Objective) -> Watch:
        if objective.operator not in self.operators:
            return DayOnly(objective, _WRONG_WAY)
        share = objective.target / 100
        good = share if self.operators is _AT_LEAST else 1 - share
        if not 0 < good < 1:
            return DayOnly(objective, "it allows no bad events at all" if good >= 1 else "every event may be bad")
        return Budget(objective, self.alert, good, self.events, self.trouble)


@dataclass(frozen=True, slots=True)
class _Percentile:
    """A figure that is a percentile of a histogram: the share `good` of the events is at or below the target.

    `per_second` is the number of the figure's units in a second. `trouble` describes the events above the target.
    """

    alert: str
    metric: m.Metric
    good: Decimal
    per_second: int
    unit: str
    trouble: str
    note: str = ""

    def watch(self, objective: Objective) -> Watch:
        if objective.operator not in _AT_MOST:
            return DayOnly(objective, _WRONG_WAY)
        bounds = [_exactly(bound) * self.per_second for bound in self.metric.buckets]
        if objective.target not in bounds:
            raise _Refused(self._advice(objective.target, bounds))
        bound = self.metric.buckets[bounds.index(objective.target)]
        within = f'{self.metric.name}_bucket{{le="{bound_name(bound)}"}}'
        events = Events(all=f"{self.metric.name}_count", good=within)
        return Budget(objective, self.alert, self.good, events, self.trouble.format(f"{bound:g} s"), self.note)

    def _advice(self, target: Decimal, bounds: Sequence[Decimal]) -> str:
        position = bisect(bounds, target)
        near = " or ".join(map(plain, bounds[max(position - 1, 0) : position + 1]))
        problem = f"{plain(target)} {self.unit} is not a bucket bound of {self.metric.name}"
        return f"{problem}, so Prometheus cannot count the events above it: choose {near}"


def _exactly(bound: float) -> Decimal:
    """Return the decimal as written: 0.1 is exactly one tenth."""
    return Decimal(repr(bound))


def plain(number: Decimal) -> str:
    """Return a number as text without an exponent, as people and PromQL write it: 3000, 0.95."""
    return f"{number.normalize():f}"


def _latency(percent: str) -> _Percentile:
    trouble = "too many answers take longer than {}"
    return _Percentile("RagledgerAnswersAreSlow", m.DIALOGUE_LATENCY, Decimal(percent), 1000, "ms", trouble)


_SHARES: Mapping[Figure, _Share] = {
    "citation_rate": _Share(
        "RagledgerFewAnswersCite",
        _AT_LEAST,
        Events(all=m.DIALOGUES.name, bad=f'{m.DIALOGUES.name}{{cited="false"}}'),
        "too many answers cite no source",
    ),
    "negative_feedback_rate": _Share(
        "RagledgerUsersAreNotContent",
        _AT_MOST,
        Events(all=m.FEEDBACK_GIVEN.name, bad=f'{m.FEEDBACK_GIVEN.name}{{value="{m.FEEDBACK[-1]}"}}'),
        "too many verdicts of users are negative",
    ),
}
_PERCENTILES: Mapping[Figure, _Percentile] = {
    "latency_p50": _latency("0.5"),
    "latency_p95": _latency("0.95"),
    "latency_p99": _latency("0.99"),
    "ingest_delay_p95": _Percentile(
        "RagledgerRecordsArriveLate",
        m.EVENT_DELAY,
        Decimal("0.95"),
        1,
        "s",
        "too many records take longer than {} to be stored",
        note="The delay counts from the Kafka timestamp, for each written record that became a row or changed one.\n"
        "If a producer publishes late, only the day's figure shows it. RagledgerLagHigh covers waiting records.",
    ),
}
_COSTS: Sequence[Figure] = ("cost_per_answer", "total_cost")
