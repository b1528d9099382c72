"""The business day of a moment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from consumer.decode.copy_format import microseconds, moment_of

# Since 1980 every UTC offset in the time zone database is a multiple of 15 minutes, so midnight never falls inside a
# slot of 15 minutes. The cache holds the slots of a year: only the first event of a slot is computed. A bucket of the
# roll-up is such a slot.
_SLOT = 15 * 60 * 1_000_000
_1980 = microseconds(datetime(1980, 1, 1))  # noqa: DTZ001 - naive UTC

# A transaction that touches more than this many buckets of a day marks the whole day.
_MOST_BUCKETS = 8

_EVER, _NEVER = datetime.min, datetime.max  # noqa: DTZ901 - naive UTC


def has_buckets(bounds: tuple[datetime, datetime]) -> bool:
    """Whether a day consists of whole buckets."""
    return all(moment not in (_EVER, _NEVER) and microseconds(moment) >= _1980 for moment in bounds)


class BusinessDays:
    """Days in one time zone.

    :raises zoneinfo.ZoneInfoNotFoundError: no such time zone
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._of_slot = lru_cache(maxsize=4 * 24 * 366)(self._of)

    def days_of(self, moments: Iterable[int | None]) -> set[date]:
        """The days of the moments (microseconds since 2000-01-01 UTC); None is skipped."""
        known = [moment for moment in moments if moment is not None]
        slots = {moment // _SLOT for moment in known if moment >= _1980}
        older = {self.day_of(moment_of(moment)) for moment in known if moment < _1980}
        return older | {self._of_slot(slot) for slot in slots}

    def touched_by(self, moments: Iterable[int | None]) -> tuple[Sequence[date], Sequence[datetime | None]]:
        """The marks for these moments: days, and for each day the start of a bucket, naive UTC. If a day has more than
        eight buckets, its marks name None (the whole day), the first and the last bucket. A replica with another time
        zone uses these two to find other days. A day before 1980 has only the mark None.

        :param moments: microseconds since 2000-01-01 UTC; None is skipped
        """
        known = [moment for moment in moments if moment is not None]
        slots: dict[date, list[int]] = {}
        for slot in sorted({moment // _SLOT for moment in known if moment >= _1980}):
            slots.setdefault(self._of_slot(slot), []).append(slot)
        older = {self.day_of(moment_of(moment)) for moment in known if moment < _1980}
        marks: list[tuple[date, datetime | None]] = [(day, None) for day in sorted(older)]
        for day, found in slots.items():
            is_whole = len(found) > _MOST_BUCKETS
            marks += [(day, None)] if is_whole else []
            marks += [(day, moment_of(slot * _SLOT)) for slot in ((found[0], found[-1]) if is_whole else found)]
        return [day for day, _ in marks], [bucket for _, bucket in marks]

    def day_of(self, moment: datetime) -> date:
        """The day of a naive UTC moment.

        If clocks are set back over midnight, the hour before midnight occurs twice; the second one is in the new day.
        """
        try:
            local = moment.replace(tzinfo=UTC).astimezone(self._zone).date()
            return local if moment < self.bounds(local)[1] else local + timedelta(days=1)
        except OverflowError:  # the first and the last day that a datetime can hold
            return moment.date()

    def day_at(self, moment: datetime) -> date:
        """As :meth:`day_of`, with a cache that has an entry for each quarter of an hour. For the moments of many
        events.
        """
        micros = microseconds(moment)
        return self._of_slot(micros // _SLOT) if micros >= _1980 else self.day_of(moment)

    def bounds(self, day: date) -> tuple[datetime, datetime]:
        """The first moment of the day and of the next day, naive UTC: 23, 24 or 25 hours, half-open."""
        return self._begin(day), _NEVER if day == date.max else self._begin(day + timedelta(days=1))

    def _begin(self, day: date) -> datetime:
        """The first of two midnights; the end of the gap if midnight does not exist."""
        if day == date.min:  # the earliest moment of a datetime belongs to it
            return _EVER
        return datetime.combine(day, time.min, self._zone).astimezone(UTC).replace(tzinfo=None)

    def _of(self, slot: int) -> date:
        return self.day_of(moment_of(slot * _SLOT))
