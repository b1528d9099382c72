"""The rules for spending: recorded over sliding windows, with an alert."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consumer.admin.slo_rules.budget import SERVICE, Group, Rule
from consumer.admin.slo_rules.watching import Spending, plain
from consumer.ingest.slo import Figure, Operator
from consumer.telemetry import metrics as m

RUNBOOK = "docs/operations.md#answers-cost-too-much"
ENOUGH = 100  # answers in a day; with fewer, a single one could trigger the alert
_MISSED: Mapping[Operator, str] = {"<=": ">", "<": ">="}


@dataclass(frozen=True, slots=True)
class _Cost:
    """A figure of costs: the recorded expression, and the windows over which it must be too high for an alert.

    `enough` is an additional condition. `summary` has a placeholder for the target.
    """

    record: str
    expression: str
    windows: Sequence[str]
    enough: str
    summary: str
    description: str


_SPENT = f"sum(increase({m.COST.name}[WINDOW]))"
_PRICED = f"sum(increase({m.PRICED.name}[WINDOW]))"

# The short window ends the alert soon after the costs are within the target again.
_COSTS: Mapping[Figure, _Cost] = {
    "cost_per_answer": _Cost(
        "slo:cost_per_answer_jpy:mean",
        f"{_SPENT} / ({_PRICED} > 0)",
        ("1d", "1h"),
        f"\nand on () {_PRICED.replace('WINDOW', '1d')} >= {ENOUGH}",
        "An answer costs more than {} JPY on average",
        "The mean of the last 24 hours was {{ $value | humanize }} JPY. The mean of the last hour was too high too.",
    ),
    "total_cost": _Cost(
        "slo:total_cost_jpy:increase",
        _SPENT,
        ("1d",),
        "",
        "The answers of 24 hours cost more than {} JPY",
        "The answers of the last 24 hours cost {{ $value | humanize }} JPY in total.",
    ),
}


def spending_groups(spending: Spending) -> Sequence[Group]:
    """Return the group of rules of one objective."""
    cost = _COSTS[spending.objective.figure]
    labels = {"slo": spending.objective.name}
    records = [
        {"record": f"{cost.record}{window}", "expr": cost.expression.replace("WINDOW", window), "labels": labels}
        for window in cost.windows
    ]
    return [{"name": f"{SERVICE}-slo-{spending.objective.name}", "rules": [*records, _alert(spending, cost)]}]


def _alert(spending: Spending, cost: _Cost) -> Rule:
    objective = spending.objective
    too_much = f'{{slo="{objective.name}"}} {_MISSED[objective.operator]} {plain(objective.target)}'
    conditions = [f"{cost.record}{window}{too_much}" for window in cost.windows]
    return {
        "alert": spending.alert,
        "expr": "\nand on (slo) ".join(conditions) + cost.enough + "\n",
        "labels": {"severity": "ticket", "slo": objective.name},
        "annotations": {
            "summary": cost.summary.format(plain(objective.target)),
            "description": cost.description,
            "runbook_url": RUNBOOK,
        },
    }
