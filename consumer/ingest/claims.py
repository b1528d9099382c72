"""Claims the assigned partitions in the ledger, and keeps their state.

    state     meaning                                             next state, and what causes it
    wanted    assigned, not claimed                               compared: the ledger grants the claim
                                                                  stopped: the ledger has a recorded stop
    compared  claimed; the log is compared with the records read  held: the log still contains these records
                                                                  stopped: it does not
    held      this process reads and writes it                    compared: a new leader, or the position is gone
                                                                  yielded: another process claims it (fence)
                                                                  wanted: a batch was thrown away
                                                                  stopping: the next offset cannot be read
    yielded   another process has claimed it                      wanted: after a delay, if it is still assigned
    stopping  the records before the stop are being written       stopped: they are committed
                                                                  wanted: they were thrown away
    stopped   the ledger has recorded the stop                    wanted: a person has decided

A rebalance ends every state. A stop is logged only when the partition is `stopped`: the command in the log, which
continues after the stop, then gives up no record that still waits to be written.
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
from consumer.ingest.ports import Answers, Cause, Claims, Holder, Source, SourceError, Telemetry, Unavailable
from consumer.ingest.stop_reasons import is_recreated, topic_recreated

RETRY_SECONDS = 1.0
CHECK_SECONDS = 5.0
ANSWER_SECONDS = 10.0  # a server that needs longer to return a few rows counts as unavailable


@dataclass(slots=True)
class _Stop:
    """A partition that stops at an offset; `is_kept` if the ledger has recorded it."""

    claim: Claim
    offset: int
    reason: StopReason
    is_kept: bool = False


class Claimer:
    """Claims the assigned partitions in a task of its own, because a rebalance must not wait for the database.

    The reading task fetches granted claims between two polls. Every few seconds the ledger and the topics are checked,
    to find lost claims. A partition whose leader does not answer, or whose row in the ledger is locked, delays no
    other.

    :param on_lost: called with two sets: the partitions whose claims are lost, and among them those that another
        process has claimed
    :param next_offset: returns the offset after the records that were read under a claim
    """

    def __init__(
        self,
        source: Source,
        store: Claims,
        telemetry: Telemetry,
        reclaim_delay: float,
        on_lost: Callable[[Collection[Partition], Collection[Partition]], None],
        next_offset: Callable[[Claim], int],
    ) -> None:
        self._source, self._store, self._telemetry = source, store, telemetry
        self._reclaim_delay, self._on_lost = reclaim_delay, on_lost
        self._next_offset, self._logs = next_offset, LogWatch(source, next_offset)
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
        """Whether the group has assigned partitions to this process, or has assigned none."""
        return self._assigned is not None

    @property
    def is_settled(self) -> bool:
        """Whether every assigned partition is claimed, except those whose leader does not answer."""
        return self.is_assigned and self._waiting <= self.unanswered

    @property
    def unanswered(self) -> AbstractSet[Partition]:
        """The partitions that wait to be claimed because their leader does not answer."""
        return self._waiting & self._unanswered.keys()

    @property
    def _waiting(self) -> AbstractSet[Partition]:
        return self._wanted | self._logs.claims.keys()

    @property
    def held(self) -> AbstractSet[Partition]:
        """The partitions that this process reads and writes."""
        return self._held.keys()

    @property
    def stopped(self) -> AbstractSet[Partition]:
        """The stopping and the stopped partitions."""
        return self._stopped.keys()

    # ── calls from the reading task and from the group ───────────────────────────────────────────────────────────

    def assign(self, partitions: Collection[Partition]) -> None:
        """The group has assigned these partitions, and no others."""
        self._forget()
        self._assigned = frozenset(partitions)
        self._wanted = set(partitions)
        self._changed.set()

    def revoke(self) -> None:
        """The group has revoked every partition."""
        self._forget()
        self._assigned = None

    def _forget(self) -> None:
        for timer in self._yielded.values():
            timer.cancel()
        for state in (self._wanted, self._granted, self._held, self._yielded, self._stopped, self._unanswered):
            state.clear()
        self._logs.clear()

    def stop(self, partition: Partition, reason: StopReason) -> None:
        """Stop a partition at its next offset. Records before it are still written."""
        claim = self._held.pop(partition, None) or self._logs.drop(partition)
        if claim is not None:
            self._stopped[partition] = _Stop(claim, self._next_offset(claim), reason)
            self._changed.set()

    def compare(self, partition: Partition, leader_epoch: int | None = None) -> None:
        """Compare the log of a held, paused partition; then grant its claim again.

        :param leader_epoch: the newest epoch under which its log is written
        """
        claim = self._held.get(partition)
        if claim is not None and claim not in self._granted:  # a new claim was compared, and not read yet
            del self._held[partition]
            self._logs.add(claim, leader_epoch, is_new=False)
            self._changed.set()

    def stopped_in_ledger(self, partition: Partition, reason: StopReason) -> None:
        """A write has recorded a stop. That stop replaces one that is not recorded yet."""
        stopping = self._stopped.get(partition)
        claim = self._held.pop(partition, None) or self._logs.drop(partition) or (stopping.claim if stopping else None)
        if claim is not None:
            self._stopped[partition] = _Stop(claim, claim.next_offset, reason)
            self._report(self._stopped[partition], reason)

    def on_written(self) -> None:
        """A batch was committed: a stop may have waited for it."""
        if any(not stop.is_kept for stop in self._stopped.values()):
            self._changed.set()

    def claim_again(self, partitions: Collection[Partition], taken: Collection[Partition]) -> None:
        """Claim again after a batch was thrown away. The partitions that another process has `taken` are claimed after
        a delay.

        If they are still assigned to this process after the delay, the other process is gone.
        """
        for partition in taken:
            self._claim_later(partition)
        stopped = {partition for partition, stop in self._stopped.items() if stop.is_kept}
        for partition in set(partitions) - set(taken) - stopped:
            self._want(partition)

    def granted(self) -> Sequence[Claim]:
        """The claims granted since the last call, without those that were lost or have stopped since."""
        claims, self._granted = self._granted, []
        return [claim for claim in claims if self._held.get(claim.partition) is claim]

    def _claim_later(self, partition: Partition) -> None:
        self._let_go(partition)
        if partition in (self._assigned or ()):
            loop = asyncio.get_running_loop()
            self._yielded[partition] = loop.call_later(self._reclaim_delay, self._want, partition)

    def _let_go(self, partition: Partition) -> None:
        """Drop every state, and a claim that is planned for later, because a second claim would fence the first."""
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
        """Claim the wanted partitions and check the held ones, until cancelled."""
        while True:
            await self._wait()
            if not await self._run_steps():
                await asyncio.sleep(RETRY_SECONDS)
                self._changed.set()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return
        finally:
            self._changed.clear()

    async def _run_steps(self) -> bool:
        """Run every step, even if one of them fails. Return False if a step has to be repeated soon."""
        answered = True
        steps = (self._check_ledger, self._claim_wanted, self._compare_logs, self._record_stops, self._check_topics)
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
        with self._reporting_kafka():
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
        if assigned is self._assigned:  # otherwise a rebalance came first, and the epoch in the ledger covers it
            self._take_over(claims)
            self._note_locked(bounds.keys() - {claim.partition for claim in claims})

    def _note_locked(self, locked: Collection[Partition]) -> None:
        """Report a row only if it is locked at two attempts in a row, because the transaction of a previous holder ends
        sooner.
        """
        self._telemetry.ledger_locked(self._locked & set(locked))
        self._locked = frozenset(locked)
        if locked:
            raise Unavailable("other transactions hold rows of the ledger", Cause.LOCK)

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
        with self._reporting_kafka():
            verdicts = await self._logs.compare()
        if assigned is not self._assigned:
            return
        self._note_answers(asked, verdicts)
        for claim, _, reason in verdicts.values():
            if reason:
                self._stopped[claim.partition] = _Stop(claim, self._next_offset(claim), reason)
            else:
                self._held[claim.partition] = claim
                self._granted.append(claim)
        new = [claim for claim, is_new, reason in verdicts.values() if is_new and not reason]
        if new:
            self._telemetry.claimed(new)

    async def _check_ledger(self) -> None:
        """Find claims that another process or a person's decision has ended, before a write would find out.

        A replica without partitions also asks, or it would never notice that an outage has ended.
        """
        claims = self._claims()
        holders = await self._ask_for_holders({*claims, *self._yielded})
        free = {partition for partition, holder in holders.items() if holder.is_free} | (claims.keys() - holders.keys())
        now = self._claims()  # a rebalance may have come before the answer
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
            self._telemetry.silent(Cause.TIMEOUT, f"PostgreSQL has not answered for {ANSWER_SECONDS:.0f} s")
            raise Unavailable("no answer", Cause.TIMEOUT) from None
        except Unavailable as error:
            self._telemetry.silent(error.cause, str(error))
            raise
        self._telemetry.answered()
        if not self._held and not self._wanted:
            self._telemetry.available()  # no write of this process would report it
        return holders

    async def _record_stops(self) -> None:
        """Record stops in the ledger once everything before them is committed."""
        for partition, stop in [(partition, stop) for partition, stop in self._stopped.items() if not stop.is_kept]:
            try:
                kept = await self._store.stop(stop.claim, stop.offset, stop.reason)
            except Unavailable as error:
                self._telemetry.unavailable(error.cause, str(error))
                raise
            if kept and self._stopped.get(partition) is stop:  # a rebalance may have come before the answer
                self._report(stop, kept)

    def _report(self, stop: _Stop, kept: StopReason) -> None:
        stop.is_kept = True
        self._telemetry.stopped(stop.claim.partition, kept)

    def _readable(self) -> Mapping[Partition, Claim]:
        return {**self._held, **self._logs.claims}

    async def _check_topics(self) -> None:
        """Find recreated topics by their id: once the new topic is longer than the old one, no offset shows it."""
        with self._reporting_kafka():
            ids = await self._source.topic_ids({partition.topic for partition in self._readable()})
        for partition, claim in self._readable().items():
            if is_recreated(claim.topic_id, ids.get(partition.topic)):
                self._source.pause([partition])
                self.stop(partition, topic_recreated(partition))

    @contextmanager
    def _reporting_kafka(self) -> Iterator[None]:
        try:
            yield
        except SourceError as error:
            self._telemetry.kafka_unavailable(error)
            raise
        self._telemetry.kafka_available()


def _holds(claim: Claim, holder: Holder | None) -> bool:
    return holder is not None and holder.epoch == claim.epoch
