"""Detects a process that makes no progress although there is something to do, and ends it.

A successful poll proves nothing: aiokafka can stop fetching a partition, or leave its group, without an error and
permanently. Only a new process repairs that. An outage, a stopped partition, a slow database, a long statement, a
missing right and an open transaction of another producer are not stalls, because a new process would not repair them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from consumer.events.record import Partition
from consumer.ingest.ports import Answers, Clock, Source, SourceError

ANSWER_SECONDS = 15.0  # longer than the time-outs of leaders that do not answer, and of their successors


class Stalled(Exception):
    """The process makes no progress and cannot recover, so it has to end."""


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """When missing progress is a stall; all values in seconds.

    :param stall: how long work may be attempted without progress
    :param statement: the longest time that one statement of a write may take
    :param rebalance: the longest time that the group may take to assign partitions
    :param check: the interval between two checks
    """

    stall: float
    statement: float
    rebalance: float
    check: float


class Work(Protocol):
    """The part of the pipeline that the watchdog sees."""

    @property
    def is_assigned(self) -> bool:
        """Whether the group has assigned partitions to this process, or has assigned none."""
        ...

    @property
    def is_claimed(self) -> bool:
        """Whether every assigned partition is claimed, except those whose leader does not answer."""
        ...

    @property
    def unanswered(self) -> Collection[Partition]:
        """The partitions that wait to be claimed because their leader does not answer."""
        ...

    @property
    def positions(self) -> Mapping[Partition, int]:
        """The next offset of each partition held by this process; -1 if reading has not begun."""
        ...

    @property
    def seconds_waited(self) -> float:
        """How many seconds reading has waited for the writer since the start."""
        ...

    @property
    def is_writing(self) -> bool:
        """Whether batches are being written."""
        ...

    @property
    def commits(self) -> int:
        """The number of batches committed since the start."""
        ...

    @property
    def fences(self) -> int:
        """The number of batches thrown away since the start because another replica had claimed their partitions."""
        ...


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """The state of the work at one moment.

    :param ends: the ends of the partitions whose leaders answered just now; None if no broker answered
    :param unanswered: partitions whose leader does not answer
    :param steps: the number of statements that the database has answered since the start
    :param refused: the kinds of resources that Kafka refuses: `topic`, `group`, both or neither
    """

    now: float
    ends: Mapping[Partition, int] | None
    positions: Mapping[Partition, int]
    seconds_waited: float
    is_writing: bool
    is_assigned: bool
    is_claimed: bool
    steps: int
    is_database_away: bool
    refused: frozenset[str] = frozenset()
    commits: int = 0
    fences: int = 0
    unanswered: frozenset[Partition] = frozenset()


class _Stopwatch:
    """Adds up the seconds for which a condition holds without interruption."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, seconds: float, *, holds: bool) -> float:
        self.seconds = self.seconds + seconds if holds else 0.0
        return self.seconds


class _Fences:
    """Measures for how long batches were thrown away one after another, without a commit in between.

    The time from the first fence to the newest one counts. A single fence is normal, and a wait after it has another
    cause. After a pause longer than replicas need to claim in turn, the count starts again.
    """

    def __init__(self, longest_break: float) -> None:
        self._longest_break = longest_break
        self._now = self._first = self._newest = 0.0
        self.count = 0

    def streak(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> float:
        """Seconds from the first fence to the newest; `seconds` have passed since the last snapshot."""
        self._now += seconds
        if seen.commits > before.commits or self._now - self._newest > self._longest_break:
            self.count = 0
        if seen.fences > before.fences:
            self._first = self._first if self.count else self._now
            self._newest = self._now
            self.count += seen.fences - before.fences
        return self._newest - self._first if self.count else 0.0


class ProgressWatch:
    """Compares each snapshot with the previous one, and finds the part that makes no progress."""

    def __init__(self, policy: WatchPolicy) -> None:
        self._policy = policy
        self._before: ProgressSnapshot | None = None
        self._idle: dict[Partition, _Stopwatch] = {}
        self._writing, self._joining, self._claiming = _Stopwatch(), _Stopwatch(), _Stopwatch()
        self._fences = _Fences(policy.stall + policy.rebalance)

    def problem(self, seen: ProgressSnapshot) -> str:
        """The part that makes no progress, as a sentence; empty if there is none."""
        before, self._before = self._before, seen
        if before is None:
            return ""
        # While the process was frozen or its event loop was late, it did not try.
        seconds = min(seen.now - before.now, 2 * self._policy.check)
        problems = (
            self._reading_problem(before, seen, seconds),
            self._writing_problem(before, seen, seconds),
            self._group_problem(seen, seconds),
            self._fence_problem(before, seen, seconds),
        )
        return "; ".join(filter(None, problems))

    def _reading_problem(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> str:
        """Seconds in which reading waited for the writer do not count, because a slow database is not a stall."""
        tried = max(0.0, seconds - (seen.seconds_waited - before.seconds_waited))
        self._idle = {partition: self._idle.get(partition, _Stopwatch()) for partition in seen.positions}
        for partition, idle in self._idle.items():
            if seen.ends is not None or seen.is_database_away:
                idle.run(tried, holds=_stands_still(partition, before, seen) and not seen.is_database_away)
        stuck = [str(partition) for partition, idle in self._idle.items() if idle.seconds >= self._policy.stall]
        if not stuck:
            return ""
        return f"nothing was read from {', '.join(sorted(stuck))} for {self._policy.stall:.0f} s although records wait"

    def _writing_problem(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> str:
        holds = seen.is_writing and seen.steps == before.steps and not seen.is_database_away
        longest = self._policy.stall + self._policy.statement
        if self._writing.run(seconds, holds=holds) < longest:
            return ""
        return f"a write has had no answer for {longest:.0f} s and did not time out"

    def _fence_problem(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> str:
        lasted = self._fences.streak(before, seen, seconds)
        if lasted < self._policy.stall:
            return ""
        return (
            f"{self._fences.count} batches in {lasted:.0f} s were thrown away because another replica had claimed their"
            " partitions, and none was committed"
        )

    def _group_problem(self, seen: ProgressSnapshot, seconds: float) -> str:
        answered = seen.ends is not None
        joining = self._joining.run(seconds, holds=answered and not seen.is_assigned and "group" not in seen.refused)
        claiming = self._claiming.run(
            seconds,
            holds=answered
            and seen.is_assigned
            and not seen.is_claimed
            and not seen.is_database_away
            and "topic" not in seen.refused,
        )
        longest = self._policy.stall + self._policy.rebalance
        if joining >= longest:
            return f"the group has assigned nothing for {longest:.0f} s although the brokers answer"
        if claiming >= self._policy.stall:
            waited = f"assigned partitions were not claimed for {self._policy.stall:.0f} s"
            return f"{waited} although Kafka and PostgreSQL answer"
        return ""


def _stands_still(partition: Partition, before: ProgressSnapshot, seen: ProgressSnapshot) -> bool:
    position = seen.positions[partition]
    waits = seen.ends is not None and seen.ends.get(partition, position) > position
    return waits and before.positions.get(partition) == position


class Watchdog:
    """Checks the progress every few seconds, with its own requests to the brokers.

    :param steps: returns the number of statements that the database has answered
    :param on_stall: called with the problem before the process ends, so that its state can be logged
    """

    def __init__(
        self,
        work: Work,
        source: Source,
        clock: Clock,
        policy: WatchPolicy,
        *,
        topics: Collection[str],
        steps: Callable[[], int],
        is_database_away: Callable[[], bool],
        on_stall: Callable[[str], None],
    ) -> None:
        self._work, self._source, self._clock, self._policy = work, source, clock, policy
        self._topics, self._steps, self._is_database_away = topics, steps, is_database_away
        self._on_stall = on_stall
        self._watch = ProgressWatch(policy)
        self._unresponsive = _Stopwatch()
        self.problem = ""

    async def run(self) -> None:
        """Check until cancelled.

        :raises Stalled: something makes no progress
        """
        while True:
            await asyncio.sleep(self._policy.check)
            await self.check()

    async def check(self) -> None:
        """Check once.

        :raises Stalled: something makes no progress
        """
        seen = self._snapshot(await self._ends())
        self.problem = self._watch.problem(seen) or await self._unresponsiveness(seen)
        if self.problem:
            self._on_stall(self.problem)
            raise Stalled(self.problem)

    async def _ends(self) -> Answers[int] | None:
        refused = {refusal.name for refusal in self._source.refusals() if refusal.resource == "topic"}
        asked = (*self._work.positions, *self._work.unanswered)
        partitions = [partition for partition in asked if partition.topic not in refused]
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if not partitions:
                    await self._source.topic_ids(self._topics)
                    return Answers({})
                bounds = await self._source.bounds(partitions)
        except (SourceError, TimeoutError):
            return None
        return Answers({partition: found.end for partition, found in bounds.items()}, bounds.unanswered)

    def _snapshot(self, ends: Answers[int] | None) -> ProgressSnapshot:
        work = self._work
        return ProgressSnapshot(
            self._clock.monotonic(),
            ends,
            dict(work.positions),
            work.seconds_waited,
            work.is_writing,
            work.is_assigned,
            work.is_claimed,
            self._steps(),
            self._is_database_away(),
            frozenset(refusal.resource for refusal in self._source.refusals()),
            work.commits,
            work.fences,
            frozenset(() if ends is None else ends.unanswered),
        )

    async def _unresponsiveness(self, seen: ProgressSnapshot) -> str:
        """The problem if a new client gets answers and this one does not, for example because it knows only outdated
        addresses.
        """
        unresponsive = self._unresponsive.run(self._policy.check, holds=seen.ends is None or bool(seen.unanswered))
        if unresponsive < self._policy.stall:
            return ""
        asked = seen.positions.keys() if seen.ends is None else seen.unanswered
        if not await self._source.answers_new_client(asked):
            if seen.ends is not None:
                self._unresponsive = _Stopwatch()  # a partition may have no leader for days
            return ""
        return f"the brokers answer a new client, but have not answered this one for {self._policy.stall:.0f} s"
