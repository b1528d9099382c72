"""The main loop: poll, decode, batch, write, follow up.

Reading continues while batches are written. Two batches are written at a time, so that the database does not wait for
this process between them. They commit in the order in which they were sealed. One more batch may wait for a writer;
after that, reading waits. So a slow database always slows down reading. Only the reading task adds records, starts
claims and seeks, so a record read under an older claim can never enter a batch after a newer claim.

    batch        states: open → sealed → written, or thrown away
    open         the reading task adds records (`_take`). It is sealed when it is full, old enough, or drained
    sealed       a writer writes it as one transaction, in its commit turn (`Writer`)
    written      `_follow_up`: offsets for Kafka, metrics, partitions that stop
    thrown away  the ledger is not at the beginning of the batch (`Fenced`): `_throw_away` drops every claim of the
                 open batch, and the claimer claims again. The next claim begins at the position of the ledger
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import partial

from consumer.decode.lanes import Verdict, decode_all
from consumer.events.kind import Kind
from consumer.events.record import Partition, Record
from consumer.ingest.batch import Batch, BatchLimits
from consumer.ingest.claims import Claimer
from consumer.ingest.commits import Committer
from consumer.ingest.offsets import Claim, Span, StopReason
from consumer.ingest.ports import Aside, Clock, Fenced, PartitionRecords, Source, Store, Telemetry, Written
from consumer.ingest.slices import Slicer
from consumer.ingest.writer import Writer


@dataclass(frozen=True, slots=True)
class PipelinePolicy:
    """How the pipeline behaves.

    :param limits: when a batch is full
    :param max_record_bytes: a larger value becomes a dead letter
    :param poll_records: maximum number of records per poll
    :param slice_records: maximum number of records decoded between two turns of the event loop
    :param slice_bytes: maximum size of such a slice; a larger record is decoded in a thread
    :param slice_seconds: how long decoding a slice should take at most; a slower slice makes the next one smaller
    :param poll_timeout: maximum seconds a poll waits
    :param drain_timeout: maximum seconds a rebalance waits for batches in flight
    :param stall_seconds: after waiting this long for the writer, fetching is paused
    :param reclaim_delay: seconds until a fenced partition that is still assigned to this process is claimed again
    """

    limits: BatchLimits
    max_record_bytes: int
    poll_records: int = 500
    slice_records: int = 250
    slice_bytes: int = 524_288
    slice_seconds: float = 0.02
    poll_timeout: float = 0.25
    drain_timeout: float = 20.0
    stall_seconds: float = 2.0
    reclaim_delay: float = 10.0


class Pipeline:
    """Moves records from the source to the store, exactly once in effect."""

    def __init__(
        self,
        source: Source,
        store: Store,
        telemetry: Telemetry,
        clock: Clock,
        kinds: Mapping[str, Kind],
        policy: PipelinePolicy,
        aside: Aside,
    ) -> None:
        self._source, self._store, self._telemetry, self._clock = source, store, telemetry, clock
        self._kinds, self._policy, self._aside = kinds, policy, aside
        self._slicer = Slicer(policy.slice_records, policy.slice_bytes, policy.slice_seconds)
        self._batch = Batch(policy.limits)
        self._claimer = Claimer(source, store, telemetry, policy.reclaim_delay, self._lose, self._next_offset)
        self._committer = Committer(source, telemetry, clock)
        self._writer = Writer(store, telemetry, clock, self._follow_up, self._throw_away)
        # One past the newest record the source returned. A returned record that was not added is not a gap.
        self._returned: dict[Partition, int] = {}
        # The number of committed batches, and the number of batches that were thrown away because of a fence.
        self.commits = self.fences = 0
        self._stalled = False
        self._waited = 0.0
        self._waiting_since: float | None = None

    @property
    def is_assigned(self) -> bool:
        """Whether the group has assigned partitions to this process, or has assigned none."""
        return self._claimer.is_assigned

    @property
    def is_claimed(self) -> bool:
        """Whether every assigned partition is claimed, except those whose leader does not answer."""
        return self._claimer.is_settled

    @property
    def unanswered(self) -> AbstractSet[Partition]:
        """The assigned partitions that wait to be claimed because their leader does not answer."""
        return self._claimer.unanswered

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset of each partition held by this process; -1 if reading has not begun."""
        spans = ((partition, self._batch.spans.get(partition)) for partition in self._claimer.held)
        return {partition: -1 if span is None else span.next for partition, span in spans}

    @property
    def seconds_waited(self) -> float:
        """How many seconds reading has waited for the writer since the start."""
        since = self._waiting_since
        return self._waited + (0.0 if since is None else self._clock.monotonic() - since)

    @property
    def is_writing(self) -> bool:
        """Whether batches are being written."""
        return self._writer.is_busy

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then write the open batch and commit.

        :raises ExceptionGroup: a task failed; nothing is lost, because the next reader resumes at the ledger
        """
        async with asyncio.TaskGroup() as tasks:
            coroutines = (*self._writer.workers(), self._claimer.run(), self._committer.run())
            background = [tasks.create_task(coroutine) for coroutine in coroutines]
            reading = tasks.create_task(self._read(stop))
            await stop.wait()
            await self._stop_reading(reading)
            await self._drain()
            for task in background:
                task.cancel()

    async def _stop_reading(self, reading: asyncio.Task[None]) -> None:
        """Wait for the running poll to return. Cancel it if a rebalance keeps it from returning."""
        _, pending = await asyncio.wait({reading}, timeout=2 * self._policy.poll_timeout + 1)
        for task in pending:
            task.cancel()

    # ── calls from the consumer group ────────────────────────────────────────────────────────────────────────────

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """Claim these partitions. Their records are added only after the claim is granted."""
        self._telemetry.assigned(partitions)
        self._claimer.assign(partitions)

    async def on_revoked(self, partitions: Collection[Partition]) -> None:
        """Write the records that were read, within the deadline, and give up every partition."""
        self._claimer.revoke()
        try:
            async with asyncio.timeout(self._policy.drain_timeout):
                await self._drain()
        except TimeoutError:
            self._telemetry.drain_timed_out(self._policy.drain_timeout)
        self._discard_batch()
        self._committer.forget(partitions)
        self._telemetry.revoked(partitions)

    def on_position_lost(self, partitions: Collection[Partition]) -> None:
        """The broker no longer has the next offset: compare the log to find out why."""
        self._source.pause(partitions)
        for partition in partitions:
            self._claimer.compare(partition)

    def on_unreadable(self, partition: Partition, first: int, reason: StopReason) -> None:
        """Stop the partition at the unreadable offset `first`. Records before it are still written."""
        self._skip_gaps({partition})
        span = self._readable_span(partition)
        if span is not None and span.next == first:
            self._claimer.stop(partition, reason)
        elif span is not None:
            self._source.seek({partition: span.next})  # some records before `first` were not added: read them again

    def _next_offset(self, claim: Claim) -> int:
        span = self._batch.spans.get(claim.partition)
        return claim.next_offset if span is None or span.epoch != claim.epoch else span.next

    async def _drain(self) -> None:
        """Write everything read so far, and commit."""
        await self._writer.slot()
        self._seal()
        await self._writer.idle()
        await self._committer.flush()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._start_claims()
            for polled in await self._poll(self._poll_timeout(), self._policy.poll_records):
                await self._take(polled)
            self._skip_gaps(self._batch.spans.keys())
            await self._seal_if_ready()

    def _start_claims(self) -> None:
        claims = self._claimer.granted()
        for claim in claims:
            self._returned.pop(claim.partition, None)
            span = self._batch.spans.get(claim.partition)
            if span is not None and span.epoch == claim.epoch:  # only its log was compared: continue
                span.leader_epoch = claim.leader_epoch
            else:
                self._batch.claim(claim)
                self._committer.begin([claim])
        if claims:
            self._source.seek({claim.partition: self._next_offset(claim) for claim in claims})

    async def _poll(self, timeout: float, max_records: int) -> Sequence[PartitionRecords]:
        polled = await self._source.poll(timeout, max_records)
        for one in polled:
            self._returned[one.partition] = one.records[-1].offset + 1
        return polled

    def _poll_timeout(self) -> float:
        left = self._batch.seconds_left(self._clock.monotonic())
        return self._policy.poll_timeout if left is None else min(left, self._policy.poll_timeout)

    async def _take(self, polled: PartitionRecords) -> None:
        """Decode and add the records, slice by slice, while this process holds their partition."""
        span = self._readable_span(polled.partition)
        if span is None or self._is_to_be_compared(span, polled.leader_epoch):
            return
        records, place = span.fresh(polled.records), 0
        while place < len(records):
            piece = self._slicer.cut(records, place)
            piece = piece[: self._batch.room(piece)]
            place += len(piece)
            verdicts = await self._decode(piece)
            if not self._is_still_readable(span):
                return
            self._add(piece, verdicts)
            await self._seal_if_ready()
            await asyncio.sleep(0)
            if not self._is_still_readable(span):
                return

    async def _decode(self, records: Sequence[Record]) -> Sequence[Verdict]:
        """Decode slices on the event loop and large records in a thread. The slicer keeps the slices short."""
        decode = partial(decode_all, self._kinds[records[0].topic], records, self._policy.max_record_bytes)
        if self._slicer.is_large(records):
            return await self._seal_while(self._aside(decode))
        began = self._clock.monotonic()
        verdicts = decode()
        self._slicer.took(records, self._clock.monotonic() - began)
        return verdicts

    async def _seal_while(self, decoding: Awaitable[Sequence[Verdict]]) -> Sequence[Verdict]:
        """Seal the open batch when it is due, even while one large record is being decoded."""
        task = asyncio.ensure_future(decoding)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=self._poll_timeout())
                await self._seal_if_ready()
            return task.result()
        finally:
            task.cancel()

    def _readable_span(self, partition: Partition) -> Span | None:
        return self._batch.spans.get(partition) if partition in self._claimer.held else None

    def _is_still_readable(self, span: Span) -> bool:
        """Whether the partition is still held under the claim it was read under."""
        current = self._readable_span(span.partition)
        return current is not None and current.epoch == span.epoch

    def _is_to_be_compared(self, span: Span, leader_epoch: int | None) -> bool:
        """Whether the log must be compared first, because its leader has changed. Pauses the partition if so."""
        if span.is_known_log(leader_epoch):
            return False
        self._source.pause([span.partition])
        self._claimer.compare(span.partition, leader_epoch)
        return True

    def _add(self, records: Sequence[Record], verdicts: Sequence[Verdict]) -> None:
        span = self._batch.spans[Partition(records[0].topic, records[0].partition)]
        span.take(records)
        self._batch.add(self._kinds[span.partition.topic], records, verdicts)
        self._committer.read(span.partition, records[0].timestamp)
        self._batch.open_at(self._clock.monotonic())

    def _skip_gaps(self, partitions: Collection[Partition]) -> None:
        """Move the spans over offsets without a record. Otherwise a transaction marker at the end would stay in the
        lag.

        A record that the source returned and that was not added is not such a gap: it is read again.
        """
        spans = self._batch.spans
        readable = spans.keys() & self._claimer.held & set(partitions)
        for partition, position in self._source.positions(readable).items():
            span = spans[partition]
            if self._returned.get(partition, 0) > span.next:
                self._returned.pop(partition)
                self._source.seek({partition: span.next})
            elif position.offset > span.next and not self._is_to_be_compared(span, position.leader_epoch):
                span.skip_to(position.offset)
                self._batch.open_at(self._clock.monotonic())

    async def _seal_if_ready(self) -> None:
        if self._batch.is_ready(self._clock.monotonic()):
            await self._wait_for_slot()
            self._seal()

    async def _wait_for_slot(self) -> None:
        self._waiting_since = self._clock.monotonic()
        while not await self._writer.slot_within(self._policy.stall_seconds):
            self._note_waiting()
            await self._stall()
        self._note_waiting()
        self._waiting_since = None
        if self._stalled:
            self._stalled = False
            self._source.resume(self._batch.spans.keys() & self._claimer.held)

    def _note_waiting(self) -> None:
        """Report the waiting so far. Also called during the wait, so that the metric shows a long outage before its
        end.
        """
        seconds, self._waiting_since = self.seconds_waited - self._waited, self._clock.monotonic()
        self._waited += seconds
        self._telemetry.backpressure(seconds)

    async def _stall(self) -> None:
        """Stop fetching because the writer is blocked, but keep polling, or the group would expel this process."""
        if not self._stalled:
            self._stalled = True
            self._source.pause()
        await self._poll(0, 1)  # returns nothing while paused; a returned record would be read again

    def _seal(self) -> None:
        """Give the open batch to the writer. The caller holds a slot for it."""
        if self._batch.is_empty:
            self._writer.free_slot()
        else:
            sealed, self._batch = self._batch, self._batch.next()
            self._writer.put(sealed)

    def _discard_batch(self) -> Collection[Partition]:
        """Drop the open batch and every claim; returns the partitions that were claimed."""
        claimed, self._batch = self._batch.spans.keys(), Batch(self._policy.limits)
        return claimed

    # ── after a write ────────────────────────────────────────────────────────────────────────────────────────────

    def _follow_up(self, written: Written) -> None:
        self.commits += 1
        self._committer.note(written.batch.spans.values())
        for partition, reason in written.stopped.items():
            self._source.pause([partition])
            self._claimer.stopped_in_ledger(partition, reason)
        self._claimer.on_written()

    def _throw_away(self, batch: Batch, fenced: Fenced) -> None:
        """Also drop all records read after this batch, because the batch was not written. Then claim again."""
        self.fences += 1
        spans = self._batch.spans
        if any(p in spans and spans[p].epoch == span.epoch for p, span in batch.spans.items()):
            self._claimer.claim_again(self._discard_batch(), fenced.partitions)

    def _lose(self, lost: Collection[Partition], taken: Collection[Partition]) -> None:
        """Drop the open batch: the ledger shows that claims were lost, so the batch could never be written."""
        if taken and not self._batch.is_empty:
            self.fences += 1
            self._telemetry.fenced(Fenced(taken))
        self._claimer.claim_again({*self._discard_batch(), *lost}, taken)
