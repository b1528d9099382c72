"""Tests that the bulk histogram equals the client library's histogram."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from consumer.telemetry.histogram import BulkHistogram

BOUNDS = (0.1, 0.5, 1.0, 2.5, 10.0)
VALUES = st.floats(-1, 20, allow_nan=False) | st.sampled_from(BOUNDS)


def samples(registry: CollectorRegistry) -> dict[tuple[str, ...], float]:
    """Return every sample of a scrape."""
    found = [sample for family in registry.collect() for sample in family.samples]
    return {(one.name, *sorted(one.labels.values())): one.value for one in found if "created" not in one.name}


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.lists(VALUES, max_size=6)), max_size=5))
def test_batches_count_like_single_observations(batches: list[tuple[str, list[float]]]) -> None:
    """Buckets, bounds and count are equal; the sum is equal except for the order of additions."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("rag_x_seconds", "X.", ("model",), BOUNDS)
    ours.register(bulk)
    single = Histogram("rag_x_seconds", "X.", ("model",), buckets=BOUNDS, registry=theirs)
    for label, values in batches:
        bulk.labels(label).observe(*values)
        child = single.labels(label)
        for value in values:
            child.observe(value)
    assert samples(ours) == pytest.approx(samples(theirs))


def test_without_labels_it_exists_from_the_start() -> None:
    """It starts at zero, so that Prometheus sees its first increase."""
    registry = CollectorRegistry()
    registry.register(BulkHistogram("rag_x_seconds", "X.", (), BOUNDS))
    assert registry.get_sample_value("rag_x_seconds_count") == 0
    assert registry.get_sample_value("rag_x_seconds_bucket", {"le": "+Inf"}) == 0
