"""Reports on prices and costs."""

from __future__ import annotations

import structlog

from consumer.events.costs import Recomputed
from consumer.telemetry import metrics as m

log = structlog.get_logger("ragledger")


class PrometheusCostTelemetry:
    """See :class:`consumer.maintenance.costs.CostTelemetry`."""

    def __init__(self, metrics: m.Metrics) -> None:
        self._metrics = metrics
        self._problem = ""

    def prices_read(self, version: str, *, is_new: bool) -> None:
        """See :meth:`consumer.maintenance.costs.CostTelemetry.prices_read`."""
        self._metrics.gauge(m.PRICES_VALID).set(1)
        self._problem = ""
        if is_new:
            log.info("prices_adopted", version=version)

    def prices_refused(self, problem: str) -> None:
        """See :meth:`CostTelemetry.prices_refused`. The same problem is logged once."""
        self._metrics.gauge(m.PRICES_VALID).set(0)
        if self._is_new(problem):
            log.warning("prices_refused", problem=problem, then="the earlier prices stay in use")

    def costs_recomputed(self, done: Recomputed) -> None:
        """See :meth:`CostTelemetry.costs_recomputed`."""
        self._metrics.counter(m.COSTS_RECOMPUTED).inc(done.changed)
        log.info("costs_recomputed", settled=done.settled, changed=done.changed, out_of_range=done.out_of_range)

    def costs_failed(self, problem: str) -> None:
        """See :meth:`CostTelemetry.costs_failed`. The same problem is logged once."""
        if self._is_new(problem):
            log.warning("costs_failed", problem=problem, then="retried at the next interval; nothing is lost")

    def _is_new(self, problem: str) -> bool:
        before, self._problem = self._problem, problem
        return problem != before
