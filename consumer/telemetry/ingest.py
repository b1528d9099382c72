"""Reports on ingestion: metrics of committed batches, and log lines for events that a person should know."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from operator import attrgetter

import structlog

from consumer import __version__
from consumer.decode.rows import Row
from consumer.events.record import Partition
from consumer.events.rejection import Reason
from consumer.ingest.batch import DeadLetter
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Cause, Clock, Fenced, NotAdmitted, Refusal, Written
from consumer.ingest.stop_reasons import command_to_settle
from consumer.telemetry import metrics as m
from consumer.telemetry.domain import DomainMetrics
from consumer.telemetry.outages import Outage

log = structlog.get_logger("ragledger")

LONG_TRANSACTION_SECONDS = 60.0

_TOPIC, _TIMESTAMP = attrgetter("record.topic"), attrgetter("record.timestamp")


class PrometheusTelemetry:
    """See :class:`consumer.ingest.ports.Telemetry`."""

    def __init__(self, metrics: m.Metrics, clock: Clock, topics: Collection[str]) -> None:
        self._metrics, self._clock = metrics, clock
        self._database, self._kafka = Outage(clock), Outage(clock)
        self._database_problem = self._kafka_problem = ""
        self._stopped: dict[Partition, StopReason] = {}
        self._refusals: dict[tuple[str, str], Refusal] = {}
        self._missing: frozenset[str] = frozenset()
        self._held_back: set[Partition] = set()
        self._leaderless: dict[Partition, str] = {}
        self.domain = DomainMetrics(metrics)
        self._initialise(topics)

    def _initialise(self, topics: Collection[str]) -> None:
        """Start every known series at 0, so that Prometheus sees its first increase."""
        for topic in topics:
            for outcome in m.OUTCOMES:
                self._metrics.counter(m.RECORDS, topic, outcome)
            for reason in Reason:
                self._metrics.counter(m.DEAD_LETTERS, topic, reason.value)
            self._metrics.counter(m.UNKNOWN_FIELDS, topic)
        for cause in Cause:
            self._metrics.counter(m.WRITE_RETRIES, cause)
        for server in ("database", "kafka"):
            self._metrics.gauge(m.UP, server).set(1)
        self._metrics.gauge(m.BUILD_INFO, __version__, platform.python_version()).set(1)

    # ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────

    def written(self, written: Written, seconds: float) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.written`."""
        self._metrics.histogram(m.BATCH_ROWS_WRITTEN).observe(written.batch.records)
        self._metrics.histogram(m.BATCH_WRITE).observe(seconds)
        self._metrics.gauge(m.LAST_COMMIT).set(self._clock.wall())
        for outcome, by_kind in (("inserted", written.inserted), ("amended", written.amended)):
            for rows in by_kind.values():
                self._count_rows(rows, outcome)
                self._count_unknown_fields(rows)
                self._observe_delay(rows)
        for kind, rows in chain(written.inserted.items(), written.news.items()):
            self.domain.count(kind, rows)
        self._count_rows(written.duplicates, "duplicate")
        self._count_rows(written.ignored, "ignored")
        for (outcome, reason), count in written.staged.items():
            self._metrics.counter(m.SPANS, outcome, reason).inc(count)
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
        """See :meth:`consumer.ingest.ports.Telemetry.assigned`."""
        self._metrics.counter(m.REBALANCES).inc()
        self._metrics.gauge(m.ASSIGNED).set(len(partitions))
        log.info("assigned", partitions=sorted(map(str, partitions)))

    def revoked(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.revoked`."""
        self._metrics.gauge(m.ASSIGNED).set(0)
        self._go_on(partitions)
        self._forget_leaders(partitions)
        for partition in partitions:
            self._held_back.discard(partition)
            for metric in (m.LAG_RECORDS, m.LAG_SECONDS, m.HELD_BACK_RECORDS, m.HELD_BACK_SECONDS):
                self._metrics.remove(metric, partition.topic, str(partition.partition))

    def claimed(self, claims: Collection[Claim]) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.claimed`."""
        self._go_on([claim.partition for claim in claims])
        if claims:
            log.info("claimed", partitions={str(claim.partition): claim.next_offset for claim in claims})

    def overtaken(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.overtaken`."""
        self._go_on(partitions)
        log.warning(
            "overtaken",
            partitions=sorted(map(str, partitions)),
            then="unwritten records are discarded; the new owner reads them again",
        )

    def fenced(self, fenced: Fenced) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.fenced`."""
        self._metrics.counter(m.FENCED).inc()
        log.warning(
            "fenced",
            problem=str(fenced),
            then="the batch is rolled back; the next claim of its partitions reads its records again",
        )

    def stopped(self, partition: Partition, reason: StopReason) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.stopped`."""
        self._metrics.gauge(m.STOPPED, partition.topic, str(partition.partition)).set(1)
        self._stopped[partition] = reason
        settle = command_to_settle(partition, reason)
        log.error("partition_stopped", partition=str(partition), problem=reason.problem, settle=settle)

    def stops(self) -> str:
        """Return which partitions have stopped, why, and what a person can do; empty if none has."""
        return "; ".join(
            f"{partition} has stopped: {reason.problem}; settle it with `{command_to_settle(partition, reason)}`"
            for partition, reason in sorted(self._stopped.items(), key=lambda item: item[0])
        )

    def _go_on(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            self._stopped.pop(partition, None)
            self._metrics.remove(m.STOPPED, partition.topic, str(partition.partition))

    def drain_timed_out(self, seconds: float) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.drain_timed_out`."""
        log.warning("drain_timed_out", seconds=seconds, then="the new owner reads these records; our write is fenced")

    def lag(self, partition: Partition, records: int, seconds: float) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.lag`."""
        labels = (partition.topic, str(partition.partition))
        self._metrics.gauge(m.LAG_RECORDS, *labels).set(records)
        self._metrics.gauge(m.LAG_SECONDS, *labels).set(seconds)

    def held_back(self, partition: Partition, records: int, seconds: float) -> None:
        """See :meth:`Telemetry.held_back`. A transaction that stays open for long is logged once."""
        labels = (partition.topic, str(partition.partition))
        self._metrics.gauge(m.HELD_BACK_RECORDS, *labels).set(records)
        self._metrics.gauge(m.HELD_BACK_SECONDS, *labels).set(seconds)
        if seconds < LONG_TRANSACTION_SECONDS:
            self._held_back.discard(partition)
        elif partition not in self._held_back:
            self._held_back.add(partition)
            then = "these records are read when it is committed or aborted; ragledger doctor names its producer"
            log.warning(
                "transaction_open", partition=str(partition), records=records, seconds=round(seconds), then=then
            )

    # ── the store ────────────────────────────────────────────────────────────────────────────────────────────────

    def outage(self) -> str:
        """Return for how long the database has been unavailable; empty if it is available."""
        seconds = self._database.seconds
        if seconds is None:
            return ""
        return f"the database has been unavailable for {seconds:.0f} s: {self._database_problem}"

    def kafka_outage(self) -> str:
        """Return for how long Kafka has not answered; empty if it answers."""
        seconds = self._kafka.seconds
        return "" if seconds is None else f"Kafka has not answered for {seconds:.0f} s: {self._kafka_problem}"

    def retried(self, cause: Cause) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.retried`."""
        self._metrics.counter(m.WRITE_RETRIES, cause).inc()

    def unavailable(self, cause: Cause, message: str) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.unavailable`. Each kind of cause is logged once."""
        self.retried(cause)
        self._begin_outage("writes", cause, message)

    def available(self) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.available`."""
        self._end_outage("writes")

    def ledger_locked(self, partitions: Collection[Partition]) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.ledger_locked`."""
        if not partitions:
            self._end_outage("claims")
            return
        named = ", ".join(sorted(map(str, partitions)))
        problem = f"other transactions hold the rows of {named} in ingest_ledger, so these partitions cannot be claimed"
        self._begin_outage("claims", Cause.LOCK, f"{problem}: end these sessions; pg_stat_activity shows them")

    def silent(self, cause: Cause, message: str) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.silent`."""
        self._begin_outage("questions", cause, message)

    def answered(self) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.answered`."""
        self._end_outage("questions")

    def _begin_outage(self, part: str, cause: Cause, message: str) -> None:
        self._metrics.gauge(m.UP, "database").set(0)
        self._database_problem = message
        if self._database.begin(part, cause):
            log.error("database_unavailable", cause=cause, problem=message, then="fetching waits; nothing is lost")

    def _end_outage(self, part: str) -> None:
        seconds = self._database.end(part)
        if seconds is not None:
            self._metrics.gauge(m.UP, "database").set(1)
            log.info("database_available", outage_seconds=round(seconds, 1))

    def kafka_unavailable(self, error: Exception) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.kafka_unavailable`. An outage is logged once."""
        self._metrics.gauge(m.UP, "kafka").set(0)
        self._kafka_problem = str(error)
        cause = Cause.CREDENTIALS if isinstance(error, NotAdmitted) else Cause.CONNECTION
        if self._kafka.begin("client", cause):
            log.error("kafka_unavailable", problem=str(error), then="retried until it answers; nothing is lost")

    def kafka_available(self) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.kafka_available`."""
        seconds = self._kafka.end("client")
        if seconds is not None:
            self._metrics.gauge(m.UP, "kafka").set(1)
            log.info("kafka_available", outage_seconds=round(seconds, 1))

    def unanswered(self, asked: Collection[Partition], why: Mapping[Partition, str]) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.unanswered`. The beginning and the end are logged."""
        found = self._forget_leaders(self._leaderless.keys() & set(asked) - why.keys())
        if found:
            log.info("partition_leader_answers", partitions=sorted(map(str, found)))
        new = [partition for partition in why if partition not in self._leaderless]
        self._leaderless |= why
        for partition in sorted(new):
            self._metrics.gauge(m.LEADERLESS, partition.topic, str(partition.partition)).set(1)
            then = "retried until it answers; the other partitions are still read"
            log.error("partition_without_leader", partition=str(partition), problem=why[partition], then=then)

    def leaderless(self) -> str:
        """Return which partitions have no leader that answers, and why; empty if none."""
        return "; ".join(f"{partition}: {why}" for partition, why in sorted(self._leaderless.items()))

    def _forget_leaders(self, partitions: Collection[Partition]) -> Collection[Partition]:
        """Remove these partitions from the leaderless ones. Return those that were among them."""
        known = [partition for partition in partitions if self._leaderless.pop(partition, None) is not None]
        for partition in known:
            self._metrics.remove(m.LEADERLESS, partition.topic, str(partition.partition))
        return known

    def stalled(self, problem: str, stacks: Sequence[str]) -> None:
        """Report a stall, with the stack of each task for the diagnosis."""
        log.error(
            "stalled", problem=problem, then="the process ends; nothing is lost, its successor continues", tasks=stacks
        )

    def topics_missing(self, topics: Collection[str]) -> None:
        """Report topics that do not exist; they are read as soon as they are created."""
        gone, self._missing = frozenset(topics) - self._missing, frozenset(topics)
        if gone:
            log.warning("topics_missing", topics=sorted(gone), then="read as soon as they are created")

    def refused(self, refusals: Collection[Refusal]) -> None:
        """Report what Kafka does not allow this replica to use. The beginning and the end are logged."""
        now = {(refusal.resource, refusal.name): refusal for refusal in refusals}
        for known, refusal in now.items():
            if self._refusals.get(known) != refusal:
                self._metrics.gauge(m.REFUSED, *known).set(1)
                log.error("kafka_refuses", **refusal._asdict(), then="retried every few seconds")
        for resource, name in self._refusals.keys() - now.keys():
            self._metrics.remove(m.REFUSED, resource, name)
            log.info("kafka_permits", resource=resource, name=name)
        self._refusals = now

    def split(self, writes: int) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.split`."""
        self._metrics.counter(m.SPLIT_WRITES).inc(writes)

    def set_aside(self, table: str, sqlstate: str) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.set_aside`."""
        log.error(
            "amendment_refused",
            table=table,
            sqlstate=sqlstate,
            then="it is set aside with its SQLSTATE; docs/operations.md says how to apply it again",
        )

    def backpressure(self, seconds: float) -> None:
        """See :meth:`consumer.ingest.ports.Telemetry.backpressure`."""
        self._metrics.counter(m.BACKPRESSURE).inc(seconds)
