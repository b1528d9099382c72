"""Which partitions the group gave us, and which of them the ledger lets us write for."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim
from consumer.ports import Bounds, Source, SourceError, Store, Telemetry, Unavailable

RETRY_SECONDS = 1.0


class Claimer:
    """Claims what is assigned, in a task of its own, because a rebalance must not wait for the database.

    The reading task takes the granted claims when it is between two polls.
    """

    def __init__(self, source: Source, store: Store, telemetry: Telemetry, reclaim_delay: float) -> None:
        self._source, self._store, self._telemetry = source, store, telemetry
        self._reclaim_delay = reclaim_delay
        self._assigned: frozenset[Partition] | None = None
        self._wanted: set[Partition] = set()
        self._granted: list[Claim] = []
        self._stopped: set[Partition] = set()
        self._changed = asyncio.Event()
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def is_assigned(self) -> bool:
        """Whether the group has decided what is ours, be it nothing."""
        return self._assigned is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits to be claimed."""
        return self.is_assigned and not self._wanted

    @property
    def stopped(self) -> AbstractSet[Partition]:
        """The partitions that cannot be read on, until a person has decided and they are assigned anew."""
        return self._stopped

    def stop(self, partition: Partition, problem: str) -> None:
        """A partition cannot be read on; said once."""
        if partition not in self._stopped:
            self._stopped.add(partition)
            self._telemetry.stopped(partition, problem)

    def assign(self, partitions: Collection[Partition]) -> None:
        """These, and only these, are ours now."""
        self._forget_timers()
        self._assigned = frozenset(partitions)
        self._granted.clear()
        self._wanted = set(partitions)
        self._changed.set()

    def revoke(self) -> None:
        """Nothing is ours until the next assignment."""
        self._assigned = None
        self._wanted.clear()
        self._granted.clear()
        self._stopped.clear()
        self._forget_timers()

    def claim_again(self, partitions: Collection[Partition], fenced: Collection[Partition]) -> None:
        """Claim afresh after a batch was thrown away: the fenced ones only later, as somebody else has them.

        If the group still counts them as ours after the delay, that somebody is gone.
        """
        self._want(set(partitions) - set(fenced))
        loop = asyncio.get_running_loop()
        self._timers = {timer for timer in self._timers if timer.when() > loop.time()}
        self._timers.add(loop.call_later(self._reclaim_delay, self._want, frozenset(fenced)))

    def _forget_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def granted(self) -> Sequence[Claim]:
        """The claims granted since the last call."""
        claims, self._granted = self._granted, []
        return claims

    async def run(self) -> None:
        """Claim whatever is wanted, for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._claim_wanted()

    def _want(self, partitions: Collection[Partition]) -> None:
        self._wanted |= set(partitions) & (self._assigned or set())
        if self._wanted:
            self._changed.set()

    async def _claim_wanted(self) -> None:
        assigned, wanted = self._assigned, frozenset(self._wanted)
        if not wanted:
            return
        try:
            bounds = await self._source.bounds(wanted)
            claims = await self._store.claim(bounds)
        except (SourceError, Unavailable) as error:
            await self._try_again_later(error)
            return
        self._telemetry.available()
        if assigned is self._assigned:  # else a rebalance has overtaken us, and the ledger's epoch covers it
            self._grant(claims, bounds)

    async def _try_again_later(self, error: SourceError | Unavailable) -> None:
        if isinstance(error, Unavailable):
            self._telemetry.unavailable(error.cause, str(error))
        await asyncio.sleep(RETRY_SECONDS)
        self._changed.set()

    def _grant(self, claims: Sequence[Claim], bounds: Mapping[Partition, Bounds]) -> None:
        readable = []
        for claim in claims:
            self._wanted.discard(claim.partition)
            problem = _problem(claim.next_offset, bounds[claim.partition])
            if problem:
                self.stop(claim.partition, problem)
            else:
                self._stopped.discard(claim.partition)
                readable.append(claim)
        self._granted.extend(readable)
        self._telemetry.claimed(readable)


def _problem(next_offset: int, bounds: Bounds) -> str | None:
    """Why reading cannot go on from `next_offset`; never skipped or started over silently."""
    if next_offset < bounds.first:
        return (
            f"the ledger stands at offset {next_offset}, but the partition now begins at {bounds.first}: "
            f"{bounds.first - next_offset} offsets were deleted by retention before they were read"
        )
    if next_offset > bounds.end:
        return (
            f"the ledger stands at offset {next_offset}, but the partition ends at {bounds.end}: "
            "the topic was deleted and made anew, or lost records"
        )
    return None
