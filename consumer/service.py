"""The composition root: builds the parts of the service, and starts and stops them in order.

The page, and the jobs that the settings may leave out, are imported where they are first used: their modules are a
fourth of all that the service would import.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from consumer.events.costs import Pricing
from consumer.events.record import Partition
from consumer.events.registry import folding_of, namespace_of
from consumer.http.server import Health, HttpServer
from consumer.ingest import slo
from consumer.ingest.access import ACCESS_SECONDS, AccessJob
from consumer.ingest.batch import BatchLimits
from consumer.ingest.clock import SystemClock
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import erasure_keys
from consumer.ingest.kinds import consumed_kinds, pricing_of
from consumer.ingest.pipeline import Pipeline, PipelinePolicy
from consumer.ingest.ports import Bounds, SourceError, Unavailable
from consumer.ingest.rollup_basis import Basis
from consumer.ingest.watchdog import Watchdog, WatchPolicy
from consumer.kafka.consumer import KafkaSource
from consumer.maintenance.partition_job import PartitionJob
from consumer.maintenance.partition_log import LoggedPartitions
from consumer.maintenance.periodic import PeriodicJob
from consumer.maintenance.rollup import RollupJob
from consumer.postgres.amendments import PostgresAmendments
from consumer.postgres.aside import aside
from consumer.postgres.client import CLIENT_GRACE_SECONDS, Database
from consumer.postgres.costs import PostgresCosts
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.history import PostgresHistory
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.retry import retry_after
from consumer.postgres.schema_check import check_schema
from consumer.postgres.store import PostgresStore
from consumer.postgres.table_partitions import PostgresPartitions
from consumer.settings.model import Settings
from consumer.settings.process import owner_name
from consumer.telemetry import logs
from consumer.telemetry.days import PrometheusDayTelemetry
from consumer.telemetry.ingest import PrometheusTelemetry
from consumer.telemetry.metrics import CLIENT_ERRORS, Metrics
from consumer.telemetry.stacks import task_stacks

if TYPE_CHECKING:
    from consumer.http.page import PageServer
    from consumer.http.page.server import Response as Page

LEAVE_SECONDS = 5.0


def policy(settings: Settings) -> PipelinePolicy:
    """Return the pipeline's limits and time-outs for these settings."""
    batch, kafka = settings.batch, settings.kafka
    return PipelinePolicy(
        BatchLimits(batch.max_rows, batch.max_bytes, batch.max_delay_ms / 1000),
        max_record_bytes=batch.max_record_bytes,
        drain_timeout=kafka.rebalance_timeout_ms / 1000 / 3,  # well below the group's rebalance timeout
        reclaim_delay=kafka.session_timeout_ms / 1000,
    )


def watch_policy(settings: Settings) -> WatchPolicy:
    """Return how long the watchdog waits for progress before it reports a stall."""
    stall = settings.watchdog.stall_s
    return WatchPolicy(
        stall=stall,
        statement=settings.postgres.statement_timeout_s + CLIENT_GRACE_SECONDS,
        rebalance=settings.kafka.rebalance_timeout_ms / 1000,
        check=min(5.0, stall / 4),
    )


class Service:
    """Kafka ─ poll ─► decode ─► batch ─► write ─► follow up; beside it the roll-up timer, the watchdog and HTTP.

    :param on_stall: called when the watchdog finds a stall, before the service tries to stop in order
    """

    def __init__(self, settings: Settings, on_stall: Callable[[], None] = lambda: None) -> None:
        self.settings, self._on_stall = settings, on_stall
        self._clock = clock = SystemClock()
        metrics, pricing = Metrics(), pricing_of(settings)
        days, kinds = BusinessDays(settings.rollup.timezone), consumed_kinds(settings, pricing)
        self._basis = Basis(settings.rollup.timezone, slo.load(settings.slo.file))
        logs.count_library_lines(metrics.counter(CLIENT_ERRORS).inc)
        self.telemetry = PrometheusTelemetry(metrics, clock, kinds.keys())
        self.database = Database(settings.postgres)
        self.source = KafkaSource(settings.kafka, kinds.keys())
        self.pipeline = Pipeline(self.source, self._store(days), self.telemetry, clock, kinds, policy(settings), aside)
        self.history = PostgresHistory(self.database, self._basis, owner_name())
        self.rollup = self._rollup(days, metrics, clock)
        self._jobs = [
            PeriodicJob("access", ACCESS_SECONDS, AccessJob(self.source, self.telemetry).run_once),
            PeriodicJob("roll-up", self.rollup.pause, self.rollup.run_once),
            self._months(),
            *self._retention(metrics, clock),
            *self._costs(pricing, days, metrics, clock),
            *self._folding(pricing, days, metrics, clock),
        ]
        self.watchdog = self._watchdog(kinds.keys(), clock)
        self.http = HttpServer(settings.http, metrics, self.alive, self.ready, self.page)

    def _store(self, days: BusinessDays) -> PostgresStore:
        settings = self.settings
        ledger = PostgresLedger(
            self.database,
            group=settings.kafka.group_id,
            owner=owner_name(),
            begin_at_end=settings.kafka.start_from == "latest",
        )
        return PostgresStore(
            self.database,
            self.telemetry,
            days,
            ledger,
            limit=DeadLetterLimit(settings.dead_letters),
            erasure_keys=erasure_keys(settings.erasure),
            namespace=namespace_of(settings),
        )

    def _rollup(self, days: BusinessDays, metrics: Metrics, clock: SystemClock) -> RollupJob:
        silence = self.settings.plugins.unhealthy_after_s
        amendments = PostgresAmendments(self.database, days, silence, self.telemetry.set_aside)
        telemetry = PrometheusDayTelemetry(metrics, clock)
        return RollupJob(self.history, amendments, telemetry, clock, self.settings.rollup.interval_s)

    def _watchdog(self, topics: Collection[str], clock: SystemClock) -> Watchdog:
        return Watchdog(
            self.pipeline,
            self.source,
            clock,
            watch_policy(self.settings),
            topics=topics,
            steps=lambda: self.database.answers,
            is_database_away=lambda: bool(self.telemetry.outage()),
            on_stall=self._report_stall,
        )

    def _months(self) -> PeriodicJob:
        months = PostgresPartitions(self.database, self.settings.partitions.months_ahead)
        job = PartitionJob(months, LoggedPartitions())
        return PeriodicJob("partitions", self.settings.partitions.interval_s, job.run_once)

    def _retention(self, metrics: Metrics, clock: SystemClock) -> Sequence[PeriodicJob]:
        interval = self.settings.retention.interval_s
        if interval is None:
            return []
        from consumer.maintenance.retention import Retention, RetentionJob
        from consumer.telemetry.retention import PrometheusRetentionTelemetry

        telemetry = PrometheusRetentionTelemetry(metrics, clock)
        retention = Retention.under(self.settings, self.database, erasure_keys(self.settings.erasure))
        return [PeriodicJob("retention", interval, RetentionJob(retention, telemetry).run_once)]

    def _costs(
        self, pricing: Pricing, days: BusinessDays, metrics: Metrics, clock: SystemClock
    ) -> Sequence[PeriodicJob]:
        file = self.settings.prices.file
        if file is None:
            return []
        from consumer.events import price_file
        from consumer.maintenance.costs import CostJob
        from consumer.telemetry.costs import PrometheusCostTelemetry

        costs, telemetry = PostgresCosts(self.database, pricing, days, owner_name()), PrometheusCostTelemetry(metrics)
        read = partial(price_file.load, file)
        job = CostJob(costs, pricing, read, telemetry, clock)
        return [PeriodicJob("costs", self.settings.prices.interval_s, job.run_once)]

    def _folding(
        self, pricing: Pricing, days: BusinessDays, metrics: Metrics, clock: SystemClock
    ) -> Sequence[PeriodicJob]:
        otlp, topics = self.settings.otlp, self.settings.topics
        topic = topics.otlp_spans or topics.otlp_logs
        if topic is None:
            return []
        from consumer.maintenance.folding import FoldJob
        from consumer.postgres.traces import PostgresTraces
        from consumer.telemetry.folding import PrometheusFoldTelemetry

        traces = PostgresTraces(
            self.database,
            days,
            folding_of(self.settings, pricing),
            topic,
            self.telemetry.set_aside,
            quiet=otlp.quiet_s,
            keep_hours=otlp.keep_h,
            erasure_keys=erasure_keys(self.settings.erasure),
        )
        telemetry = PrometheusFoldTelemetry(metrics, clock, topic, self.telemetry.domain)
        job = FoldJob(traces, telemetry, clock, otlp.quiet_s)
        return [PeriodicJob("folding", job.pause, job.run_once)]

    async def run(self, stop: asyncio.Event, listening: Callable[[str, int], None] | None = None) -> None:
        """Run until `stop` is set; then stop fetching, write the open batch, commit and leave the group.

        :param listening: called with the address of the HTTP server
        :raises TimeoutError: stopping took longer than the settings allow; nothing is lost
        :raises Stalled: no progress is made, and a new process can help; nothing is lost
        """
        await self.database.open()
        try:
            address = await self.http.start()
            if listening:
                listening(*address)
            await self._run_until(stop)
        finally:
            await self.http.stop()
            await self.database.close(LEAVE_SECONDS)

    async def _run_until(self, stop: asyncio.Event) -> None:
        if not await _unless(stop, self._wait_for_schema()) or not await _unless(stop, self._join_group()):
            return
        try:
            await self._read_until(stop)
        finally:
            with suppress(TimeoutError, asyncio.CancelledError):
                await self.source.stop(LEAVE_SECONDS)

    async def _read_until(self, stop: asyncio.Event) -> None:
        """Read, run the periodic jobs and watch. If one fails, the service ends and its supervisor restarts it."""
        watching = asyncio.create_task(self.watchdog.run(), name="watchdog")
        jobs = [asyncio.create_task(job.run(), name=job.name) for job in self._jobs]
        beside: Sequence[asyncio.Task[Any]] = [watching, *jobs]
        reading = asyncio.create_task(self.pipeline.run(stop), name="reading")
        stopping = asyncio.create_task(stop.wait(), name="stopping")
        try:
            await asyncio.wait({reading, *beside, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in beside:
                if task.done():
                    task.result()
            watching.cancel()
            async with asyncio.timeout(self.settings.shutdown.timeout_s if stop.is_set() else None):
                await reading
        finally:
            for task in (*beside, reading, stopping):
                task.cancel()

    def _report_stall(self, problem: str) -> None:
        self.telemetry.stalled(problem, task_stacks())
        self._on_stall()

    async def _wait_for_schema(self) -> None:
        await retry_after(Unavailable, attempt=self._check_schema, report=self._report_unavailable)
        self.telemetry.available()

    def _report_unavailable(self, error: Unavailable) -> None:
        self.telemetry.unavailable(error.cause, str(error))

    async def _check_schema(self) -> None:
        async with self.database.transaction() as transaction:
            await check_schema(transaction)

    async def _join_group(self) -> None:
        start = partial(self.source.start, self.pipeline)
        await retry_after(SourceError, attempt=start, report=self.telemetry.kafka_unavailable)
        self.telemetry.kafka_available()

    def alive(self) -> Health:
        """Return whether progress is made. An event loop that does not run cannot answer at all."""
        return Health({"progress": self.watchdog.problem})

    async def ready(self) -> Health:
        """Return whether the database can be written, Kafka refuses nothing, and the partitions are assigned."""
        return Health(
            {
                "database": await self._database_problem(),
                "writes": self.telemetry.outage(),
                "kafka": self.telemetry.kafka_outage(),
                "access": "; ".join(map(str, self.source.refusals())),
                "partitions": self._partitions_problem(),
                "leaders": self.telemetry.leaderless(),
                "stopped": self.telemetry.stops(),
            }
        )

    async def page(self) -> Page:
        """Return the page, with status 503 if the database is unavailable."""
        return await self._pages.get()

    @cached_property
    def _pages(self) -> PageServer:
        from consumer.http.page import PageServer, SnapshotSource

        group = self.settings.kafka.group_id
        return PageServer(SnapshotSource(self.database, self._basis, group, self._ends, self._clock), self._clock)

    async def _database_problem(self) -> str:
        try:
            async with asyncio.timeout(2):
                await self._check_schema()
        except (Unavailable, TimeoutError) as error:
            return str(error) or "no answer within 2 seconds"
        return ""

    def _partitions_problem(self) -> str:
        if not self.pipeline.is_assigned:
            return "the group has not assigned any partitions yet"
        return "" if self.pipeline.is_claimed else "not every assigned partition is claimed yet"

    async def _ends(self, partitions: Collection[Partition]) -> Mapping[Partition, Bounds]:
        """Return the bounds of those partitions whose topics are read now; the ledger may hold earlier topics too."""
        topics = self.settings.topics.consumed
        return await self.source.bounds([partition for partition in partitions if partition.topic in topics])


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work and return True; return False if `stop` is set first."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    return False
