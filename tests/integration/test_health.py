"""Tests the service over HTTP, as Prometheus, an orchestrator and people use it."""

import random
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.support.ingestion import (
    Outgoing,
    as_json,
    dialogues,
    environment_on,
    log_lines,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.producers import provenance
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
COUNTERS = {
    "rag_records_total",
    "rag_dead_letters_total",
    "rag_unknown_fields_total",
    "rag_rebalances_total",
    "rag_fenced_total",
    "rag_backpressure_seconds_total",
    "rag_dialogues_total",
    "rag_citations_total",
    "rag_tokens_total",
    "rag_cost_jpy_total",
    "rag_feedback_total",
    "rag_provenance_total",
}
OTHERS = {
    "rag_batch_rows_bucket",
    "rag_batch_write_seconds_bucket",
    "rag_event_delay_seconds_bucket",
    "rag_dialogue_latency_seconds_bucket",
    "rag_consumer_lag_records",
    "rag_consumer_lag_seconds",
    "rag_last_commit_timestamp_seconds",
    "rag_build_info",
    "rag_day_citation_rate",
    "rag_day_unique_users",
    "rag_day_latency_seconds",
    "rag_day_cost_jpy",
    "rag_slo_met",
    "rag_rollup_timestamp_seconds",
}


@pytest.fixture(scope="module")
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics and a database with some records of each kind."""
    with environment_on(stack, migrated_template, partitions=2) as made:
        chance = random.Random(1)
        good = [small_dialogue(chance, model_used='uncommon "model"\\\n', user_feedback=1) for _ in range(3)]
        good += [small_dialogue(chance, something_new=1, citations=[{"source": "s"}]) for _ in range(4)]
        records = [Outgoing(made.topics["dialogue"], as_json(event)) for event in good]
        records += [Outgoing(made.topics["provenance"], as_json(provenance(chance)))] * 2
        records += [Outgoing(made.topics["dialogue"], b"{")]
        send(stack.bootstrap_servers, records)
        yield made


@pytest.fixture(scope="module")
def service(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Return the service after it has read everything and computed the day."""
    with ServiceProcess(environment, tmp_path_factory.mktemp("health") / "log") as running:
        wait_for_records(environment, 10)
        eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0)
        running.wait_metric_above("rag_day_unique_users", 0)
        running.wait_metric("rag_records_total", 10)
        yield running


def scrape(service: ServiceProcess, accept: str) -> tuple[str, str]:
    """Return content type and body of /metrics."""
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers["Content-Type"], response.read().decode()


def samples(families: Iterator[Metric]) -> dict[str, list[Any]]:
    """Return the samples by name."""
    found: dict[str, list[Any]] = {}
    for family in families:
        assert family.documentation, f"{family.name} has no help text"
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_metrics_in_both_formats_have_the_names_of_the_contract(
    environment: Environment, service: ServiceProcess
) -> None:
    """Prometheus text by default, OpenMetrics on request; both can be parsed and are equal."""
    eventually(lambda: service.get("/metrics")[1].count("rag_consumer_lag_seconds{") == 4, message="the lag is shown")
    content_type, text = scrape(service, "*/*")
    assert content_type.startswith("text/plain")
    in_text = samples(iter(parse_text(text)))
    content_type, openmetrics = scrape(service, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert openmetrics.endswith("# EOF\n")
    in_openmetrics = samples(iter(parse_openmetrics(openmetrics)))  # type: ignore[no-untyped-call]
    for found in (in_text, in_openmetrics):
        assert found.keys() >= COUNTERS | OTHERS
        totals = dict.fromkeys(("inserted", "duplicate", "amended", "dead_lettered", "ignored"), 0.0)
        for sample in found["rag_records_total"]:
            totals[sample.labels["outcome"]] += sample.value
        assert totals == {"inserted": 8, "duplicate": 1, "amended": 0, "dead_lettered": 1, "ignored": 0}
        models = {sample.labels["model"] for sample in found["rag_dialogues_total"]}
        assert 'uncommon "model"\\\n' in models
        assert sum(sample.value for sample in found["rag_dialogues_total"]) == 7
        assert sum(sample.value for sample in found["rag_unknown_fields_total"]) == 4
        assert {sample.labels["value"] for sample in found["rag_feedback_total"]} == {"positive", "neutral", "negative"}
        assert {sample.labels["type"] for sample in found["rag_tokens_total"]} == {"prompt", "completion"}
        quantiles = {float(sample.labels["quantile"]) for sample in found["rag_day_latency_seconds"]}
        assert quantiles == {0.5, 0.95, 0.99}
        lags = {(sample.labels["topic"], sample.labels["partition"]) for sample in found["rag_consumer_lag_records"]}
        assert lags == {(topic, number) for topic in environment.topics.values() for number in ("0", "1")}
        assert all(
            "user" not in sample.labels and "session" not in sample.labels for one in found.values() for sample in one
        )


def test_the_day_gauges_are_the_newest_row(environment: Environment, service: ServiceProcess) -> None:
    """They are in seconds and percent, as their names say."""
    day = environment.query("SELECT * FROM rag_metrics_history ORDER BY date DESC LIMIT 1")[0]
    service.wait_metric("rag_day_unique_users", day["unique_users"])
    service.wait_metric("rag_day_citation_rate", float(day["citation_rate"]))
    service.wait_metric("rag_day_latency_seconds", pytest.approx(day["latency_p95"] / 1000), quantile="0.95")
    service.wait_metric("rag_day_cost_jpy", float(day["total_cost"]))
    for name, judged in day["slo_compliance"].items():
        met = service.metric("rag_slo_met", slo=name)
        assert met == judged["met"] if judged["met"] is not None else met != met


def test_the_lag_of_a_partition_is_removed_with_the_partition(
    environment: Environment, service: ServiceProcess, tmp_path: Path
) -> None:
    """A second replica takes half of them: each replica reports only its own partitions, and all are reported once."""
    with ServiceProcess(environment, tmp_path / "log") as second:
        second.wait_ready()

        def partitions(one: ServiceProcess) -> list[str]:
            lines = one.get("/metrics")[1].splitlines()
            return sorted(line.split("}")[0] for line in lines if line.startswith("rag_consumer_lag_records{"))

        def shared() -> bool:
            first, other = partitions(service), partitions(second)
            return len(first) == len(other) == 2 and not set(first) & set(other)

        eventually(shared, message="each replica has two partitions")
        assert second.stop() == 0
    eventually(lambda: service.get("/readyz")[0] == 200)


def test_the_page_for_people_shows_the_newest_day(service: ServiceProcess) -> None:
    """It is HTML with today's figures and links; an unknown path is 404."""
    status, page = service.get("/")
    assert status == 200
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "dialogues" in page
    assert "/metrics" in page
    service.wait_page("/nowhere", 404)


def test_without_the_schema_the_service_is_alive_not_ready_and_names_the_fix(
    stack: Servers, bootstrap_servers: str, tmp_path: Path
) -> None:
    """It waits, reports the missing tables once, and continues when the schema is migrated."""
    with environment_on(stack, None) as environment:
        records = dialogues(environment.topics["dialogue"], 20, seed=2)
        send(bootstrap_servers, records.values())
        with ServiceProcess(environment, tmp_path / "log") as service:
            eventually(lambda: service.metric("rag_write_retries_total", cause="schema") >= 4, timeout=30)
            service.wait_page("/healthz", 200)
            service.wait_check("database", "ragledger migrate up")
            service.wait_page("/metrics", 200)
            [said] = log_lines(tmp_path / "log", "database_unavailable")
            assert "ragledger migrate up" in said["problem"]
            assert environment.run("migrate", "up").returncode == 0
            service.wait_ready()
            wait_for_records(environment, len(records))
            assert len(log_lines(tmp_path / "log", "database_unavailable")) == 1


def test_the_page_reports_an_unavailable_database(tmp_path: Path) -> None:
    """It is 503 with a sentence, not an internal error with a traceback in the log."""
    environment = Environment("postgresql://u:geheim@127.0.0.1:9/x", "127.0.0.1:9", {})
    with ServiceProcess(environment, tmp_path / "log") as service:
        eventually(lambda: service.get("/healthz")[0] == 200, timeout=30)
        status, page = service.get("/")
        assert service.stop() == 0
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert "geheim" not in page + (tmp_path / "log").read_text()
    assert status == 503
    assert "database" in page


def test_an_old_schema_is_not_ready(stack: Servers, tmp_path: Path) -> None:
    """If the last migration is not applied, the answer has the command that applies it."""
    with environment_on(stack, None) as environment:
        assert environment.run("migrate", "up", "--to", "5").returncode == 0
        with ServiceProcess(environment, tmp_path / "log") as service:
            status, body = eventually(lambda: verdict(service), timeout=30)
            assert status == 503, body


def verdict(service: ServiceProcess) -> tuple[int, str] | None:
    """Return the body of /readyz once it is ready or waits for a migration."""
    status, body = service.get("/readyz")
    return (status, body) if status == 200 or "migrate up" in body else None
