"""What is told of the work: metrics from what was committed, and a log line where a person would want one."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime
from math import nan
from operator import attrgetter
from typing import Any

import structlog

from consumer import __version__
from consumer.adapters import metrics as m
from consumer.adapters.domain import DomainMetrics
from consumer.adapters.postgres import CAUSES
from consumer.events.record import Partition
from consumer.events.rejection import Reason
from consumer.ingest.batch import DeadLetter
from consumer.ingest.offsets import Claim
from consumer.ingest.rows import Row
from consumer.partitions import MadePartition
from consumer.ports import Clock, Fenced, Written

log = structlog.get_logger("ragledger")

STALL_SECONDS = 120.0

_TOPIC, _TIMESTAMP = attrgetter("record.topic"), attrgetter("record.timestamp")


class PrometheusTelemetry:
    """See :class:`consumer.ports.Telemetry`."""

    def __init__(self, metrics: m.Metrics, clock: Clock, topics: Collection[str]) -> None:
        self._metrics, self._clock = metrics, clock
        self._unavailable_since: float | None = None
        self._unavailable_cause = ""
        self._waits_for_kafka = False
        self._rollup_problem = self._rollup_difference = ""
        self._partition_problem = ""
        self._last_progress = clock.monotonic()
        self._behind: set[Partition] = set()
        self._stopped: set[Partition] = set()
        self._domain = DomainMetrics(metrics)
        self._initialise(topics)

    def _initialise(self, topics: Collection[str]) -> None:
        """Let every known series start at 0, so that its first increase is seen."""
        for topic in topics:
            for outcome in m.OUTCOMES:
                self._metrics.counter(m.RECORDS, topic, outcome)
            for reason in Reason:
                self._metrics.counter(m.DEAD_LETTERS, topic, reason.value)
            self._metrics.counter(m.UNKNOWN_FIELDS, topic)
        for cause in CAUSES:
            self._metrics.counter(m.WRITE_RETRIES, cause)
        self._metrics.gauge(m.BUILD_INFO, __version__, platform.python_version()).set(1)

    # ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────

    def written(self, written: Written, seconds: float) -> None:
        """See :meth:`consumer.ports.Telemetry.written`."""
        self._metrics.histogram(m.BATCH_ROWS_WRITTEN).observe(written.batch.records)
        self._metrics.histogram(m.BATCH_WRITE).observe(seconds)
        self._metrics.gauge(m.LAST_COMMIT).set(self._clock.wall())
        self._last_progress = self._clock.monotonic()
        for kind, rows in written.inserted.items():
            self._count_rows(rows, "inserted")
            self._count_unknown_fields(rows)
            self._observe_delay(rows)
            self._domain.count(kind, rows)
        for kind, rows in written.amended.items():
            self._count_rows(rows, "amended")
            self._count_unknown_fields(rows)
            self._observe_delay(rows)
            self._domain.count(kind, rows)
        self._count_rows(written.duplicates, "duplicate")
        self._count_dead_letters(written.dead_letters)

    def _count_rows(self, rows: Sequence[Row], outcome: str) -> None:
        for topic, count in Counter(map(_TOPIC, rows)).items():
            self._metrics.counter(m.RECORDS, topic, outcome).inc(count)

    def _count_unknown_fields(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.unknown_fields:
                self._metrics.counter(m.UNKNOWN_FIELDS, row.record.topic).inc(row.unknown_fields)

    def _observe_delay(self, rows: Sequence[Row]) -> None:
        now = self._clock.wall()
        sent = [timestamp / 1000 for timestamp in map(_TIMESTAMP, rows) if timestamp >= 0]
        # A producer's clock may be ahead of ours.
        self._metrics.histogram(m.EVENT_DELAY).observe(*[now - moment if moment < now else 0.0 for moment in sent])

    def _count_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self._metrics.counter(m.RECORDS, letter.record.topic, "dead_lettered").inc()
            self._metrics.counter(m.DEAD_LETTERS, letter.record.topic, letter.rejected.reason.value).inc()
        if letters:
            reasons = Counter(letter.rejected.reason.value for letter in letters)
            log.warning("dead_letters", **reasons, hint="ragledger dead-letters list")

    # ── the group and the ledger ─────────────────────────────────────────────────────────────────────────────────

    def assigned(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ports.Telemetry.assigned`."""
        self._last_progress = self._clock.monotonic()
        self._metrics.counter(m.REBALANCES).inc()
        self._metrics.gauge(m.ASSIGNED).set(len(partitions))
        log.info("assigned", partitions=sorted(map(str, partitions)))

    def revoked(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ports.Telemetry.revoked`."""
        self._metrics.gauge(m.ASSIGNED).set(0)
        self._behind -= set(partitions)
        self._stopped -= set(partitions)
        for partition in partitions:
            labels = (partition.topic, str(partition.partition))
            for metric in (m.LAG_RECORDS, m.LAG_SECONDS, m.STOPPED):
                self._metrics.remove(metric, *labels)

    def claimed(self, claims: Collection[Claim]) -> None:
        """See :meth:`consumer.ports.Telemetry.claimed`."""
        if claims:
            log.info("claimed", partitions={str(claim.partition): claim.next_offset for claim in claims})

    def fenced(self, fenced: Fenced) -> None:
        """See :meth:`consumer.ports.Telemetry.fenced`."""
        self._metrics.counter(m.FENCED).inc()
        log.warning(
            "fenced",
            problem=str(fenced),
            then="the batch is thrown away; its records are read by the new owner",
        )

    def stopped(self, partition: Partition, problem: str) -> None:
        """See :meth:`consumer.ports.Telemetry.stopped`."""
        self._metrics.gauge(m.STOPPED, partition.topic, str(partition.partition)).set(1)
        self._stopped.add(partition)
        self._behind.discard(partition)
        log.error("partition_stopped", partition=str(partition), problem=problem)

    def drain_timed_out(self, seconds: float) -> None:
        """See :meth:`consumer.ports.Telemetry.drain_timed_out`."""
        log.warning("drain_timed_out", seconds=seconds, then="the new owner reads these records; the ledger fences us")

    def lag(self, partition: Partition, records: int, seconds: float) -> None:
        """See :meth:`consumer.ports.Telemetry.lag`."""
        labels = (partition.topic, str(partition.partition))
        self._note_behind(partition, records > 0)
        self._metrics.gauge(m.LAG_RECORDS, *labels).set(records)
        self._metrics.gauge(m.LAG_SECONDS, *labels).set(seconds)

    def _note_behind(self, partition: Partition, behind: bool) -> None:
        if not behind or partition in self._stopped:  # where a person has to decide, a restart would not help
            self._behind.discard(partition)
            return
        if not self._behind:  # there was nothing to do until now
            self._last_progress = self._clock.monotonic()
        self._behind.add(partition)

    # ── the days ─────────────────────────────────────────────────────────────────────────────────────────────────

    def rolled_up(self, days: Sequence[date]) -> None:
        """See :meth:`consumer.rollup.DayTelemetry.rolled_up`."""
        log.debug("rolled_up", days=[day.isoformat() for day in days])

    def plugins_silent(self, names: Sequence[str]) -> None:
        """See :meth:`consumer.rollup.DayTelemetry.plugins_silent`."""
        log.warning("plugins_silent", plugins=list(names), then="unhealthy until they report again")

    def rollup_failed(self, problem: str) -> None:
        """See :meth:`consumer.rollup.DayTelemetry.rollup_failed`. Said once while it stays the same."""
        if problem != self._rollup_problem:
            self._rollup_problem = problem
            log.warning("rollup_failed", problem=problem, then="the touched days keep their marks; tried again")

    def rollup_settings_differ(self, difference: str) -> None:
        """See :meth:`consumer.rollup.DayTelemetry.rollup_settings_differ`. Said once while it stays the same."""
        if difference and difference != self._rollup_difference:
            log.warning(
                "rollup_settings_differ", problem=difference, then="the settings of the replica started last hold"
            )
        self._rollup_difference = difference

    def newest_day(self, day: Mapping[str, Any]) -> None:
        """See :meth:`consumer.rollup.DayTelemetry.newest_day`."""
        self._rollup_problem = ""
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

    # ── the partitions ───────────────────────────────────────────────────────────────────────────────────────────

    def partition_made(self, made: MadePartition) -> None:
        """See :meth:`consumer.partitions.PartitionTelemetry.partition_made`."""
        self._partition_problem = ""
        if made.waiting:
            log.warning(
                "monthly_partition_waiting",
                partition=made.partition,
                rows=made.waiting,
                hint="ragledger partition ensure",
            )
        else:
            log.info("monthly_partition_made", partition=made.partition, moved=made.moved)

    def partitions_failed(self, problem: str) -> None:
        """See :meth:`consumer.partitions.PartitionTelemetry.partitions_failed`. Said once while it stays the same."""
        if problem != self._partition_problem:
            self._partition_problem = problem
            log.warning("monthly_partitions_failed", problem=problem, then="tried again; rows have a place meanwhile")

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_available(self) -> bool:
        """Whether the last word from the store was not a complaint."""
        return self._unavailable_since is None

    def outage(self) -> str:
        """For how long writes have failed; empty while they do not."""
        if self._unavailable_since is None:
            return ""
        return f"writing has failed for {self._clock.monotonic() - self._unavailable_since:.0f} s"

    def unavailable(self, cause: str, message: str) -> None:
        """See :meth:`consumer.ports.Telemetry.unavailable`. An outage is logged once for each cause, not once a try."""
        self._metrics.counter(m.WRITE_RETRIES, cause).inc()
        if cause != "turn" and cause != self._unavailable_cause:
            self._unavailable_cause = cause
            if self._unavailable_since is None:
                self._unavailable_since = self._clock.monotonic()
            log.error("database_unavailable", cause=cause, problem=message, then="fetching waits; nothing is lost")

    def available(self) -> None:
        """See :meth:`consumer.ports.Telemetry.available`."""
        if self._unavailable_since is not None:
            seconds = self._clock.monotonic() - self._unavailable_since
            self._unavailable_since, self._unavailable_cause = None, ""
            self._last_progress = self._clock.monotonic()
            log.info("database_available", outage_seconds=round(seconds, 1))

    def kafka_unavailable(self, error: Exception) -> None:
        """Kafka does not answer; logged once."""
        if not self._waits_for_kafka:
            self._waits_for_kafka = True
            log.error("kafka_unavailable", problem=str(error), then="tried again until it answers")

    def topics_missing(self, topics: Collection[str]) -> None:
        """These topics do not exist yet; they are read as soon as they do."""
        if topics:
            log.warning("topics_missing", topics=sorted(topics), then="read as soon as they are made")

    def stall(self) -> str:
        """Why no progress is made although there is something to do; empty while all is well.

        An outage of the database is no stall: a restart would not mend it.
        """
        if not self._behind or not self.is_available:
            return ""
        idle = self._clock.monotonic() - self._last_progress
        if idle < STALL_SECONDS:
            return ""
        return f"nothing was committed for {idle:.0f} s although {len(self._behind)} partitions have records waiting"

    def split(self, writes: int) -> None:
        """See :meth:`consumer.ports.Telemetry.split`."""
        self._metrics.counter(m.SPLIT_WRITES).inc(writes)

    def backpressure(self, seconds: float) -> None:
        """See :meth:`consumer.ports.Telemetry.backpressure`."""
        self._metrics.counter(m.BACKPRESSURE).inc(seconds)


def timestamp_of(moment: datetime | None) -> float | None:
    """A naive UTC moment in seconds since 1970, where there is one."""
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def seconds(milliseconds: float | None) -> float | None:
    """Milliseconds as seconds, where there are any."""
    return None if milliseconds is None else milliseconds / 1000
