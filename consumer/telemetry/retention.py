"""Reports on the service's runs of retention."""

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

    def retention_stepped(self, rows: int, notices: int, dialogues: int, settled: int, unsettled: int) -> None:
        """Count what one step has done."""
        self._metrics.counter(m.RETENTION_ROWS).inc(rows)
        self._metrics.counter(m.RETENTION_NOTICES).inc(notices)
        self._metrics.counter(m.RETENTION_DIALOGUES).inc(dialogues)
        self._metrics.counter(m.RETENTION_DEAD_LETTERS, "settled").inc(settled)
        self._metrics.counter(m.RETENTION_DEAD_LETTERS, "open").inc(unsettled)

    def retention_done(self, rows: int, notices: int, dialogues: int, settled: int, unsettled: int) -> None:
        """Log what the whole run has done."""
        self._problem = ""
        self._metrics.gauge(m.RETENTION_TIMESTAMP).set(self._clock.wall())
        if any((rows, notices, dialogues, settled, unsettled)):
            log.info(
                "retention_done",
                archived=rows,
                published_notices=notices,
                removed_dialogues=dialogues,
                removed_dead_letters=settled + unsettled,
                open_dead_letters=unsettled,
            )

    def retention_failed(self, problem: str) -> None:
        """Log why a run failed. The same problem is logged once."""
        if problem != self._problem:
            self._problem = problem
            log.warning("retention_failed", problem=problem, then="retried at the next interval; nothing is lost")
