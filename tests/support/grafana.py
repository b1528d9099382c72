"""The provisioned dashboards, with their queries as Grafana sends them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import DictRow, dict_row

from tests.support.compose import ROOT, load_compose, load_services

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    file.name: json.loads(file.read_text("utf-8")) for file in sorted((GRAFANA / "dashboards").glob("*.json"))
}
# Longer than the 4 s that follow from the scrape interval of the tests, to include earlier records.
RATE_INTERVAL = "1m"
_LABEL_VALUES = re.compile(r"label_values\((\w+), (\w+)\)")


class Query(NamedTuple):
    """One query of a panel."""

    place: str
    text: str
    target: dict[str, Any]
    panel: dict[str, Any]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels without the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The template variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def label_queries() -> Iterator[tuple[str, str]]:
    """Return the metric and label from which each query variable takes its values."""
    for dashboard in DASHBOARDS.values():
        for variable in variables(dashboard).values():
            if variable["type"] == "query":
                found = _LABEL_VALUES.fullmatch(variable["definition"])
                assert found, variable["definition"]
                yield found[1], found[2]


def promql() -> list[Query]:
    """Return every PromQL query with its variables set to everything."""
    return [query._replace(text=_with_variables(query.text, query.place)) for query in _queries("expr")]


def sql() -> list[Query]:
    """Return every SQL query with its macros unchanged, because their values move with the clock."""
    return list(_queries("rawSql"))


def _queries(member: str) -> Iterator[Query]:
    for file, dashboard in DASHBOARDS.items():
        for panel in panels(dashboard):
            for target in panel["targets"]:
                if member in target:
                    yield Query(f"{file}: {panel['title']} {target['refId']}", target[member], target, panel)


def _with_variables(expression: str, place: str) -> str:
    dashboard = DASHBOARDS[place.split(":")[0]]
    text = expression.replace("$__rate_interval", RATE_INTERVAL)
    for name, variable in variables(dashboard).items():
        text = text.replace(f"${name}", variable.get("allValue", ""))
    assert "$" not in text, text
    return text


def with_time(statement: str) -> str:
    """Return the statement as Grafana sends it for the last 30 days."""
    until = datetime.now(UTC)
    since = f"'{until - timedelta(days=30):%Y-%m-%dT%H:%M:%SZ}'"
    to = f"'{until:%Y-%m-%dT%H:%M:%SZ}'"
    text = statement.replace("$__timeFrom()", since).replace("$__timeTo()", to)
    text = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN {since} AND {to}", text)
    assert "$" not in text, text
    return text


@contextmanager
def as_grafana(dsn: str) -> Iterator["psycopg.Connection[DictRow]"]:
    """Connect in the role that the compose file creates for Grafana."""
    compose = load_compose()["configs"]["postgres-reader"]["content"]
    password = load_services()["grafana"]["environment"]["POSTGRES_READER_PASSWORD"]
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(compose)
        try:
            with psycopg.connect(
                dsn, user="reader", password=password, autocommit=True, row_factory=dict_row
            ) as connection:
                yield connection
        finally:
            owner.execute("DROP ROLE reader")
