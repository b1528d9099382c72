"""What is told of the folding of traces."""

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

    :param topic: under which dead letters of traces are kept
    :param domain: counts dialogues, wherever they come from
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
        """See :meth:`FoldTelemetry.fold_failed`; logged once, until it works again or another thing is wrong."""
        if problem != self._problem:
            log.warning("fold_failed", problem=problem, hint="what is due stays due, and is tried again")
        self._problem = problem
