"""Which business day a moment belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from consumer.ingest.copy_format import microseconds, moment_of

# Every offset of the time zone database since 1980 is a multiple of a quarter of an hour, so midnight never falls
# within one; 4 x 24 x 366 slots are a year, and the cache is hit for all but the first event of each slot.
_SLOT = 15 * 60 * 1_000_000
_1980 = microseconds(datetime(1980, 1, 1))  # noqa: DTZ001 - naive UTC


class BusinessDays:
    """Days in one time zone.

    :raises zoneinfo.ZoneInfoNotFoundError: no such time zone
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._of_slot = lru_cache(maxsize=4 * 24 * 366)(self._of)

    def days_of(self, moments: Iterable[int | None]) -> set[date]:
        """The days that many moments belong to; None counts towards none."""
        known = [moment for moment in moments if moment is not None]
        slots = {moment // _SLOT for moment in known if moment >= _1980}
        return {self._of_slot(slot) for slot in slots} | {self._compute(moment) for moment in known if moment < _1980}

    def _of(self, slot: int) -> date:
        return self._compute(slot * _SLOT)

    def _compute(self, micros: int) -> date:
        moment = moment_of(micros)
        try:
            return moment.replace(tzinfo=UTC).astimezone(self._zone).date()
        except OverflowError:  # the first and the last day that a datetime can hold
            return moment.date()
