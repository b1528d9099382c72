"""Tests the moment before which dialogues are expired, and the days that become final."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from consumer.ingest.days import BusinessDays
from consumer.maintenance.retention.boundary import boundary, final_days
from consumer.maintenance.table_partitions.months import over_at

NOW = datetime(2026, 11, 30, 15, 30)
ZONES = ("UTC", "Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kathmandu")


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        ("UTC", NOW, "2026-10-31T00:00"),
        ("Asia/Tokyo", NOW, "2026-10-31T15:00"),  # it is the first of December there
        ("America/Los_Angeles", NOW, "2026-10-31T07:00"),  # summer time still
        ("UTC", NOW.replace(hour=0, minute=0), "2026-10-31T00:00"),
        ("UTC", NOW.replace(hour=0, minute=0) - timedelta(microseconds=1), "2026-10-30T00:00"),
    ],
)
def test_days_expire_as_a_whole(zone: str, now: datetime, expected: str) -> None:
    """The boundary is the beginning of a business day, so every dialogue is kept for thirty full days."""
    assert boundary(now, BusinessDays(zone), 30, by_month=False) == datetime.fromisoformat(expected)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("keep", [1, 29, 30, 31, 365, 36_500])
def test_months_expire_as_a_whole(zone: str, keep: int) -> None:
    """Every business day that overlaps an earlier month has expired, and it is the newest such month. No month is
    removed before its last business day is over.
    """
    days = BusinessDays(zone)
    for hour in range(0, 24 * 70, 5):
        now = NOW - timedelta(hours=hour)
        day = boundary(now, days, keep, by_month=False)
        month = boundary(now, days, keep, by_month=True)
        assert (month.day, month.time().isoformat()) == (1, "00:00:00")
        before = (month.date() - timedelta(days=1)).replace(day=1)
        assert over_at(before, days) <= day <= now
        assert over_at(month.date(), days) > day


@pytest.mark.parametrize("zone", ZONES)
def test_the_day_that_the_boundary_divides_is_final(zone: str) -> None:
    """A month ends in UTC. A part of its last business day leaves the table, so this day is final too."""
    days = BusinessDays(zone)
    before = datetime(2026, 10, 1)
    first, last = final_days(datetime.min, before, days)
    assert first == date.min
    begin, end = days.bounds(last)
    assert begin < before <= end
    after = boundary(NOW, days, 30, by_month=False)
    assert final_days(before, after, days) == (last + timedelta(days=1), days.day_of(after) - timedelta(days=1))


def test_a_day_of_another_length_expires_as_a_whole() -> None:
    """The day on which clocks are set back has 25 hours."""
    days = BusinessDays("Europe/Berlin")
    moment = datetime(2026, 10, 26, 12, tzinfo=ZoneInfo("UTC")).replace(tzinfo=None)
    begin, end = (
        boundary(moment, days, 1, by_month=False),
        boundary(moment + timedelta(days=1), days, 1, by_month=False),
    )
    assert end - begin == timedelta(hours=25)
