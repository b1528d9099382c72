"""Dashboards and rules speak of metrics and sources that exist."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from consumer.adapters.histogram import BulkHistogram
from consumer.adapters.metrics import ALL
from tests.compose import ROOT

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = [json.loads(file.read_text("utf-8")) for file in sorted((GRAFANA / "dashboards").glob("*.json"))]
RULES = [
    rule
    for file in sorted((ROOT / "deploy" / "prometheus").glob("rules/*.yml"))
    for group in yaml.safe_load(file.read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
# What Prometheus adds to each series, and what it says by itself.
TARGET_LABELS = {"job", "instance"}
WORDS = {"and", "or", "unless", "bool", "offset"}


def declared() -> dict[str, set[str]]:
    """Every series there is, with its labels."""
    series: dict[str, set[str]] = {"up": set()} | {rule["record"]: set() for rule in RULES if "record" in rule}
    for metric in ALL:
        names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        for name in names if metric.type is BulkHistogram else [metric.name]:
            series[name] = {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}
    return series


def members(value: Any, name: str) -> Iterator[Any]:
    """The members of that name, however deep."""
    if isinstance(value, dict):
        yield from ([value[name]] if name in value else ())
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from members(one, name)


def expressions() -> list[str]:
    return [str(one) for one in members([DASHBOARDS, RULES], "expr")]


def selections(expression: str) -> list[tuple[str, set[str]]]:
    """The series of a PromQL expression, each with the labels that select it; labels to group by have no name."""
    text = re.sub(r'"[^"]*"|\[[^]]*\]', "", expression)
    grouping = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    grouped = [("", set(re.findall(r"\w+", labels))) for labels in re.findall(grouping, text)]
    selected = re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?", re.sub(grouping, "", text))
    matched = [(name, set(re.findall(r"(\w+)\s*[=!]", labels))) for name, labels in selected if name not in WORDS]
    return grouped + matched


def test_there_are_dashboards_with_queries() -> None:
    """The tests below have something to look at."""
    assert len(expressions()) > 20


@pytest.mark.parametrize("expression", expressions())
def test_every_query_asks_for_what_is_declared(expression: str) -> None:
    """Each series is a declared metric or the record of a rule, each label one of its own."""
    series = declared()
    found = selections(expression)
    names = [name for name, _ in found if name]
    assert names
    assert set(names) - series.keys() == set()
    recorded = any(":" in name for name in names)
    for name, labels in found:
        own = series[name] if name else set().union(*(series[other] for other in names))
        assert recorded or labels <= own | TARGET_LABELS


def test_every_query_goes_to_a_source_that_is_provisioned() -> None:
    """The dashboards name their sources by the identifiers that Grafana is given."""
    file = GRAFANA / "provisioning" / "datasources" / "ragledger.yml"
    provisioned = {(one["type"], one["uid"]) for one in yaml.safe_load(file.read_text())["datasources"]}
    asked = {(one["type"], one["uid"]) for one in members(DASHBOARDS, "datasource")}
    assert asked == provisioned


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["uid"])
def test_panels_have_a_place_of_their_own(dashboard: dict[str, Any]) -> None:
    """No two panels share a number or a place, and none is wider than the page."""
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard["uid"])
def test_every_panel_has_a_title(dashboard: dict[str, Any]) -> None:
    """A panel says what it shows."""
    assert all(panel["title"] for panel in dashboard["panels"])
