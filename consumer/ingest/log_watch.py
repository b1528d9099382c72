"""Checks whether the log of a partition still contains the records that were read.

A log becomes shorter after the election of a leader that was not in sync, or after a broker has lost its disk. It may
grow again before a replica checks it: then every offset exists, but some have other records. Only leader epochs show
this. So the log is compared when a partition is claimed, when records of a later epoch arrive, and when a fetch finds
that its offset is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Answers, Bounds, EpochQuestion, Source
from consumer.ingest.stop_reasons import is_behind, is_recreated, leader_is_behind, unreadable


class Verdict(NamedTuple):
    """The result of a comparison.

    :param claim: with the leader epoch under which the log was compared
    :param is_new: whether nothing was read under the claim yet
    :param reason: why the partition has to stop; None if it can be read
    """

    claim: Claim
    is_new: bool
    reason: StopReason | None


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A pending comparison, with a leader of this epoch or a later one."""

    claim: Claim
    leader_epoch: int
    is_new: bool


class LogWatch:
    """Compares logs, partition by partition, as soon as their leaders answer.

    :param next_offset: returns the offset after the records that were read under a claim
    """

    def __init__(self, source: Source, next_offset: Callable[[Claim], int]) -> None:
        self._source, self._next_offset = source, next_offset
        self._comparisons: dict[Partition, _Comparison] = {}

    @property
    def claims(self) -> Mapping[Partition, Claim]:
        """The claims whose logs have to be compared."""
        return {partition: comparison.claim for partition, comparison in self._comparisons.items()}

    def add(self, claim: Claim, leader_epoch: int | None = None, *, is_new: bool) -> None:
        """Compare the log soon, with a leader of this epoch or a later one."""
        known = -1 if claim.leader_epoch is None else claim.leader_epoch
        self._comparisons[claim.partition] = _Comparison(claim, max(known, leader_epoch or 0), is_new)

    def drop(self, partition: Partition) -> Claim | None:
        """Cancel a comparison; returns its claim, if there was one."""
        comparison = self._comparisons.pop(partition, None)
        return None if comparison is None else comparison.claim

    def clear(self) -> None:
        """Cancel every comparison."""
        self._comparisons.clear()

    async def compare(self) -> Answers[Verdict]:
        """Make the comparisons whose leaders answer now.

        :raises SourceError: no broker answers
        """
        asked = dict(self._comparisons)
        bounds = await self._source.bounds(asked.keys())
        late = {
            p: leader_is_behind(asked[p].leader_epoch, found) for p, found in bounds.items() if _late(asked[p], found)
        }
        ends = await self._source.epoch_ends(
            {
                p: question
                for p in bounds.keys() - late.keys()
                if (question := question_about(asked[p].claim, bounds[p]))
            }
        )
        unanswered = {**bounds.unanswered, **late, **ends.unanswered}
        compared = [p for p in asked.keys() - unanswered.keys() if self._comparisons.get(p) is asked[p]]
        return Answers({p: self._verdict(p, bounds[p], ends.get(p)) for p in compared}, unanswered)

    def _verdict(self, partition: Partition, bounds: Bounds, log_end: int | None) -> Verdict:
        comparison = self._comparisons.pop(partition)
        claim = comparison.claim
        reading = replace(claim, next_offset=self._next_offset(claim))
        epoch = claim.leader_epoch if bounds.leader_epoch is None else bounds.leader_epoch
        return Verdict(replace(claim, leader_epoch=epoch), comparison.is_new, unreadable(reading, bounds, log_end))


def _late(comparison: _Comparison, bounds: Bounds) -> bool:
    """Whether the leader knows only earlier epochs. A recreated topic does not count: it starts at the first epoch."""
    return is_behind(comparison.leader_epoch, bounds) and not is_recreated(comparison.claim.topic_id, bounds.topic_id)


def question_about(claim: Claim, bounds: Bounds) -> EpochQuestion | None:
    """The question for the leader; None if the log cannot be compared, or if that is not necessary.

    If the epochs are equal, the leader that wrote the newest read records is still the leader. Then the end of its log
    is enough.
    """
    if claim.leader_epoch is None or bounds.leader_epoch is None or is_recreated(claim.topic_id, bounds.topic_id):
        return None
    return EpochQuestion(claim.leader_epoch, bounds.leader_epoch) if claim.leader_epoch < bounds.leader_epoch else None
