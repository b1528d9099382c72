"""Reports on the days: the newest one as gauges, and a log line if days cannot be computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from math import nan
from typing import Any

import structlog

from consumer.ingest.ports import Clock
from consumer.telemetry import metrics as m

log = structlog.get_logger("ragledger")

MOST_REMEMBERED = 100


class PrometheusDayTelemetry:
    """See :class:`consumer.maintenance.rollup.DayTelemetry`."""

    def __init__(self, metrics: m.Metrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._problems, self._difference = set[str](), ""
        for gauge in (m.DAY_CITATION_RATE, m.DAY_USERS, m.DAY_COST, m.ROLLUP_TIMESTAMP):
            metrics.gauge(gauge).set(nan)  # unknown, which is not 0

    def rolled_up(self, days: Sequence[date]) -> None:
        """See :meth:`consumer.maintenance.rollup.DayTelemetry.rolled_up`."""
        log.debug("rolled_up", days=[day.isoformat() for day in days])

    def plugins_silent(self, names: Sequence[str]) -> None:
        """See :meth:`consumer.maintenance.rollup.DayTelemetry.plugins_silent`."""
        log.warning("plugins_silent", plugins=list(names), then="unhealthy until they report again")

    def rollup_failed(self, problem: str) -> None:
        """See :meth:`consumer.maintenance.rollup.DayTelemetry.rollup_failed`. Logged once until a success."""
        if problem not in self._problems:
            if len(self._problems) >= MOST_REMEMBERED:
                self._problems.clear()
            self._problems.add(problem)
            log.warning("rollup_failed", problem=problem, then="the touched days stay due; retried")

    def rollup_succeeded(self) -> None:
        """See :meth:`consumer.maintenance.rollup.DayTelemetry.rollup_succeeded`."""
        self._problems.clear()
        self._metrics.gauge(m.ROLLUP_SUCCESS).set(self._clock.wall())

    def rollup_settings_differ(self, difference: str) -> None:
        """See :meth:`DayTelemetry.rollup_settings_differ`. The same difference is logged once."""
        if difference and difference != self._difference:
            log.warning(
                "rollup_settings_differ", problem=difference, then="the settings of the replica started last apply"
            )
        self._difference = difference

    def newest_day(self, day: Mapping[str, Any]) -> None:
        """See :meth:`consumer.maintenance.rollup.DayTelemetry.newest_day`."""
        gauges = [
            (self._metrics.gauge(m.DAY_CITATION_RATE), day["citation_rate"]),
            (self._metrics.gauge(m.DAY_USERS), day["unique_users"]),
            (self._metrics.gauge(m.DAY_COST), day["total_cost"]),
            (self._metrics.gauge(m.ROLLUP_TIMESTAMP), timestamp_of(day["computed_at"])),
        ]
        gauges += [
            (self._metrics.gauge(m.DAY_LATENCY, quantile), seconds(day[column]))
            for quantile, column in (("0.5", "latency_p50"), ("0.95", "latency_p95"), ("0.99", "latency_p99"))
        ]
        gauges += [
            (self._metrics.gauge(m.SLO_MET, name), judged.get("met")) for name, judged in day["slo_compliance"].items()
        ]
        self._metrics.keep(m.SLO_MET, day["slo_compliance"])
        for gauge, value in gauges:
            gauge.set(nan if value is None else float(value))


def timestamp_of(moment: datetime | None) -> float | None:
    """Return a naive UTC time as seconds since 1970; None stays None."""
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def seconds(milliseconds: float | None) -> float | None:
    """Convert milliseconds to seconds; None stays None."""
    return None if milliseconds is None else milliseconds / 1000
