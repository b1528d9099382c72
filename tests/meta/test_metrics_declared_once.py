"""Tests that every metric is declared once, in one file, with a name that follows Prometheus' conventions."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from prometheus_client import Counter, Gauge

from consumer.telemetry.metrics import ALL, Metric, Metrics, Quantiles

ROOT = Path(__file__).parents[2]
# The public names, with the labels that dashboards and alerts use.
CONTRACT = {
    "rag_records_total": ("topic", "outcome"),
    "rag_batch_rows": (),
    "rag_batch_write_seconds": (),
    "rag_event_delay_seconds": (),
    "rag_consumer_lag_records": ("topic", "partition"),
    "rag_consumer_lag_seconds": None,
    "rag_dead_letters_total": ("topic", "reason"),
    "rag_unknown_fields_total": ("topic",),
    "rag_rebalances_total": (),
    "rag_fenced_total": (),
    "rag_write_retries_total": ("cause",),
    "rag_backpressure_seconds_total": (),
    "rag_last_commit_timestamp_seconds": (),
    "rag_build_info": None,
    "rag_dialogues_total": ("model", "cited"),
    "rag_citations_total": ("model",),
    "rag_dialogue_latency_seconds": ("model",),
    "rag_tokens_total": ("model", "type"),
    "rag_cost_jpy_total": ("model",),
    "rag_feedback_total": ("value",),
    "rag_provenance_total": ("content_type", "license_type"),
    "rag_day_citation_rate": (),
    "rag_day_unique_users": (),
    "rag_day_latency_seconds": ("quantile",),
    "rag_day_cost_jpy": (),
    "rag_slo_met": ("slo",),
    "rag_rollup_timestamp_seconds": (),
}
MILLI_OR_PERCENT = re.compile(r"(milliseconds|_ms|minutes|hours|kilobytes|_percent)(_|$)")
EVERY = pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)


def declared(name: str) -> Metric:
    """Return the metric with this name."""
    (metric,) = (metric for metric in ALL if metric.name == name)
    return metric


@pytest.mark.parametrize(("name", "labels"), CONTRACT.items())
def test_the_contract_s_metrics_exist(name: str, labels: tuple[str, ...] | None) -> None:
    """They have the names and labels of the contract."""
    assert labels is None or declared(name).labels == labels


def test_names_are_declared_once() -> None:
    """No two declarations have one name."""
    names = [metric.name for metric in ALL]
    assert sorted(names) == sorted(set(names))


@EVERY
def test_names_follow_the_conventions(metric: Metric) -> None:
    """Our prefix, lower case, base units; counters, and only counters, end in _total."""
    assert re.fullmatch(r"rag_[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert "__" not in metric.name
    assert (metric.type is Counter) == metric.name.endswith("_total")
    assert not MILLI_OR_PERCENT.search(metric.name)
    assert not metric.name.endswith(("_count", "_sum", "_bucket", "_created"))


@EVERY
def test_labels_are_bounded_and_never_a_person(metric: Metric) -> None:
    """No label grows with users, sessions, records or texts."""
    for label in metric.labels:
        assert re.fullmatch(r"[a-z][a-z_]*", label)
        assert label != "le"
        assert label != "quantile" or metric.type is Quantiles
        assert not re.search(r"user|session|query|offset|uri|_id$|^id$", label)


@EVERY
def test_every_metric_has_a_description(metric: Metric) -> None:
    """It is a sentence: documentation is generated from it."""
    assert metric.meaning.endswith(".")
    assert len(metric.meaning.split()) >= 3


@EVERY
def test_histograms_have_bounds_in_order(metric: Metric) -> None:
    """Each histogram has its own; infinity is added automatically."""
    if metric.type in (Counter, Gauge, Quantiles):
        assert metric.buckets == ()
    else:
        assert len(metric.buckets) >= 5
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_each_instance_has_a_registry_of_its_own() -> None:
    """Two services in one process, as in tests, do not share series."""
    first, second = Metrics(), Metrics()
    first.counter(declared("rag_fenced_total")).inc()
    assert first.registry.get_sample_value("rag_fenced_total") == 1
    assert second.registry.get_sample_value("rag_fenced_total") == 0


def test_a_scrape_has_exactly_the_declared_metrics() -> None:
    """There are no other families."""
    scraped = {family.name for family in Metrics().registry.collect()}
    assert scraped == {metric.name.removesuffix("_total") for metric in ALL}


def test_no_other_file_makes_metrics() -> None:
    """One file declares them all."""
    makers = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}
    found = []
    for path in sorted((ROOT / "consumer").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = isinstance(node, ast.ImportFrom) and node.module == "prometheus_client"
            if imported and makers & {alias.name for alias in node.names}:  # type: ignore[attr-defined]
                found.append(path.relative_to(ROOT).as_posix())
    assert found == ["consumer/telemetry/metrics.py"]
