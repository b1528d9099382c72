"""Reports the folding of traces: metrics and logs."""

from __future__ import annotations

import structlog

from consumer.events.dialogue import DIALOGUE
from consumer.ingest.ports import Clock
from consumer.ingest.traces import FoldedTraces
from consumer.telemetry import metrics as m
from consumer.telemetry.domain import DomainMetrics

log = structlog.get_logger("ragledger")


class PrometheusFoldTelemetry:
    """See :class:`consumer.maintenance.folding.FoldTelemetry`.

    :param topic: the topic that dead letters of traces are stored under
    :param domain: counts the dialogues of all sources
    """

    def __init__(self, metrics: m.Metrics, clock: Clock, topic: str, domain: DomainMetrics) -> None:
        self._metrics, self._clock, self._topic, self._domain = metrics, clock, topic, domain
        self._problem = ""

    def folded(self, folded: FoldedTraces) -> None:
        """See :meth:`FoldTelemetry.folded`."""
        self._domain.count(DIALOGUE, folded.inserted)
        for (outcome, reason), count in folded.outcomes.items():
            self._metrics.counter(m.TRACES, outcome, reason).inc(count)
        for reason, count in folded.reasons.items():
            self._metrics.counter(m.DEAD_LETTERS, self._topic, reason).inc(count)
        if folded.reasons:
            log.warning("dead_letters", **folded.reasons, of="traces", hint="ragledger dead-letters list")

    def fold_succeeded(self, waiting: int) -> None:
        """See :meth:`FoldTelemetry.fold_succeeded`."""
        self._metrics.gauge(m.TRACES_WAITING).set(waiting)
        self._metrics.gauge(m.FOLD_SUCCESS).set(self._clock.wall())
        if self._problem:
            log.info("fold_works_again")
        self._problem = ""

    def fold_failed(self, problem: str) -> None:
        """See :meth:`FoldTelemetry.fold_failed`. A problem is logged once, until it ends or another one replaces it."""
        if problem != self._problem:
            log.warning("fold_failed", problem=problem, hint="due traces stay due; the next attempt follows")
        self._problem = problem
