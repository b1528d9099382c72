"""What there is of a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a user.

    :param deleted: by name, what would be or was deleted
    :param unlinked: by name, what would be or was kept without the user
    :param on_hold: rows of provenance that are kept with the user, because of a legal hold
    :param named_in_policy: rows of provenance whose access_policy names the user
    :param sent_notices: notices, of those to be unlinked, that name the user in a topic too
    :param days: whose aggregates are computed anew
    """

    deleted: Mapping[str, int]
    unlinked: Mapping[str, int]
    on_hold: int
    named_in_policy: int
    sent_notices: int
    days: Sequence[date]

    @property
    def total(self) -> int:
        """Rows that an erasure has to do with."""
        return sum(self.deleted.values()) + sum(self.unlinked.values())

    @property
    def named(self) -> str:
        """They, for people."""
        there = {**self.deleted, **self.unlinked}
        return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in there.items() if count)
