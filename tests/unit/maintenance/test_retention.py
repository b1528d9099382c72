"""Retention without Kafka and PostgreSQL: where a topic has to be read back from, the job, what is told."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from consumer.errors import OperationError
from consumer.ingest.ports import Cause, SourceError, Unavailable
from consumer.maintenance.retention import Done, RetentionJob
from consumer.maintenance.retention.notices import _earliest
from consumer.telemetry.metrics import Metrics
from consumer.telemetry.retention import PrometheusRetentionTelemetry
from tests.support.fakes import ManualClock


def attempt(**topics: dict[int, int]) -> dict[str, Any]:
    """A notice that was attempted when these topics ended there."""
    return {
        "sent_from": json.dumps({topic: {str(n): end for n, end in ends.items()} for topic, ends in topics.items()})
    }


def test_a_topic_is_read_back_from_the_earliest_attempt() -> None:
    """Partition by partition, and each topic by itself."""
    attempts = [attempt(a={0: 7, 1: 3}), attempt(a={0: 5, 1: 9}), attempt(b={0: 1}, a={0: 6, 1: 6})]
    assert _earliest(attempts) == {"a": {0: 5, 1: 3}, "b": {0: 1}}


def test_a_partition_that_an_attempt_did_not_know_is_read_from_its_beginning() -> None:
    """It was added later, and a notice of the earlier attempt may have been sent there since."""
    assert _earliest([attempt(a={0: 7}), attempt(a={0: 9, 1: 4})]) == {"a": {0: 7}}
    assert _earliest([attempt(a={0: 9, 1: 4}), attempt(a={0: 7})]) == {"a": {0: 7}}


class FakeRetention:
    """Does what the test says."""

    def __init__(self, outcome: Callable[[], Done], *steps: Done) -> None:
        self._outcome, self._steps = outcome, steps
        self.waited: list[bool] = []

    async def run(self, *, wait: bool, on_progress: Callable[[Done], None] = lambda _: None) -> Done:
        self.waited.append(wait)
        for step in self._steps:
            on_progress(step)
        on_progress(done := self._outcome())
        return done


def telemetry() -> tuple[Metrics, PrometheusRetentionTelemetry]:
    """Metrics of their own, and who counts in them."""
    metrics = Metrics()
    return metrics, PrometheusRetentionTelemetry(metrics, ManualClock(100.0))


async def test_a_turn_counts_what_it_did_and_waits_for_nobody() -> None:
    """Rows, notices, and when."""
    metrics, telling = telemetry()
    retention = FakeRetention(lambda: Done(deleted=5, archived=4, notices=2, published=3))
    with capture_logs() as logs:
        await RetentionJob(retention, telling).run_once()  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value
    assert (value("rag_retention_rows_total"), value("rag_retention_notices_total")) == (4, 3)
    assert value("rag_retention_timestamp_seconds") == ManualClock(100.0).wall()
    assert [line["event"] for line in logs] == ["retention_done"]
    assert retention.waited == [False]


@pytest.mark.parametrize("error", [OperationError("x"), SourceError("x"), Unavailable("x", Cause.CONNECTION)])
async def test_a_turn_that_fails_is_said_once_and_ends_nothing(error: Exception) -> None:
    """While the reason is the same; the time of the last good run stays."""

    def fail() -> Done:
        raise error

    metrics, telling = telemetry()
    job = RetentionJob(FakeRetention(fail, Done(deleted=3, archived=2)), telling)  # type: ignore[arg-type]
    with capture_logs() as logs:
        await job.run_once()
        await job.run_once()
    assert [(line["event"], line["problem"]) for line in logs] == [("retention_failed", "x")]
    assert metrics.registry.get_sample_value("rag_retention_timestamp_seconds") == 0
    assert metrics.registry.get_sample_value("rag_retention_rows_total") == 4, "what was archived before counts"


async def test_a_turn_that_finds_nothing_says_nothing() -> None:
    """Or the log would be full of it."""
    _, telling = telemetry()
    with capture_logs() as logs:
        await RetentionJob(FakeRetention(Done), telling).run_once()  # type: ignore[arg-type]
    assert logs == []
