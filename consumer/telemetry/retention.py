"""What is told of the service's runs of retention."""

from __future__ import annotations

import structlog

from consumer.ingest.ports import Clock
from consumer.telemetry import metrics as m

log = structlog.get_logger("ragledger")


class PrometheusRetentionTelemetry:
    """See :class:`consumer.maintenance.retention.RetentionTelemetry`."""

    def __init__(self, metrics: m.Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._problem = ""

    def retention_stepped(self, rows: int, notices: int) -> None:
        """Rows that were archived, notices that were published, by one step."""
        self._metrics.counter(m.RETENTION_ROWS).inc(rows)
        self._metrics.counter(m.RETENTION_NOTICES).inc(notices)

    def retention_done(self, rows: int, notices: int) -> None:
        """Rows that were archived, notices that were published, by the whole run."""
        self._problem = ""
        self._metrics.gauge(m.RETENTION_TIMESTAMP).set(self._clock.wall())
        if rows or notices:
            log.info("retention_done", archived=rows, published_notices=notices)

    def retention_failed(self, problem: str) -> None:
        """It could not be done now. Said once while it stays the same."""
        if problem != self._problem:
            self._problem = problem
            log.warning("retention_failed", problem=problem, then="tried again at the next interval; nothing is lost")
