"""Tests retention without servers: where reading a topic back begins, the timer, and its reports."""

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
    """Return a notice that was sent when the topics ended at these offsets."""
    return {
        "sent_from": json.dumps({topic: {str(n): end for n, end in ends.items()} for topic, ends in topics.items()})
    }


def test_a_topic_is_read_back_from_the_earliest_attempt() -> None:
    """Each partition and each topic has its own offset."""
    attempts = [attempt(a={0: 7, 1: 3}), attempt(a={0: 5, 1: 9}), attempt(b={0: 1}, a={0: 6, 1: 6})]
    assert _earliest(attempts) == {"a": {0: 5, 1: 3}, "b": {0: 1}}


def test_a_partition_that_an_attempt_did_not_list_is_read_from_its_beginning() -> None:
    """It was added later, and a notice of the earlier attempt may be in it."""
    assert _earliest([attempt(a={0: 7}), attempt(a={0: 9, 1: 4})]) == {"a": {0: 7}}
    assert _earliest([attempt(a={0: 9, 1: 4}), attempt(a={0: 7})]) == {"a": {0: 7}}


class FakeRetention:
    """Runs the steps that a test gives."""

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
    """Return new metrics, and telemetry that counts in them."""
    metrics = Metrics()
    return metrics, PrometheusRetentionTelemetry(metrics, ManualClock(100.0))


async def test_a_run_is_counted_and_does_not_wait() -> None:
    """Rows, notices and the time are counted."""
    metrics, job_telemetry = telemetry()
    retention = FakeRetention(lambda: Done(deleted=5, archived=4, notices=2, published=3))
    with capture_logs() as logs:
        await RetentionJob(retention, job_telemetry).run_once()  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value
    assert (value("rag_retention_rows_total"), value("rag_retention_notices_total")) == (4, 3)
    assert value("rag_retention_timestamp_seconds") == ManualClock(100.0).wall()
    assert [line["event"] for line in logs] == ["retention_done"]
    assert retention.waited == [False]


@pytest.mark.parametrize("error", [OperationError("x"), SourceError("x"), Unavailable("x", Cause.CONNECTION)])
async def test_a_failed_run_is_logged_once_and_retried(error: Exception) -> None:
    """The same reason is logged once. The time of the last success stays."""

    def fail() -> Done:
        raise error

    metrics, job_telemetry = telemetry()
    job = RetentionJob(FakeRetention(fail, Done(deleted=3, archived=2)), job_telemetry)  # type: ignore[arg-type]
    with capture_logs() as logs:
        await job.run_once()
        await job.run_once()
    assert [(line["event"], line["problem"]) for line in logs] == [("retention_failed", "x")]
    assert metrics.registry.get_sample_value("rag_retention_timestamp_seconds") == 0
    assert metrics.registry.get_sample_value("rag_retention_rows_total") == 4, "rows archived before the failure count"


async def test_a_run_without_expired_rows_logs_nothing() -> None:
    """Otherwise the log would be full of it."""
    _, job_telemetry = telemetry()
    with capture_logs() as logs:
        await RetentionJob(FakeRetention(Done), job_telemetry).run_once()  # type: ignore[arg-type]
    assert logs == []


async def test_removed_dialogues_and_dead_letters_are_counted() -> None:
    """Open dead letters have a series of their own, and each step counts once."""
    metrics, job_telemetry = telemetry()
    step = Done(dialogues=3, dead_letters=2, open_dead_letters=1)
    retention = FakeRetention(lambda: step + Done(dialogues=4, dead_letters=5), step)
    with capture_logs() as logs:
        await RetentionJob(retention, job_telemetry).run_once()  # type: ignore[arg-type]
    value = metrics.registry.get_sample_value
    assert value("rag_retention_dialogues_total") == 7
    assert value("rag_retention_dead_letters_total", {"state": "open"}) == 1
    assert value("rag_retention_dead_letters_total", {"state": "settled"}) == 6
    (line,) = logs
    assert (line["removed_dialogues"], line["removed_dead_letters"], line["open_dead_letters"]) == (7, 7, 1)


async def test_a_run_that_could_not_remove_dialogues_has_failed() -> None:
    """The reason is logged once. What was done counts."""
    metrics, job_telemetry = telemetry()
    retention = FakeRetention(lambda: Done(archived=2, problems=("x",)))
    with capture_logs() as logs:
        await RetentionJob(retention, job_telemetry).run_once()  # type: ignore[arg-type]
        await RetentionJob(retention, job_telemetry).run_once()  # type: ignore[arg-type]
    assert [(line["event"], line["problem"]) for line in logs] == [("retention_failed", "x")]
    assert metrics.registry.get_sample_value("rag_retention_timestamp_seconds") == 0
    assert metrics.registry.get_sample_value("rag_retention_rows_total") == 4
