"""The composition root: what the service is made of, and in which order it starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from consumer.admin.migrate import schema_directory
from consumer.admin.migrate.files import load as load_migrations
from consumer.events.record import Partition
from consumer.events.registry import consumed_kinds, folding_of
from consumer.http.page import PageServer, SnapshotSource
from consumer.http.server import Health, HttpServer
from consumer.ingest import slo
from consumer.ingest.access import AccessTimer
from consumer.ingest.batch import BatchLimits
from consumer.ingest.clock import SystemClock
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import erasure_keys
from consumer.ingest.pipeline import Pipeline, PipelinePolicy
from consumer.ingest.ports import Bounds, SourceError, Unavailable
from consumer.ingest.rollup_basis import Basis
from consumer.ingest.watchdog import Watchdog, WatchPolicy
from consumer.kafka.consumer import KafkaSource
from consumer.maintenance.folding import FoldTimer
from consumer.maintenance.retention import Retention, RetentionTimer
from consumer.maintenance.rollup import RollupTimer
from consumer.maintenance.table_partitions.log import LoggedPartitions
from consumer.maintenance.table_partitions.timer import PartitionTimer
from consumer.postgres.amendments import PostgresAmendments
from consumer.postgres.aside import aside
from consumer.postgres.client import CLIENT_GRACE_SECONDS, Database, WrongDatabase
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.history import PostgresHistory
from consumer.postgres.queries import load
from consumer.postgres.retry import while_raises
from consumer.postgres.store import PostgresStore
from consumer.postgres.table_partitions import PostgresPartitions
from consumer.postgres.traces import PostgresTraces
from consumer.settings.model import Settings, owner_name
from consumer.telemetry import logs
from consumer.telemetry.days import PrometheusDayTelemetry
from consumer.telemetry.folding import PrometheusFoldTelemetry
from consumer.telemetry.ingest import PrometheusTelemetry
from consumer.telemetry.metrics import CLIENT_ERRORS, Metrics
from consumer.telemetry.retention import PrometheusRetentionTelemetry
from consumer.telemetry.stacks import task_stacks

LEAVE_SECONDS = 5.0


def policy(settings: Settings) -> PipelinePolicy:
    """How the pipeline behaves under these settings."""
    batch, kafka = settings.batch, settings.kafka
    return PipelinePolicy(
        BatchLimits(batch.max_rows, batch.max_bytes, batch.max_delay_ms / 1000),
        max_record_bytes=batch.max_record_bytes,
        drain_timeout=kafka.rebalance_timeout_ms / 1000 / 3,  # well below what the group waits
        reclaim_delay=kafka.session_timeout_ms / 1000,
    )


def watch_policy(settings: Settings) -> WatchPolicy:
    """When getting nowhere is a stall under these settings."""
    stall = settings.watchdog.stall_s
    return WatchPolicy(
        stall=stall,
        statement=settings.postgres.statement_timeout_s + CLIENT_GRACE_SECONDS,
        rebalance=settings.kafka.rebalance_timeout_ms / 1000,
        check=min(5.0, stall / 4),
    )


class Service:
    """Kafka ─ poll ─► decode ─► batch ─► write ─► follow up; beside it the roll-up timer, the watchdog and HTTP.

    :param on_stall: is called when the work does not get on, before an orderly end is tried
    """

    def __init__(self, settings: Settings, on_stall: Callable[[], None] = lambda: None) -> None:
        self.settings, self._on_stall = settings, on_stall
        kinds = consumed_kinds(settings)
        clock, metrics = SystemClock(), Metrics()
        logs.count_library_lines(metrics.counter(CLIENT_ERRORS).inc)
        self.telemetry = PrometheusTelemetry(metrics, clock, kinds.keys())
        self.database = Database(settings.postgres)
        self.source = KafkaSource(settings.kafka, kinds.keys())
        days = BusinessDays(settings.rollup.timezone)
        store = PostgresStore(
            self.database,
            self.telemetry,
            days,
            group=settings.kafka.group_id,
            owner=owner_name(),
            begin_at_end=settings.kafka.start_from == "latest",
            limit=DeadLetterLimit(settings.dead_letters),
            erasure_keys=erasure_keys(settings.erasure),
        )
        self.pipeline = Pipeline(self.source, store, self.telemetry, clock, kinds, policy(settings), aside)
        basis = Basis(settings.rollup.timezone, slo.load(settings.slo.file))
        self.history = PostgresHistory(self.database, basis, owner_name())
        silence = settings.plugins.unhealthy_after_s
        amendments = PostgresAmendments(self.database, days, silence, self.telemetry.set_aside)
        told = PrometheusDayTelemetry(metrics, clock)
        self.rollup = RollupTimer(self.history, amendments, told, clock, settings.rollup.interval_s)
        partitions = PostgresPartitions(self.database, settings.partitions.months_ahead)
        self._timers: Mapping[str, AccessTimer | RollupTimer | PartitionTimer | RetentionTimer | FoldTimer] = {
            "access": AccessTimer(self.source, self.telemetry),
            "roll-up": self.rollup,
            "partitions": PartitionTimer(partitions, LoggedPartitions(), settings.partitions.interval_s),
            **self._retention(metrics, clock),
            **self._folding(metrics, clock, days),
        }
        self.watchdog = Watchdog(
            self.pipeline,
            self.source,
            clock,
            watch_policy(settings),
            topics=kinds.keys(),
            steps=lambda: self.database.answers,
            is_database_away=lambda: bool(self.telemetry.outage()),
            on_stall=self._report_stall,
        )
        self._newest_version = load_migrations(schema_directory())[-1].version
        look = SnapshotSource(self.database, basis, settings.kafka.group_id, self._ends, clock)
        page = PageServer(look, clock)
        self.http = HttpServer(settings.http, metrics, self.alive, self.ready, page.get)

    def _retention(self, metrics: Metrics, clock: SystemClock) -> Mapping[str, RetentionTimer]:
        interval = self.settings.retention.interval_s
        if interval is None:
            return {}
        telemetry = PrometheusRetentionTelemetry(metrics, clock)
        retention = Retention.under(self.settings, self.database, erasure_keys(self.settings.erasure))
        return {"retention": RetentionTimer(retention, telemetry, interval)}

    def _folding(self, metrics: Metrics, clock: SystemClock, days: BusinessDays) -> Mapping[str, FoldTimer]:
        otlp, topics = self.settings.otlp, self.settings.topics
        topic = topics.otlp_spans or topics.otlp_logs
        if topic is None:
            return {}
        traces = PostgresTraces(
            self.database,
            days,
            folding_of(self.settings),
            topic,
            self.telemetry.set_aside,
            quiet=otlp.quiet_s,
            keep_hours=otlp.keep_h,
            erasure_keys=erasure_keys(self.settings.erasure),
        )
        telemetry = PrometheusFoldTelemetry(metrics, clock, topic, self.telemetry.domain)
        return {"folding": FoldTimer(traces, telemetry, clock, otlp.quiet_s)}

    async def run(self, stop: asyncio.Event, listening: Callable[[str, int], None] | None = None) -> None:
        """Run until `stop` is set: stop fetching, write what is held, commit, leave the group.

        :param listening: is told the address of the HTTP server
        :raises TimeoutError: stopping took longer than the settings allow; nothing is lost
        :raises Stalled: the work does not get on, and a new process would; nothing is lost
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
        """Read, run the timers and watch; whichever fails ends the service, for the supervisor to start it again."""
        watching = asyncio.create_task(self.watchdog.run(), name="watchdog")
        timers = [asyncio.create_task(timer.run(), name=name) for name, timer in self._timers.items()]
        beside: Sequence[asyncio.Task[Any]] = [watching, *timers]
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
        async for attempt in while_raises(Unavailable, tell=self._tell_waiting):
            with attempt:
                await self._check_schema()
        self.telemetry.available()

    def _tell_waiting(self, error: Unavailable) -> None:
        self.telemetry.unavailable(error.cause, str(error))

    async def _check_schema(self) -> None:
        async with self.database.transaction() as transaction:
            (database,) = await transaction.fetch(load("schema_recorded"))
            missing = [row["name"] for row in await transaction.fetch(load("schema_ready"))]
            # Nothing is recorded after psql alone: then the tables have to speak for themselves.
            recorded = await transaction.fetch(load("schema_version")) if database["recorded"] else []
            problem = self._schema_problem(database["encoding"], missing, recorded)
            if problem:
                raise WrongDatabase(problem, "schema")

    def _schema_problem(self, encoding: str, missing: Sequence[str], recorded: Sequence[Any]) -> str:
        if encoding != "UTF8":
            problem = f"the encoding of the database is {encoding}, and events are UTF-8"
            return f"{problem}: `ragledger doctor` says what to do"
        if missing:
            return f"no table {', '.join(missing)} yet: run `ragledger migrate up`"
        for version in [row["version"] for row in recorded if row["version"] is not None]:
            if version < self._newest_version:
                problem = f"the schema stands at version {version}, this ragledger needs {self._newest_version}"
                return f"{problem}: run `ragledger migrate up`"
        return ""

    async def _join_group(self) -> None:
        async for attempt in while_raises(SourceError, tell=self.telemetry.kafka_unavailable):
            with attempt:
                await self.source.start(self.pipeline)
        self.telemetry.kafka_available()

    def alive(self) -> Health:
        """The loop turns, or this would not be answered, and reading goes on where it can."""
        return Health({"progress": self.watchdog.problem})

    async def ready(self) -> Health:
        """The database can be written, Kafka refuses nothing, and the group has decided what is ours."""
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

    async def _database_problem(self) -> str:
        try:
            async with asyncio.timeout(2):
                await self._check_schema()
        except (Unavailable, TimeoutError) as error:
            return str(error) or "no answer within 2 seconds"
        return ""

    def _partitions_problem(self) -> str:
        if not self.pipeline.is_assigned:
            return "the group has not assigned anything yet"
        return "" if self.pipeline.is_claimed else "not every assigned partition is claimed yet"

    async def _ends(self, partitions: Collection[Partition]) -> Mapping[Partition, Bounds]:
        """What the partitions hold now, of the topics that are read; the ledger may know others, of earlier days."""
        topics = self.settings.topics.consumed
        return await self.source.bounds([partition for partition in partitions if partition.topic in topics])


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work; False when `stop` was set first."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    return False
