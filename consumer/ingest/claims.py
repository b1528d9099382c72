"""Which partitions the group gave us, and which of them the ledger lets us write for.

An assigned partition is in one of these states:

    wanted    to be claimed as soon as Kafka and the database answer
    compared  claimed; read as soon as Kafka has said that the log still holds what was read of it. A held partition
              comes back here when another leader writes its log, or its position is gone
    held      ours to read and write, until the ledger says otherwise
    yielded   another reader has claimed it; claimed again later, if the group still counts it as ours
    stopping  it cannot be read on; what was taken in before the stop is being written. Where that is thrown away, it is
              wanted again, and whoever reads up to there stops there
    stopped   everything before the stop is committed, and the ledger keeps the stop, until a person decides

Only a partition that has stopped is reported: what is advised then, to go on behind the stop, gives up nothing that
waits to be written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from consumer.events.record import Partition
from consumer.ingest.log_watch import LogWatch
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Answers, Claims, Holder, Source, SourceError, Telemetry, Unavailable
from consumer.ingest.stop_reasons import is_made_anew, topic_made_anew

RETRY_SECONDS = 1.0
LOOK_SECONDS = 5.0
ANSWER_SECONDS = 10.0  # a server that takes longer to say who holds a few rows is as good as away


@dataclass(slots=True)
class _Stop:
    """A partition that stops at an offset: under which claim, why, and whether the ledger keeps it."""

    claim: Claim
    offset: int
    reason: StopReason
    is_kept: bool = False


class Claimer:
    """Claims what is assigned, in a task of its own, because a rebalance must not wait for the database.

    The reading task takes the granted claims when it is between two polls. Every few seconds a look at the ledger and
    at the topics tells whether the claims still hold. A partition whose leader does not answer, or whose row of the
    ledger is locked, waits by itself, and is asked about again and again.

    :param on_lost: is told of held and stopped partitions whose claim is lost, and which of these another reader has
    :param reads_on_at: the offset that comes next, of what was taken in under a claim
    """

    def __init__(
        self,
        source: Source,
        store: Claims,
        telemetry: Telemetry,
        reclaim_delay: float,
        on_lost: Callable[[Collection[Partition], Collection[Partition]], None],
        reads_on_at: Callable[[Claim], int],
    ) -> None:
        self._source, self._store, self._telemetry = source, store, telemetry
        self._reclaim_delay, self._on_lost = reclaim_delay, on_lost
        self._reads_on_at, self._logs = reads_on_at, LogWatch(source, reads_on_at)
        self._assigned: frozenset[Partition] | None = None
        self._wanted: set[Partition] = set()
        self._unanswered: dict[Partition, str] = {}
        self._locked: frozenset[Partition] = frozenset()
        self._granted: list[Claim] = []
        self._held: dict[Partition, Claim] = {}
        self._yielded: dict[Partition, asyncio.TimerHandle] = {}
        self._stopped: dict[Partition, _Stop] = {}
        self._changed = asyncio.Event()

    @property
    def is_assigned(self) -> bool:
        """Whether the group has decided what is ours, be it nothing."""
        return self._assigned is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be claimed, but for what has no leader that answers."""
        return self.is_assigned and self._waiting <= self.unanswered

    @property
    def unanswered(self) -> AbstractSet[Partition]:
        """What waits to be claimed and has no leader that answers."""
        return self._waiting & self._unanswered.keys()

    @property
    def _waiting(self) -> AbstractSet[Partition]:
        return self._wanted | self._logs.claims.keys()

    @property
    def held(self) -> AbstractSet[Partition]:
        """The partitions that are ours to read and write."""
        return self._held.keys()

    @property
    def stopped(self) -> AbstractSet[Partition]:
        """The partitions that cannot be read on, stopping ones among them."""
        return self._stopped.keys()

    # ── what the reading task and the group tell ─────────────────────────────────────────────────────────────────

    def assign(self, partitions: Collection[Partition]) -> None:
        """These, and only these, are ours now."""
        self._forget()
        self._assigned = frozenset(partitions)
        self._wanted = set(partitions)
        self._changed.set()

    def revoke(self) -> None:
        """Nothing is ours until the next assignment."""
        self._forget()
        self._assigned = None

    def _forget(self) -> None:
        for timer in self._yielded.values():
            timer.cancel()
        for state in (self._wanted, self._granted, self._held, self._yielded, self._stopped, self._unanswered):
            state.clear()
        self._logs.clear()

    def stop(self, partition: Partition, reason: StopReason) -> None:
        """A partition cannot be read on; what was taken in before is still written."""
        claim = self._held.pop(partition, None) or self._logs.drop(partition)
        if claim is not None:
            self._stopped[partition] = _Stop(claim, self._reads_on_at(claim), reason)
            self._changed.set()

    def compare(self, partition: Partition, leader_epoch: int | None = None) -> None:
        """A held partition, which is paused, is granted again once its log is known to hold what was read of it.

        :param leader_epoch: the newest one under which its log is written
        """
        claim = self._held.get(partition)
        if claim is not None and claim not in self._granted:  # else it was compared just now, and not read since
            del self._held[partition]
            self._logs.add(claim, leader_epoch, is_new=False)
            self._changed.set()

    def stopped_in_ledger(self, partition: Partition, reason: StopReason) -> None:
        """A write has stopped a partition: that comes first, whatever it was stopping for."""
        stopping = self._stopped.get(partition)
        claim = self._held.pop(partition, None) or self._logs.drop(partition) or (stopping.claim if stopping else None)
        if claim is not None:
            self._stopped[partition] = _Stop(claim, claim.next_offset, reason)
            self._report(self._stopped[partition], reason)

    def on_written(self) -> None:
        """Something was committed: it may be what a stop waits for."""
        if any(not stop.is_kept for stop in self._stopped.values()):
            self._changed.set()

    def claim_again(self, partitions: Collection[Partition], taken: Collection[Partition]) -> None:
        """Claim afresh after a batch was thrown away: those that another reader has taken only later.

        If the group still counts them as ours after the delay, that reader is gone.
        """
        for partition in taken:
            self._claim_later(partition)
        stopped = {partition for partition, stop in self._stopped.items() if stop.is_kept}
        for partition in set(partitions) - set(taken) - stopped:
            self._want(partition)

    def granted(self) -> Sequence[Claim]:
        """The claims granted since the last call, but for those that were lost or stopped again."""
        claims, self._granted = self._granted, []
        return [claim for claim in claims if self._held.get(claim.partition) is claim]

    def _claim_later(self, partition: Partition) -> None:
        self._let_go(partition)
        if partition in (self._assigned or ()):
            loop = asyncio.get_running_loop()
            self._yielded[partition] = loop.call_later(self._reclaim_delay, self._want, partition)

    def _let_go(self, partition: Partition) -> None:
        """Claiming twice would fence ourselves, so a later claim that was planned is dropped too."""
        self._held.pop(partition, None)
        self._logs.drop(partition)
        self._stopped.pop(partition, None)
        if partition in self._yielded:
            self._yielded.pop(partition).cancel()

    def _want(self, partition: Partition) -> None:
        self._let_go(partition)
        if partition in (self._assigned or ()):
            self._wanted.add(partition)
            self._changed.set()

    # ── the task ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Claim whatever is wanted and look after what is held, for ever."""
        while True:
            await self._wait()
            if not await self._turn():
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    async def _turn(self) -> bool:
        """Whether nothing has to be tried again soon. What one step cannot do now keeps no other from being done."""
        answered = True
        steps = (self._look_at_ledger, self._claim_wanted, self._compare_logs, self._keep_stops, self._look_at_topics)
        for step in steps:
            try:
                await step()
            except (SourceError, Unavailable):
                answered = False
        return answered and not self.unanswered

    async def _claim_wanted(self) -> None:
        assigned, wanted = self._assigned, frozenset(self._wanted)
        if not wanted:
            self._note_locked(())
            return
        with self._telling_of_kafka():
            bounds = await self._source.bounds(wanted)
        if assigned is not self._assigned:
            return
        self._note_answers(wanted, bounds)
        if not bounds:
            return
        try:
            claims = await self._store.claim(bounds)
        except Unavailable as error:
            self._telemetry.unavailable(error.cause, str(error))
            raise
        self._telemetry.available()
        if assigned is self._assigned:  # else a rebalance has overtaken us, and the ledger's epoch covers it
            self._take_over(claims)
            self._note_locked(bounds.keys() - {claim.partition for claim in claims})

    def _note_locked(self, locked: Collection[Partition]) -> None:
        """Tell of rows that are locked twice in a row: the transaction of a reader before us ends within moments."""
        self._telemetry.ledger_locked(self._locked & set(locked))
        self._locked = frozenset(locked)
        if locked:
            raise Unavailable("other transactions hold rows of the ledger", "lock")

    def _take_over(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._wanted.discard(claim.partition)
            if claim.stop:
                self._stopped[claim.partition] = _Stop(claim, claim.next_offset, claim.stop)
            else:
                self._logs.add(claim, is_new=True)

    def _note_answers(self, asked: AbstractSet[Partition], answers: Answers[Any]) -> None:
        self._unanswered = {p: why for p, why in self._unanswered.items() if p not in asked} | dict(answers.unanswered)
        self._telemetry.unanswered(asked, answers.unanswered)

    async def _compare_logs(self) -> None:
        assigned, asked = self._assigned, self._logs.claims.keys()
        if not asked:
            return
        with self._telling_of_kafka():
            verdicts = await self._logs.look()
        if assigned is not self._assigned:
            return
        self._note_answers(asked, verdicts)
        for claim, _, reason in verdicts.values():
            if reason:
                self._stopped[claim.partition] = _Stop(claim, self._reads_on_at(claim), reason)
            else:
                self._held[claim.partition] = claim
                self._granted.append(claim)
        new = [claim for claim, is_new, reason in verdicts.values() if is_new and not reason]
        if new:
            self._telemetry.claimed(new)

    async def _look_at_ledger(self) -> None:
        """A claim can be lost without a write of ours: to another reader, or by somebody's decision.

        Who has no partition asks too: an outage would never be over for a reader that asks nothing any more.
        """
        claims = self._claims()
        holders = await self._ask_for_holders({*claims, *self._yielded})
        free = {partition for partition, holder in holders.items() if holder.is_free} | (claims.keys() - holders.keys())
        now = self._claims()  # a rebalance may have overtaken the answer
        lost = [p for p, claim in claims.items() if now.get(p) is claim and not _holds(claim, holders.get(p))]
        if lost:
            self._telemetry.overtaken(lost)
            for partition in lost:
                self._let_go(partition)
            self._on_lost(lost, set(lost) - free)
        for partition in free & self._yielded.keys():
            self._want(partition)

    def _claims(self) -> Mapping[Partition, Claim]:
        return {**self._readable(), **{partition: stop.claim for partition, stop in self._stopped.items()}}

    async def _ask_for_holders(self, partitions: Collection[Partition]) -> Mapping[Partition, Holder]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                holders = await self._store.holders(partitions)
        except TimeoutError:
            self._telemetry.silent("timeout", f"PostgreSQL has not answered for {ANSWER_SECONDS:.0f} s")
            raise Unavailable("no answer", "timeout") from None
        except Unavailable as error:
            self._telemetry.silent(error.cause, str(error))
            raise
        self._telemetry.answered()
        if not self._held and not self._wanted:
            self._telemetry.available()  # nothing is there to be written that could tell
        return holders

    async def _keep_stops(self) -> None:
        """Have them in the ledger, for whoever claims after us, once everything before them is committed."""
        for partition, stop in [(partition, stop) for partition, stop in self._stopped.items() if not stop.is_kept]:
            kept = await self._store.stop(stop.claim, stop.offset, stop.reason)
            if kept and self._stopped.get(partition) is stop:  # a rebalance may have overtaken the answer
                self._report(stop, kept)

    def _report(self, stop: _Stop, kept: StopReason) -> None:
        stop.is_kept = True
        self._telemetry.stopped(stop.claim.partition, kept)

    def _readable(self) -> Mapping[Partition, Claim]:
        return {**self._held, **self._logs.claims}

    async def _look_at_topics(self) -> None:
        """A topic made anew may soon be longer than the old one was, and then no offset tells."""
        with self._telling_of_kafka():
            ids = await self._source.topic_ids({partition.topic for partition in self._readable()})
        for partition, claim in self._readable().items():
            if is_made_anew(claim.topic_id, ids.get(partition.topic)):
                self._source.pause([partition])
                self.stop(partition, topic_made_anew(partition))

    @contextmanager
    def _telling_of_kafka(self) -> Iterator[None]:
        try:
            yield
        except SourceError as error:
            self._telemetry.kafka_unavailable(error)
            raise
        self._telemetry.kafka_available()


def _holds(claim: Claim, holder: Holder | None) -> bool:
    return holder is not None and holder.epoch == claim.epoch
