"""Whether the log of a partition still holds what was read of it.

A leader that was not in sync, or a broker that has lost its disk, makes a log shorter, and it may grow again before
anybody looks: then every offset is there, and other records lie at some of them. Only the leader epochs tell. So the
log is compared with what was read whenever a partition is claimed, whenever records come that were written under a
later epoch than those before, and whenever a fetch finds its offset gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from consumer.events.record import Partition
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Answers, Bounds, EpochQuestion, Source
from consumer.ingest.stop_reasons import is_behind, is_made_anew, leader_is_behind, unreadable


class Verdict(NamedTuple):
    """What a comparison has found.

    :param claim: with the leader epoch under which the log was compared
    :param is_new: whether nothing has been read under the claim so far
    :param reason: why the partition cannot be read on; None where it can
    """

    claim: Claim
    is_new: bool
    reason: StopReason | None


@dataclass(frozen=True, slots=True)
class _Comparison:
    """To be done: for a claim, against a leader of this epoch or a later one."""

    claim: Claim
    leader_epoch: int
    is_new: bool


class LogWatch:
    """Compares logs, partition by partition, as soon as their leaders answer.

    :param reads_on_at: the offset that comes next, of what was taken in under a claim
    """

    def __init__(self, source: Source, reads_on_at: Callable[[Claim], int]) -> None:
        self._source, self._reads_on_at = source, reads_on_at
        self._comparisons: dict[Partition, _Comparison] = {}

    @property
    def claims(self) -> Mapping[Partition, Claim]:
        """What is to be compared."""
        return {partition: comparison.claim for partition, comparison in self._comparisons.items()}

    def add(self, claim: Claim, leader_epoch: int | None = None, *, is_new: bool) -> None:
        """Compare, with a leader of this epoch or a later one."""
        known = -1 if claim.leader_epoch is None else claim.leader_epoch
        self._comparisons[claim.partition] = _Comparison(claim, max(known, leader_epoch or 0), is_new)

    def drop(self, partition: Partition) -> Claim | None:
        """Do not compare; the claim, if it was to be."""
        comparison = self._comparisons.pop(partition, None)
        return None if comparison is None else comparison.claim

    def clear(self) -> None:
        """Forget all."""
        self._comparisons.clear()

    async def look(self) -> Answers[Verdict]:
        """Compare what can be compared now, which is not to be compared any more then.

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
        reading = replace(claim, next_offset=self._reads_on_at(claim))
        epoch = claim.leader_epoch if bounds.leader_epoch is None else bounds.leader_epoch
        return Verdict(replace(claim, leader_epoch=epoch), comparison.is_new, unreadable(reading, bounds, log_end))


def _late(comparison: _Comparison, bounds: Bounds) -> bool:
    """Whether the leader only knows earlier epochs. A recreated topic starts with the first epoch: that is not late."""
    return is_behind(comparison.leader_epoch, bounds) and not is_made_anew(comparison.claim.topic_id, bounds.topic_id)


def question_about(claim: Claim, bounds: Bounds) -> EpochQuestion | None:
    """What the leader has to answer so that the log can be compared; None where it cannot be, or need not.

    The leader that wrote what was read last still leads where the epochs are equal. Then its end tells all there is to
    know, and where the log is too short all the same, nobody can say from which offset on.
    """
    if claim.leader_epoch is None or bounds.leader_epoch is None or is_made_anew(claim.topic_id, bounds.topic_id):
        return None
    return EpochQuestion(claim.leader_epoch, bounds.leader_epoch) if claim.leader_epoch < bounds.leader_epoch else None
