"""Whether the work gets on where there is something to do. Polling proves nothing: aiokafka can stop fetching from a
partition, or stop taking part in its group, without an error and for good. Only a new process mends that.

An outage, a stopped partition, a slow database, a long statement, a missing right and a transaction that somebody else
leaves open are no stalls: a new process would not mend them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from consumer.events.record import Partition
from consumer.ingest.ports import Answers, Clock, Source, SourceError

ANSWER_SECONDS = 15.0  # longer than it takes to ask leaders that do not answer, and those that follow them


class Stalled(Exception):
    """The work does not get on, and would not by itself: the process has to end."""


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """When getting nowhere is a stall, in seconds.

    :param stall: of trying without getting on
    :param statement: the longest that one statement of a write may take
    :param rebalance: the longest that the group may take to assign partitions
    :param check: from one look to the next
    """

    stall: float
    statement: float
    rebalance: float
    check: float


class Work(Protocol):
    """The work that is watched: the pipeline."""

    @property
    def is_assigned(self) -> bool:
        """Whether the group has decided what is ours, be it nothing."""
        ...

    @property
    def is_claimed(self) -> bool:
        """Whether nothing waits to be claimed, but for what has no leader that answers."""
        ...

    @property
    def unanswered(self) -> Collection[Partition]:
        """What waits to be claimed and has no leader that answers."""
        ...

    @property
    def positions(self) -> Mapping[Partition, int]:
        """Where reading stands in each partition that is ours to read; -1 where it has not begun."""
        ...

    @property
    def seconds_waited(self) -> float:
        """How long reading has waited for the writer so far."""
        ...

    @property
    def is_writing(self) -> bool:
        """Whether batches are being written."""
        ...

    @property
    def commits(self) -> int:
        """How many batches were committed so far."""
        ...

    @property
    def fences(self) -> int:
        """How many batches were thrown away so far because another reader had claimed their partitions."""
        ...


@dataclass(frozen=True, slots=True)
class ProgressSnapshot:
    """What can be seen of the work at one moment.

    :param ends: the ends of its partitions, asked of the brokers just now, as far as their leaders answer; None where
        no broker does
    :param unanswered: partitions that have no leader that answers
    :param steps: statements that the database has answered so far
    :param refused: what Kafka does not let us use: `topic`, `group`, both or neither
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
    """Adds up the seconds for which something holds without a break."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def run(self, seconds: float, *, holds: bool) -> float:
        self.seconds = self.seconds + seconds if holds else 0.0
        return self.seconds


class _Fences:
    """For how long batches have been thrown away one after the other, and none was committed.

    The time from the first fence to the newest one counts: a single one is how it should be, and what takes long after
    it is not a fence's matter. After a longer break than replicas take to claim in turn a streak begins anew.
    """

    def __init__(self, longest_break: float) -> None:
        self._longest_break = longest_break
        self._now = self._first = self._newest = 0.0
        self.count = 0

    def look(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> float:
        """Seconds that the streak has lasted; so many have passed since the last look."""
        self._now += seconds
        if seen.commits > before.commits or self._now - self._newest > self._longest_break:
            self.count = 0
        if seen.fences > before.fences:
            self._first = self._first if self.count else self._now
            self._newest = self._now
            self.count += seen.fences - before.fences
        return self._newest - self._first if self.count else 0.0


class ProgressWatch:
    """Compares one glimpse with the next, and says what does not get on."""

    def __init__(self, policy: WatchPolicy) -> None:
        self._policy = policy
        self._before: ProgressSnapshot | None = None
        self._idle: dict[Partition, _Stopwatch] = {}
        self._writing, self._joining, self._claiming = _Stopwatch(), _Stopwatch(), _Stopwatch()
        self._fences = _Fences(policy.stall + policy.rebalance)

    def look(self, seen: ProgressSnapshot) -> str:
        """What does not get on; empty while all is well."""
        before, self._before = self._before, seen
        if before is None:
            return ""
        # A frozen process, or a loop that came late, has not tried meanwhile.
        seconds = min(seen.now - before.now, 2 * self._policy.check)
        problems = (
            self._reading_problem(before, seen, seconds),
            self._writing_problem(before, seen, seconds),
            self._group_problem(seen, seconds),
            self._fence_problem(before, seen, seconds),
        )
        return "; ".join(filter(None, problems))

    def _reading_problem(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> str:
        """Only seconds in which reading did not wait for the writer count: a slow database is no stall."""
        tried = max(0.0, seconds - (seen.seconds_waited - before.seconds_waited))
        self._idle = {partition: self._idle.get(partition, _Stopwatch()) for partition in seen.positions}
        for partition, idle in self._idle.items():
            if seen.ends is not None or seen.is_database_away:
                idle.run(tried, holds=_stands_still(partition, before, seen) and not seen.is_database_away)
        stuck = [str(partition) for partition, idle in self._idle.items() if idle.seconds >= self._policy.stall]
        if not stuck:
            return ""
        return f"nothing was read of {', '.join(sorted(stuck))} for {self._policy.stall:.0f} s although records wait"

    def _writing_problem(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> str:
        holds = seen.is_writing and seen.steps == before.steps and not seen.is_database_away
        longest = self._policy.stall + self._policy.statement
        if self._writing.run(seconds, holds=holds) < longest:
            return ""
        return f"a write has got no answer for {longest:.0f} s and was not given up"

    def _fence_problem(self, before: ProgressSnapshot, seen: ProgressSnapshot, seconds: float) -> str:
        lasted = self._fences.look(before, seen, seconds)
        if lasted < self._policy.stall:
            return ""
        return (
            f"{self._fences.count} batches in {lasted:.0f} s were thrown away because another reader had claimed their"
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
            return f"assigned partitions were not claimed for {self._policy.stall:.0f} s although all answer"
        return ""


def _stands_still(partition: Partition, before: ProgressSnapshot, seen: ProgressSnapshot) -> bool:
    position = seen.positions[partition]
    waits = seen.ends is not None and seen.ends.get(partition, position) > position
    return waits and before.positions.get(partition) == position


class Watchdog:
    """Looks every few seconds, with questions of its own to the brokers.

    :param steps: how many statements the database has answered
    :param on_stall: is given what does not get on, while everything still stands as it was found
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
        """Look until something does not get on.

        :raises Stalled: it does not
        """
        while True:
            await asyncio.sleep(self._policy.check)
            await self.look()

    async def look(self) -> None:
        """Look once.

        :raises Stalled: something does not get on
        """
        seen = self._glimpse(await self._ends())
        self.problem = self._watch.look(seen) or await self._unresponsiveness(seen)
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

    def _glimpse(self, ends: Answers[int] | None) -> ProgressSnapshot:
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
        """A client may know only addresses that are gone; then another one, made now, gets the answer it does not."""
        unresponsive = self._unresponsive.run(self._policy.check, holds=seen.ends is None or bool(seen.unanswered))
        if unresponsive < self._policy.stall:
            return ""
        asked = seen.positions.keys() if seen.ends is None else seen.unanswered
        if not await self._source.answers_anew(asked):
            if seen.ends is not None:
                self._unresponsive = _Stopwatch()  # a partition may have no leader for days
            return ""
        return f"the brokers answer a new client, but have not answered this one for {self._policy.stall:.0f} s"
