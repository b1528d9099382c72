"""Counts of the data of one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Found:
    """The data of one user.

    :param deleted: rows that are or would be deleted, by name
    :param unlinked: rows that are or would be kept without the user, by name
    :param on_hold: rows of provenance that a legal hold keeps together with the user
    :param named_in_policy: rows of provenance whose access_policy names the user
    :param sent_notices: unlinked notices that a topic also holds, with the user's name
    :param days: days whose aggregates are recomputed
    """

    deleted: Mapping[str, int]
    unlinked: Mapping[str, int]
    on_hold: int
    named_in_policy: int
    sent_notices: int
    days: Sequence[date]

    @property
    def total(self) -> int:
        """Number of rows that an erasure deletes or unlinks."""
        return sum(self.deleted.values()) + sum(self.unlinked.values())

    @property
    def named(self) -> str:
        """The counts as text."""
        there = {**self.deleted, **self.unlinked}
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in there.items() if count)
