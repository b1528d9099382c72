"""The rules of an error budget, in the form of Sloth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from math import ceil
from typing import Any, NamedTuple

from consumer.admin.slo_rules.watching import Budget, plain

Rule = Mapping[str, Any]
Group = Mapping[str, Any]

SERVICE = "ragledger"
PERIOD_DAYS = 30
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
RUNBOOK = "docs/operations.md#an-error-budget-burns"


class Burn(NamedTuple):
    """A condition: over both windows, bad events use up the budget `factor` times too fast.

    `factor` is Sloth's. A large budget may not allow that factor. Then the limit is interpolated between 1, at which
    the budget just lasts, and the burn rate at which every event is bad; `way` is the weight (0 to 1).
    """

    short: str
    long: str
    factor: Decimal
    way: Decimal

    def within(self, budget: Decimal) -> Decimal:
        """Return the factor for a budget (0 to 1). It is reachable, and faster conditions have larger factors."""
        reachable = 1 + self.way * (1 / budget - 1)
        return min(self.factor, reachable).quantize(Decimal("0.01"), ROUND_DOWN)


class Urgency(NamedTuple):
    """An alert on either of two burns. It needs `events` events in `window`, so that a single bad event cannot trigger
    it.
    """

    severity: str
    burns: Sequence[Burn]
    window: str
    events: int


PAGE = Urgency(
    "page",
    (Burn("5m", "1h", Decimal("14.4"), Decimal("0.75")), Burn("30m", "6h", Decimal(6), Decimal("0.5"))),
    "1h",
    30,
)
TICKET = Urgency(
    "ticket",
    (Burn("2h", "1d", Decimal(3), Decimal("0.25")), Burn("6h", "3d", Decimal(1), Decimal(0))),
    "1d",
    100,
)


def budget_groups(budget: Budget) -> Sequence[Group]:
    """Return the groups of rules of one objective."""
    name = f"{SERVICE}-{budget.objective.name}"
    return [
        {"name": f"sloth-slo-sli-recordings-{name}", "rules": _indicators(budget)},
        {"name": f"sloth-slo-meta-recordings-{name}", "rules": _target(budget)},
        {"name": f"sloth-slo-alerts-{name}", "rules": [_alert(budget, PAGE), _alert(budget, TICKET)]},
    ]


def _labels(budget: Budget, **further: str) -> Mapping[str, str]:
    name = budget.objective.name
    return {"sloth_id": f"{SERVICE}-{name}", "sloth_service": SERVICE, "sloth_slo": name, **further}


def _indicators(budget: Budget) -> Sequence[Rule]:
    events = budget.events
    return [
        _record("slo:sli_error_events:rate5m", events.sum_of_bad("rate", "5m"), _labels(budget)),
        _record("slo:sli_events:rate5m", events.sum_of_all("rate", "5m"), _labels(budget)),
        *(_ratio(budget, window) for window in WINDOWS),
        *(
            _record(f"slo:sli_events:increase{one.window}", events.sum_of_all("increase", one.window), _labels(budget))
            for one in (PAGE, TICKET)
        ),
    ]


def _ratio(budget: Budget, window: str) -> Rule:
    """Record no value for a window without events: NaN would make every longer window NaN."""
    events = budget.events
    ratio = f"{events.sum_of_bad('rate', window)}\n/ ({events.sum_of_all('rate', window)} > 0)\n"
    return _record(f"slo:sli_error:ratio_rate{window}", ratio, _labels(budget, sloth_window=window))


def _target(budget: Budget) -> Sequence[Rule]:
    return [
        _record("slo:objective:ratio", f"vector({plain(budget.good)})", _labels(budget)),
        _record("sloth_slo_info", "vector(1)", _labels(budget, sloth_objective=plain(100 * budget.good))),
    ]


def _record(name: str, expression: str, labels: Mapping[str, str] | None = None) -> Rule:
    return {"record": name, "expr": expression, **({"labels": labels} if labels else {})}


def _alert(budget: Budget, urgency: Urgency) -> Rule:
    labels = {key: value for key, value in _labels(budget).items() if key != "sloth_id"}
    return {
        "alert": budget.alert,
        "expr": _condition(budget, urgency),
        "labels": {"severity": urgency.severity, "sloth_severity": urgency.severity, **labels},
        "annotations": {
            "summary": budget.trouble[0].upper() + budget.trouble[1:],
            "description": _description(budget, urgency),
            "runbook_url": RUNBOOK,
        },
    }


def _condition(budget: Budget, urgency: Urgency) -> str:
    """Return the alert condition. Its value is the short window of the first burn."""
    one = f'{{sloth_id="{SERVICE}-{budget.objective.name}"}}'
    burns = []
    for burn in urgency.burns:
        limit = f"> on (sloth_id) {plain(burn.within(1 - budget.good))} * slo:error_budget:ratio"
        both = [f"    slo:sli_error:ratio_rate{window}{one} {limit}" for window in (burn.short, burn.long)]
        burns.append("\n  and\n".join(both))
    enough = f"slo:sli_events:increase{urgency.window}{one} >= {urgency.events}"
    return "((\n" + "\n) or (\n".join(burns) + f"\n))\nand on (sloth_id) {enough}\n"


def _description(budget: Budget, urgency: Urgency) -> str:
    share, period = "{{ $value | humanizePercentage }}", f"At this pace the error budget of {PERIOD_DAYS} days"
    if urgency is TICKET:
        return f"For a day or more, {budget.trouble}: {share} in the last hours. {period} is used up too early."
    days = ceil(PERIOD_DAYS / urgency.burns[-1].within(1 - budget.good))
    return f"For an hour or more, {budget.trouble}: {share} of the newest events. {period} lasts at most {days} days."


_OURS = f'{{sloth_service="{SERVICE}"}}'
_TO_BUDGET = f"/ on (sloth_id, sloth_service, sloth_slo) group_left () slo:error_budget:ratio{_OURS}"

# Rules shared by all objectives with a budget. They divide bad events by all events instead of averaging ratios, so
# that a quiet hour weighs less than a busy one.
SHARED_GROUPS: Sequence[Group] = [
    {
        "name": f"sloth-slo-meta-recordings-{SERVICE}",
        "rules": [
            _record("slo:error_budget:ratio", f"1 - slo:objective:ratio{_OURS}"),
            _record(
                "slo:time_period:days",
                f"{PERIOD_DAYS} * count by (sloth_id, sloth_service, sloth_slo) (slo:objective:ratio{_OURS})",
            ),
            _record(
                f"slo:sli_error:ratio_rate{PERIOD_DAYS}d",
                f"sum_over_time(slo:sli_error_events:rate5m{_OURS}[{PERIOD_DAYS}d])\n"
                f"/ (sum_over_time(slo:sli_events:rate5m{_OURS}[{PERIOD_DAYS}d]) > 0)\n",
                {"sloth_window": f"{PERIOD_DAYS}d"},
            ),
            _record("slo:current_burn_rate:ratio", f"slo:sli_error:ratio_rate5m{_OURS}\n{_TO_BUDGET}\n"),
            _record("slo:period_burn_rate:ratio", f"slo:sli_error:ratio_rate{PERIOD_DAYS}d{_OURS}\n{_TO_BUDGET}\n"),
            _record("slo:period_error_budget_remaining:ratio", f"1 - slo:period_burn_rate:ratio{_OURS}"),
        ],
    }
]
