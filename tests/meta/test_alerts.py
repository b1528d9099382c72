"""Tests the rules: each alert links to its runbook, the objectives equal those of the service, and each rule
has a test.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import yaml

from consumer.ingest import slo
from consumer.ingest.ports import Cause
from consumer.telemetry import metrics
from tests.meta.test_docs import anchors
from tests.support.compose import ROOT
from tests.support.pages import prose
from tests.support.prometheus import ALERTS, PROMETHEUS, RECORDS, RULES

OPERATIONS, MONITORING = ROOT / "docs" / "operations.md", ROOT / "docs" / "monitoring.md"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SLOS = sorted({rule["labels"]["sloth_slo"] for rule in RECORDS if rule["record"] == "slo:objective:ratio"})
EACH_ALERT = pytest.mark.parametrize(
    "alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}"
)


def recorded(record: str, name: str) -> dict[str, Any]:
    """Return the SLO rule with this record name."""
    (rule,) = [one for one in RECORDS if one["record"] == record and one["labels"]["sloth_slo"] == name]
    return rule


def objective(name: str) -> float:
    """Return the share of good events that an SLO asks for."""
    expression = recorded("slo:objective:ratio", name)["expr"]
    return float(expression.removeprefix("vector(").removesuffix(")"))


def expectations(member: str) -> Iterator[dict[str, Any]]:
    """Return the expectations of this sort in the files for `promtool test rules`."""
    for file in sorted((PROMETHEUS / "tests").glob("*.yml")):
        for test in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            yield from test.get(member, ())


# ── the text of an alert ─────────────────────────────────────────────────────────────────────────────────────────────


@EACH_ALERT
def test_every_alert_states_the_problem_and_the_action(alert: dict[str, Any]) -> None:
    """It has a one-line summary, a description, a severity, and a section of the runbook that names it."""
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert len(annotations["summary"]) < 80
    assert annotations["description"].endswith(".")
    assert alert["labels"]["severity"] in ("page", "ticket")
    file, _, anchor = annotations["runbook_url"].partition("#")
    assert ROOT / file == OPERATIONS
    assert anchor in anchors(OPERATIONS)
    assert f"`{alert['alert']}`" in section(anchor)


def section(anchor: str) -> str:
    """Return the text under a heading of the runbook."""
    parts = re.split(r"^## (.+)$", OPERATIONS.read_text("utf-8"), flags=re.MULTILINE)
    texts = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"): text
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    return texts[anchor]


def test_every_alert_is_listed() -> None:
    """The page on monitoring has each alert with its severity, and no other."""
    rows = re.findall(r"^\| `(Ragledger\w+)` \| (page|ticket) \|", prose(MONITORING), re.MULTILINE)
    assert sorted(rows) == sorted((alert["alert"], alert["labels"]["severity"]) for alert in ALERTS)


# ── objectives ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_objectives_are_the_built_in_ones() -> None:
    """They are compared by name. The cost of an answer has a record instead, because it is not a share of events."""
    priced = {rule["labels"]["slo"] for rule in RECORDS if "slo" in rule.get("labels", {})}
    assert priced == {"cost_per_answer"}
    assert {*SLOS, *priced} == {one.name for one in slo.DEFAULT_OBJECTIVES}
    assert 'le="3.0"' in recorded("slo:sli_error:ratio_rate5m", "latency_p95")["expr"]
    assert 'le="60.0"' in recorded("slo:sli_error:ratio_rate5m", "freshness")["expr"]


def test_the_page_on_monitoring_has_the_targets() -> None:
    """It has the target of each objective, and of no other."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| ([\d.]+) % \|$", prose(MONITORING), re.MULTILINE)
    assert sorted(rows) == sorted((name, f"{100 * objective(name):g}") for name in SLOS)


@pytest.mark.parametrize(
    ("bounds", "unit", "per_second"), [(metrics.LATENCY_SECONDS, "ms", 1000), (metrics.DELAY_SECONDS, "s", 1)]
)
def test_the_page_on_monitoring_has_the_bounds(bounds: Sequence[float], unit: str, per_second: int) -> None:
    """It has the bounds of each histogram that a percentile objective can use."""
    *most, last = [f"{per_second * bound:g}" for bound in bounds]
    assert f" {', '.join(most)} and {last} {unit}" in " ".join(prose(MONITORING).split())


@pytest.mark.parametrize("name", SLOS)
def test_an_objective_is_the_same_everywhere(name: str) -> None:
    """The text for people agrees with the number, and every label with the SLO."""
    assert float(recorded("sloth_slo_info", name)["labels"]["sloth_objective"]) == pytest.approx(100 * objective(name))
    own = [rule for rule in RULES if rule.get("labels", {}).get("sloth_slo") == name]
    assert all(rule["labels"].get("sloth_id", f"ragledger-{name}") == f"ragledger-{name}" for rule in own)
    assert set(re.findall(r'sloth_id="([^"]+)"', str([rule["expr"] for rule in own]))) == {f"ragledger-{name}"}


@pytest.mark.parametrize("name", SLOS)
def test_the_windows_differ_only_in_their_length(name: str) -> None:
    """Each ratio equals that of 5 minutes with another window, in the expression and in the label."""
    model = recorded("slo:sli_error:ratio_rate5m", name)
    for window in WINDOWS:
        rule = recorded(f"slo:sli_error:ratio_rate{window}", name)
        assert rule["expr"] == model["expr"].replace("[5m]", f"[{window}]")
        assert rule["labels"] == model["labels"] | {"sloth_window": window}


@pytest.mark.parametrize("name", SLOS)
def test_every_burn_rate_can_be_reached(name: str) -> None:
    """If every event were bad, each condition would hold; faster conditions need more."""
    budget = 1 - objective(name)
    alerts = [alert for alert in ALERTS if alert["labels"].get("sloth_slo") == name]
    assert [alert["labels"]["severity"] for alert in alerts] == ["page", "ticket"]
    conditions = [
        (window, float(factor))
        for alert in alerts
        for window, factor in re.findall(r"ratio_rate(\w+)\{[^}]*\} > on \(sloth_id\) ([\d.]+) \*", alert["expr"])
    ]
    factors = [factor for _, factor in conditions]
    assert [window for window, _ in conditions] == ["5m", "1h", "30m", "6h", "2h", "1d", "6h", "3d"]
    assert factors[::2] == factors[1::2]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] * budget < 1
    assert factors[-1] == 1


def test_every_cause_of_a_retry_is_in_one_alert() -> None:
    """Only the wait for the turn is in no alert, because it is not a fault."""
    expressions = " ".join(alert["expr"] for alert in ALERTS)
    causes = [cause for listed in re.findall(r'cause=~"([^"]+)"', expressions) for cause in listed.split("|")]
    assert sorted([*causes, "turn"]) == sorted(Cause)


# ── tests ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@EACH_ALERT
def test_every_alert_is_tested_for_firing_and_for_silence(alert: dict[str, Any]) -> None:
    """The test of the firing alert includes its labels and its text."""
    severity = alert["labels"]["severity"]
    cases = [
        [one for one in case["exp_alerts"] if one["exp_labels"]["severity"] == severity]
        for case in expectations("alert_rule_test")
        if case["alertname"] == alert["alert"]
    ]
    assert any(cases)
    assert not all(cases)
    assert all(one["exp_annotations"].keys() == alert["annotations"].keys() for case in cases for one in case)


def test_every_recording_rule_is_tested_for_its_value() -> None:
    """If each SLO has the rule, it is tested for each SLO."""
    samples = [
        (case["expr"], sample["labels"]) for case in expectations("promql_expr_test") for sample in case["exp_samples"]
    ]
    for rule in RECORDS:
        name = rule.get("labels", {}).get("sloth_slo", rule.get("labels", {}).get("slo", ""))
        window = rule.get("labels", {}).get("sloth_window", "")
        assert any(
            matches(rule["record"], expression) and name in labels and window in labels
            for expression, labels in samples
        ), rule


def matches(record: str, expression: str) -> bool:
    """Return whether a test's expression selects the record, by its name or by a pattern."""
    patterns = re.findall(r'__name__=~"([^"]+)"', expression)
    return record in re.findall(r"[\w:]+", expression) or any(re.fullmatch(one, record) for one in patterns)
