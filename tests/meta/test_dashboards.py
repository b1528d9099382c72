"""Tests that dashboards and rules use existing metrics and data sources."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from consumer.telemetry.histogram import BulkHistogram
from consumer.telemetry.metrics import ALL
from tests.support.compose import load_services
from tests.support.grafana import DASHBOARDS, GRAFANA, label_queries, panels, variables
from tests.support.prometheus import RULES

EACH = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)
# Labels that Prometheus adds to each series, and its own series.
TARGET_LABELS = {"job", "instance"}
WORDS = {"and", "or", "unless", "bool", "offset"}


def declared() -> dict[str, set[str]]:
    """Return every existing series with its labels."""
    series: dict[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
    series |= {rule["record"]: set(rule.get("labels", ())) for rule in RULES if "record" in rule}
    for metric in ALL:
        names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        for name in names if metric.type is BulkHistogram else [metric.name]:
            series[name] = {*metric.labels, *(["le"] if name.endswith("_bucket") else [])}
    return series


def members(value: Any, name: str) -> Iterator[Any]:
    """Return the members with that name at any depth."""
    if isinstance(value, dict):
        yield from ([value[name]] if name in value else ())
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from members(one, name)


def expressions() -> list[str]:
    """Return the expressions of the dashboards and the rules, except constants."""
    found = map(str, members([list(DASHBOARDS.values()), RULES], "expr"))
    return [one for one in found if not one.startswith("vector(")]


def selections(expression: str) -> list[tuple[str, set[str]]]:
    """Return the series of a PromQL expression with their labels; grouping labels have no series."""
    text = re.sub(r'"[^"]*"|\[[^]]*\]', "", expression)
    grouping = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"
    grouped = [("", set(re.findall(r"\w+", labels))) for labels in re.findall(grouping, text)]
    selected = re.findall(r"\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?", re.sub(grouping, "", text))
    matched = [(name, set(re.findall(r"(\w+)\s*[=!]", labels))) for name, labels in selected if name not in WORDS]
    return grouped + matched


def test_there_are_dashboards_with_queries() -> None:
    """Without this, the tests below could pass without a query."""
    assert len(expressions()) > 20


@pytest.mark.parametrize("expression", expressions())
def test_every_query_uses_declared_names(expression: str) -> None:
    """Each series is a declared metric or a recorded rule, with labels of its own."""
    series = declared()
    found = selections(expression)
    names = [name for name, _ in found if name]
    assert names
    assert set(names) - series.keys() == set()
    recorded = any(":" in name for name in names)
    for name, labels in found:
        own = series[name] if name else set().union(*(series[other] for other in names))
        assert recorded or labels <= own | TARGET_LABELS


@EACH
def test_every_query_uses_a_provisioned_source(dashboard: dict[str, Any]) -> None:
    """Sources are variables of the right type, and by default the provisioned ones."""
    file = GRAFANA / "provisioning" / "datasources" / "ragledger.yml"
    provisioned = {(one["type"], one["uid"]) for one in yaml.safe_load(file.read_text())["datasources"]}
    sources = [one for one in variables(dashboard).values() if one["type"] == "datasource"]
    assert {(one["query"], one["current"]["value"]) for one in sources} == provisioned
    asked = {(one["type"], one["uid"]) for one in members([dashboard["panels"], dashboard["templating"]], "datasource")}
    assert asked == {(one["query"], f"${{{one['name']}}}") for one in sources}


def test_variables_use_declared_names() -> None:
    """Each takes its values from a label of a metric; by default everything is selected."""
    series = declared()
    assert all(label in series[metric] | TARGET_LABELS for metric, label in label_queries())
    chosen = [
        one for dashboard in DASHBOARDS.values() for one in variables(dashboard).values() if one["type"] == "query"
    ]
    assert all(one["multi"] and one["includeAll"] and one["current"]["value"] == ["$__all"] for one in chosen)


@EACH
def test_a_replica_can_be_selected(dashboard: dict[str, Any]) -> None:
    """Every query of the service's own series uses the selection; recorded rules have no replica."""
    own = [expression for expression in members(dashboard["panels"], "expr") if "rag_" in expression]
    assert own
    assert "instance" in variables(dashboard)
    for expression in own:
        assert expression.count('instance=~"$instance"') == len(re.findall(r"\brag_\w+", expression))


@EACH
def test_every_variable_is_used(dashboard: dict[str, Any]) -> None:
    """No selection is without effect."""
    text = str(dashboard["panels"])
    assert [name for name in variables(dashboard) if f"${name}" not in text and f"${{{name}}}" not in text] == []


@EACH
def test_rates_follow_the_zoom(dashboard: dict[str, Any]) -> None:
    """A rate is over $__rate_interval, for any time range and scrape interval."""
    ranges = re.findall(r"\[[^]]*\]", " ".join(members(dashboard["panels"], "expr")))
    assert set(ranges) == {"[$__rate_interval]"}


@EACH
def test_panels_have_unique_places(dashboard: dict[str, Any]) -> None:
    """No two panels share a number or a place, and none is wider than the page."""
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in everything)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24


@EACH
def test_every_panel_has_a_description(dashboard: dict[str, Any]) -> None:
    """It has a title that is unique in its row, a description in sentences, and a query."""
    assert all(panel["title"] for panel in dashboard["panels"])
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@EACH
def test_every_number_has_a_unit(dashboard: dict[str, Any]) -> None:
    """Graphs and figures have one; table columns have one unless they are counts."""
    units = {"currencyJPY", "ms", "none", "percent", "percentunit", "recps", "s", "short", "wps"}
    for panel in panels(dashboard):
        if panel["type"] not in ("table", "heatmap", "status-history"):
            assert panel["fieldConfig"]["defaults"]["unit"] in units, panel["title"]


def test_the_dashboards_have_permanent_names() -> None:
    """So bookmarks and links stay valid; each dashboard links to the others by their tag."""
    assert {dashboard["uid"] for dashboard in DASHBOARDS.values()} == {
        "ragledger-ingestion",
        "ragledger-provenance",
        "ragledger-quality",
    }
    for dashboard in DASHBOARDS.values():
        (link,) = dashboard["links"]
        assert set(link["tags"]) <= set(dashboard["tags"])
        assert link["type"] == "dashboards"
        assert dashboard["id"] is None


def test_the_compose_file_opens_one_of_them() -> None:
    """The home page of Grafana is a provisioned dashboard."""
    home = load_services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.removeprefix("/etc/grafana/dashboards/") in DASHBOARDS
