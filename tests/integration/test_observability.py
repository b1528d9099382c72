"""Tests rules and dashboards on a real Prometheus with two real replicas, and on a real PostgreSQL."""

import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from consumer.devstack.workspace import Workspace
from tests.support import grafana, otlp
from tests.support.ingestion import Outgoing, as_json, environment_on, send
from tests.support.producers import dialogue, provenance, random_uuid
from tests.support.prometheus import ALERTS, RECORDS, RULES, PrometheusServer
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

KINDS = ("dialogue", "provenance", "feedback", "plugin", "otlp_spans")
TRACES = 3
KNOWN, FORBIDDEN, OVERDUE, UNKNOWN = (f"https://library.example/{name}" for name in ("a", "b", "c", "elsewhere"))
PARTITIONS = 4
NOW = datetime.now(UTC)
# Series that exist only if there is a problem.
ONLY_IN_TROUBLE = {"rag_stopped_partitions", "rag_leaderless_partitions", "rag_kafka_refused"}
NAMES = sorted({rule["record"] for rule in RECORDS})
SELECTOR = re.compile(r"\b(?:rag_\w+|(?:slo|topic|instance):[\w:]+|up)(?:\{[^}]*\})?")


class Observed(NamedTuple):
    """A database with two replicas that write to it, and a Prometheus that scrapes them."""

    environment: Environment
    prometheus: PrometheusServer


def good_dialogues(chance: random.Random, count: int) -> list[dict[str, Any]]:
    """Return dialogues that meet every objective: each cites and is quick, and most are liked."""
    return [
        dialogue(
            chance,
            model_used=f"model-{n % 3}",
            citations=[{"source": source} for source in (KNOWN, FORBIDDEN, OVERDUE, UNKNOWN)],
            latency_ms=chance.randint(50, 2500),
            user_feedback=-1 if n % 20 == 0 else 1 - n % 2,
        )
        for n in range(count)
    ]


def pieces(chance: random.Random) -> list[dict[str, Any]]:
    """Return provenance of every sort that the dashboards select."""
    a_year_ago = NOW - timedelta(days=365)
    return [
        provenance(chance, source_uri=KNOWN, external_share_consent=True, last_verified_at=NOW.isoformat()),
        provenance(chance, source_uri=FORBIDDEN, permission_flag=False, license_type="proprietary"),
        provenance(chance, source_uri=OVERDUE, acquired_at="2020-01-01T00:00:00Z", retention_years=1),
        provenance(chance, acquired_at=(a_year_ago + timedelta(days=9)).isoformat(), retention_years=1),
        provenance(chance, license_type="unknown", last_verified_at=a_year_ago.isoformat()),
    ]


def amendments(chance: random.Random, first: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return feedback that can be applied, feedback that waits, and a report of a plugin."""
    dialogues = (first["id"], str(random_uuid(chance)))
    given = [{"dialogue_id": one, "user_feedback": 1, "given_at": NOW.isoformat()} for one in dialogues]
    report = {"name": "press", "source": "https://press.example", "version": "1", "capabilities": {"list": True}}
    return {"feedback": given, "plugin": [report | {"health_status": "healthy", "reported_at": NOW.isoformat()}]}


def recent_trace(chance: random.Random) -> bytes:
    """Return a record with a trace that has just ended."""
    _, spans = otlp.traced(chance)
    later = int(NOW.timestamp() * 1e9) - max(span.end_time_unix_nano for span in spans)
    for span in spans:
        span.start_time_unix_nano += later
        span.end_time_unix_nano += later
    return otlp.record(*spans)


def records_of_every_outcome(environment: Environment, chance: random.Random) -> list[Outgoing]:
    """Return records of every outcome, with few dead letters."""
    dialogues = good_dialogues(chance, 90)
    dialogues[0]["new_field"] = 1
    again = dialogues[:5]
    values = [as_json(event) for event in dialogues + again] + [b"not JSON"]
    events = {"provenance": pieces(chance), **amendments(chance, dialogues[0])}
    traces = [recent_trace(chance) for _ in range(TRACES)]
    published = {"dialogue": values, "otlp_spans": traces} | {
        kind: list(map(as_json, some)) for kind, some in events.items()
    }
    return [
        Outgoing(environment.topics[kind], value, partition=n % PARTITIONS)
        for kind, some in published.items()
        for n, value in enumerate(some)
    ]


def publish(observed: Observed, seed: int) -> None:
    """Publish a records_of_every_outcome, and wait until Prometheus has scraped all its counts."""
    environment, prometheus = observed
    folded = (prometheus.value("sum(rag_traces_total)") or 0) + TRACES
    before = prometheus.value("sum(rag_records_total)") or 0
    records = records_of_every_outcome(environment, random.Random(seed))
    send(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], records)
    wanted = before + len(records)
    eventually(lambda: prometheus.value("sum(rag_records_total)") == wanted, message=f"{wanted} records are scraped")
    eventually(
        lambda: (prometheus.value("sum(rag_traces_total)") or 0) >= folded,
        message=f"{folded} folded traces are scraped",
    )


@pytest.fixture(scope="module")
def observed(stack: Servers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """Run two replicas that write two waves, and a Prometheus that has applied its rules to both."""
    log = tmp_path_factory.mktemp("observed") / "log"
    with ExitStack() as running:
        environment = running.enter_context(
            environment_on(stack, migrated_template, partitions=PARTITIONS, kinds=KINDS)
        )
        replicas = [running.enter_context(ServiceProcess(environment, log)) for _ in range(2)]
        workspace = running.enter_context(Workspace())
        prometheus = PrometheusServer(workspace, {"ragledger": [f"127.0.0.1:{one.port}" for one in replicas]})
        prometheus.start()
        shared = "min(rag_assigned_partitions) > 0 and count(rag_assigned_partitions) == 2"
        eventually(lambda: prometheus.query(shared), message=shared)
        found = Observed(environment, prometheus)
        # The first scraped value of a counter is no increase, so a second records_of_every_outcome is needed.
        publish(found, seed=1)
        publish(found, seed=2)
        eventually(lambda: all_applied(prometheus), message="every rule is applied")
        yield found


def all_applied(prometheus: PrometheusServer) -> bool:
    """Return whether every rule was evaluated after the last record; budget rules depend on the others."""
    rules = prometheus.rules()
    known = len(rules) == len(RULES) and all(rule["health"] != "unknown" for rule in rules)
    last = {"slo:period_error_budget_remaining:ratio": 4, "slo:cost_per_answer_jpy:mean1h": 1}
    are_complete = known and all(len(prometheus.query(record)) == count for record, count in last.items())
    return are_complete and all(has_value(prometheus, record) for record in NAMES)


def has_value(prometheus: PrometheusServer, record: str) -> bool:
    """Return whether the record has series, and each a value. One rule of a group may have seen a newer sample than
    another.
    """
    found = prometheus.query(record)
    return bool(found) and all(value == value for _, value in found)


def test_every_rule_is_evaluated_without_an_error(observed: Observed) -> None:
    """Prometheus reports the health of each rule."""
    unhealthy = {rule["name"]: rule.get("lastError") for rule in observed.prometheus.rules() if rule["health"] != "ok"}
    assert unhealthy == {}


def test_every_recording_rule_gives_a_value(observed: Observed) -> None:
    """No series is missing or without a value."""
    assert [record for record in NAMES if not has_value(observed.prometheus, record)] == []


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_every_alert_selects_existing_series(observed: Observed, alert: dict[str, Any]) -> None:
    """So it is silent because there is no problem, and not because data is missing."""
    for selector in SELECTOR.findall(alert["expr"]):
        if selector not in ONLY_IN_TROUBLE:
            assert observed.prometheus.query(selector), selector


def test_only_dead_letters_cause_an_alert(observed: Observed) -> None:
    """The records that could not be stored cause one; nothing else does."""
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    eventually(lambda: observed.prometheus.query(firing), message="an alert fires")
    assert [labels["alertname"] for labels, _ in observed.prometheus.query(firing)] == ["RagledgerDeadLetters"]


@pytest.mark.parametrize("query", grafana.promql(), ids=lambda query: query.place)
def test_every_query_of_prometheus_returns_data(observed: Observed, query: grafana.Query) -> None:
    """None fails, none is empty, and each label of the legend exists."""
    found = observed.prometheus.query(query.text)
    assert found
    for label in re.findall(r"{{(\w+)}}", query.target["legendFormat"]):
        assert all(label in labels for labels, _ in found)


@pytest.mark.parametrize(("metric", "label"), sorted(set(grafana.label_queries())))
def test_every_variable_has_values(observed: Observed, metric: str, label: str) -> None:
    """There is a value to choose."""
    assert observed.prometheus.label_values(metric, label)


@pytest.fixture(scope="module")
def rows_of(observed: Observed) -> Iterator[Any]:
    """Run a query of a dashboard in Grafana's role, after every day is computed. Return column names and rows."""
    with grafana.as_grafana(observed.environment.dsn) as connection:

        def run(statement: str) -> tuple[list[str], list[dict[str, Any]]]:
            cursor = connection.execute(statement.encode())
            assert cursor.description
            return [column.name for column in cursor.description], cursor.fetchall()

        eventually(lambda: run("SELECT date FROM rag_metrics_history")[1], message="a day is computed")
        yield run


@pytest.mark.parametrize("query", grafana.sql(), ids=lambda query: query.place)
def test_every_query_of_postgresql_returns_data(rows_of: Any, query: grafana.Query) -> None:
    """Each runs in Grafana's role, returns rows, and has the columns of its panel."""
    columns, rows = rows_of(grafana.with_time(query.text))
    assert rows
    named = {one["matcher"]["options"] for one in query.panel["fieldConfig"]["overrides"]}
    assert named <= set(columns) | {row.get("metric") for row in rows}
    assert query.panel["options"].get("xField", columns[0]) in columns
    if query.target["format"] == "time_series":
        assert all(isinstance(row["time"], datetime) for row in rows)
