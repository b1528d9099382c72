"""The one loop: poll, decode, batch, write, follow up.

Reading goes on while batches are written. Two are under way at once, so that the database need not wait for us between
them, but they commit in the order in which they were sealed. One more may wait, and then reading waits: a slow database
stalls the reader by construction. Only the reading task takes records in, moves claims in and seeks, so no record of
an older claim can slip behind a newer one.
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
from consumer.ingest.batch import Batch, Batcher, BatchLimits
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
    :param poll_records: records taken from the source at a time
    :param slice_records: records decoded before the loop gets a turn, or the write would stall behind decoding
    :param slice_bytes: bytes of them at most; a larger record is decoded beside the loop
    :param slice_seconds: seconds that decoding them should take at most: what took longer is followed by smaller slices
    :param poll_timeout: seconds a poll may wait
    :param drain_timeout: seconds a rebalance waits for batches in flight
    :param stall_seconds: seconds of waiting for the writer after which fetching is paused
    :param reclaim_delay: seconds until a fenced partition that is still assigned to us is claimed again
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
    """Moves records from the source to the store, each once in effect."""

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
        self._batcher = Batcher(policy.limits)
        self._claimer = Claimer(source, store, telemetry, policy.reclaim_delay, self._lose, self._reads_on_at)
        self._committer = Committer(source, telemetry, clock)
        self._writer = Writer(store, telemetry, clock, self._follow_up, self._throw_away)
        # Behind the newest record that the source has returned: what is not taken in of these is no gap.
        self._returned: dict[Partition, int] = {}
        # How many batches were committed, and how many thrown away because of a fence.
        self.commits = self.fences = 0
        self._stalled = False
        self._waited = 0.0
        self._waiting_since: float | None = None

    @property
    def is_assigned(self) -> bool:
        """Whether the group has decided what this reader reads, be it nothing."""
        return self._claimer.is_assigned

    @property
    def is_claimed(self) -> bool:
        """Whether every assigned partition is claimed, but for those without a leader that answers."""
        return self._claimer.is_settled

    @property
    def unanswered(self) -> AbstractSet[Partition]:
        """The assigned partitions that wait to be claimed and have no leader that answers."""
        return self._claimer.unanswered

    @property
    def positions(self) -> Mapping[Partition, int]:
        """Where reading stands in each partition that is ours to read; -1 where it has not begun."""
        spans = ((partition, self._batcher.span(partition)) for partition in self._claimer.held)
        return {partition: -1 if span is None else span.next for partition, span in spans}

    @property
    def seconds_waited(self) -> float:
        """How long reading has waited for the writer so far."""
        since = self._waiting_since
        return self._waited + (0.0 if since is None else self._clock.monotonic() - since)

    @property
    def is_writing(self) -> bool:
        """Whether batches are being written."""
        return self._writer.is_busy

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then write what is held and commit.

        :raises ExceptionGroup: a task failed; nothing is lost, the ledger is where the next reader resumes
        """
        async with asyncio.TaskGroup() as tasks:
            works = (*self._writer.works(), self._claimer.run(), self._committer.run())
            background = [tasks.create_task(work) for work in works]
            reading = tasks.create_task(self._read(stop))
            await stop.wait()
            await self._stop_reading(reading)
            await self._drain()
            for task in background:
                task.cancel()

    async def _stop_reading(self, reading: asyncio.Task[None]) -> None:
        """The poll returns by itself, unless a rebalance holds it."""
        _, pending = await asyncio.wait({reading}, timeout=2 * self._policy.poll_timeout + 1)
        for task in pending:
            task.cancel()

    # ── what the group tells ─────────────────────────────────────────────────────────────────────────────────────

    def on_assigned(self, partitions: Collection[Partition]) -> None:
        """The group gave us these partitions; nothing of them is taken in before they are claimed."""
        self._telemetry.assigned(partitions)
        self._claimer.assign(partitions)

    async def on_revoked(self, partitions: Collection[Partition]) -> None:
        """The group takes everything back: write what is held, within the deadline, and let go."""
        self._claimer.revoke()
        try:
            async with asyncio.timeout(self._policy.drain_timeout):
                await self._drain()
        except TimeoutError:
            self._telemetry.drain_timed_out(self._policy.drain_timeout)
        self._batcher.discard()
        self._committer.forget(partitions)
        self._telemetry.revoked(partitions)

    def on_position_lost(self, partitions: Collection[Partition]) -> None:
        """The broker does not hold what comes next. What has become of it shows when the log is compared."""
        self._source.pause(partitions)
        for partition in partitions:
            self._claimer.compare(partition)

    def on_unreadable(self, partition: Partition, first: int, reason: StopReason) -> None:
        """This offset comes next and cannot be read: the partition stops, what was taken before it is written."""
        self._skip_gaps({partition})
        span = self._readable_span(partition)
        if span is not None and span.next == first:
            self._claimer.stop(partition, reason)
        elif span is not None:
            self._source.seek({partition: span.next})  # not all before it was taken in

    def _reads_on_at(self, claim: Claim) -> int:
        span = self._batcher.span(claim.partition)
        return claim.next_offset if span is None or span.epoch != claim.epoch else span.next

    async def _drain(self) -> None:
        """Write everything taken in so far, and commit."""
        await self._writer.slot()
        self._put_or_free_slot()
        await self._writer.idle()
        await self._committer.flush()

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _read(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._begin_claimed()
            for stretch in await self._poll(self._patience(), self._policy.poll_records):
                await self._take(stretch)
            self._skip_gaps(self._batcher.spans.keys())
            await self._hand_over_if_ready()

    def _begin_claimed(self) -> None:
        claims = self._claimer.granted()
        for claim in claims:
            self._returned.pop(claim.partition, None)
            span = self._batcher.span(claim.partition)
            if span is not None and span.epoch == claim.epoch:  # its log was compared: read on
                span.leader_epoch = claim.leader_epoch
            else:
                self._batcher.claim(claim)
                self._committer.begin([claim])
        if claims:
            self._source.seek({claim.partition: self._reads_on_at(claim) for claim in claims})

    async def _poll(self, timeout: float, max_records: int) -> Sequence[PartitionRecords]:
        stretches = await self._source.poll(timeout, max_records)
        for stretch in stretches:
            self._returned[stretch.partition] = stretch.records[-1].offset + 1
        return stretches

    def _patience(self) -> float:
        left = self._batcher.seconds_left(self._clock.monotonic())
        return self._policy.poll_timeout if left is None else min(left, self._policy.poll_timeout)

    async def _take(self, stretch: PartitionRecords) -> None:
        """Take the stretch in, slice by slice, as long as its partition stays ours."""
        span = self._readable_span(stretch.partition)
        if span is None or self._is_to_be_compared(span, stretch.leader_epoch):
            return
        records, place = span.fresh(stretch.records), 0
        while place < len(records):
            piece = self._slicer.cut(records, place)
            piece = piece[: self._batcher.room(piece)]
            place += len(piece)
            verdicts = await self._decode(piece)
            if not self._is_still_readable(span):
                return
            self._take_slice(piece, verdicts)
            await self._hand_over_if_ready()
            await asyncio.sleep(0)
            if not self._is_still_readable(span):
                return

    async def _decode(self, records: Sequence[Record]) -> Sequence[Verdict]:
        """On the loop as long as that is quick, which is checked; beside it what takes long."""
        decode = partial(decode_all, self._kinds[records[0].topic], records, self._policy.max_record_bytes)
        if self._slicer.is_large(records):
            return await self._hand_over_while(self._aside(decode))
        began = self._clock.monotonic()
        verdicts = decode()
        self._slicer.took(records, self._clock.monotonic() - began)
        return verdicts

    async def _hand_over_while(self, decoding: Awaitable[Sequence[Verdict]]) -> Sequence[Verdict]:
        """What was taken in before must not wait for one large record."""
        task = asyncio.ensure_future(decoding)
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=self._patience())
                await self._hand_over_if_ready()
            return task.result()
        finally:
            task.cancel()

    def _readable_span(self, partition: Partition) -> Span | None:
        return self._batcher.span(partition) if partition in self._claimer.held else None

    def _is_still_readable(self, span: Span) -> bool:
        """Whether the partition is held under the claim that it was read under."""
        current = self._readable_span(span.partition)
        return current is not None and current.epoch == span.epoch

    def _is_to_be_compared(self, span: Span, leader_epoch: int | None) -> bool:
        """Where another leader writes now, nothing is taken in before the log is known to hold what was read."""
        if span.is_known_log(leader_epoch):
            return False
        self._source.pause([span.partition])
        self._claimer.compare(span.partition, leader_epoch)
        return True

    def _take_slice(self, records: Sequence[Record], verdicts: Sequence[Verdict]) -> None:
        batch = self._batcher.batch
        span = batch.spans[Partition(records[0].topic, records[0].partition)]
        span.take(records)
        batch.add(self._kinds[span.partition.topic], records, verdicts)
        self._committer.read(span.partition, records[0].timestamp)
        batch.open_at(self._clock.monotonic())

    def _skip_gaps(self, partitions: Collection[Partition]) -> None:
        """Follow the source over offsets that hold no record for us, or a marker at the end would wait for ever.

        What the source has returned and was not taken in, for whatever reason, is none of these: it is read again, or
        by whoever holds the partition then.
        """
        spans = self._batcher.spans
        readable = spans.keys() & self._claimer.held & set(partitions)
        for partition, position in self._source.positions(readable).items():
            span = spans[partition]
            if self._returned.get(partition, 0) > span.next:
                self._returned.pop(partition)
                self._source.seek({partition: span.next})
            elif position.offset > span.next and not self._is_to_be_compared(span, position.leader_epoch):
                span.skip_to(position.offset)
                self._batcher.batch.open_at(self._clock.monotonic())

    async def _hand_over_if_ready(self) -> None:
        if self._batcher.is_ready(self._clock.monotonic()):
            await self._wait_for_slot()
            self._put_or_free_slot()

    async def _wait_for_slot(self) -> None:
        self._waiting_since = self._clock.monotonic()
        while not await self._writer.slot_within(self._policy.stall_seconds):
            self._note_waiting()
            await self._stall()
        self._note_waiting()
        self._waiting_since = None
        if self._stalled:
            self._stalled = False
            self._source.resume(self._batcher.spans.keys() & self._claimer.held)

    def _note_waiting(self) -> None:
        """While it lasts, too: an outage of hours is not to be seen only once it is over."""
        seconds, self._waiting_since = self.seconds_waited - self._waited, self._clock.monotonic()
        self._waited += seconds
        self._telemetry.backpressure(seconds)

    async def _stall(self) -> None:
        """The writer is held up for long: stop fetching, but keep polling, or the group takes us for dead."""
        if not self._stalled:
            self._stalled = True
            self._source.pause()
        await self._poll(0, 1)  # returns nothing; if it ever did, that would be read again

    def _put_or_free_slot(self) -> None:
        """Seal the open batch for the writer; the caller holds a slot for it."""
        if self._batcher.batch.is_empty:
            self._writer.free_slot()
        else:
            self._writer.put(self._batcher.seal())

    # ── what was written ─────────────────────────────────────────────────────────────────────────────────────────

    def _follow_up(self, written: Written) -> None:
        self.commits += 1
        self._committer.note(written.batch.spans.values())
        for partition, reason in written.stopped.items():
            self._source.pause([partition])
            self._claimer.stopped_in_ledger(partition, reason)
        self._claimer.on_written()

    def _throw_away(self, batch: Batch, fenced: Fenced) -> None:
        """Nothing of this batch was written, so nothing after it may be: back to where the ledger stands."""
        self.fences += 1
        spans = self._batcher.spans
        if any(p in spans and spans[p].epoch == span.epoch for p, span in batch.spans.items()):
            self._claimer.claim_again(self._batcher.discard(), fenced.partitions)

    def _lose(self, lost: Collection[Partition], taken: Collection[Partition]) -> None:
        """The ledger says so before a write of ours could: what is held of these partitions can never be written."""
        if taken and not self._batcher.batch.is_empty:
            self.fences += 1
            self._telemetry.fenced(Fenced(taken))
        self._claimer.claim_again({*self._batcher.discard(), *lost}, taken)
