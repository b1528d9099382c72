"""Business days, held against the standard library's time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.ingest.copy_format import microseconds
from consumer.ingest.days import BusinessDays

ZONES = ["UTC", "Asia/Tokyo", "Asia/Kathmandu", "Asia/Kolkata", "America/New_York", "America/St_Johns", "Europe/Berlin"]
ZONES += [
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "America/Santiago",
    "Asia/Gaza",
]


def expected(zone: str, moment: datetime) -> date:
    """The day that the standard library says."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def day(zone: str, text: str) -> str:
    """The day of a UTC moment."""
    (day,) = BusinessDays(zone).days_of([microseconds(datetime.fromisoformat(text))])
    return str(day)


@pytest.mark.parametrize(
    ("zone", "moment", "stored"),
    [
        ("UTC", "2026-01-31T23:59:59.999999", "2026-01-31"),
        ("UTC", "2026-02-01T00:00:00", "2026-02-01"),
        ("Asia/Tokyo", "2026-01-31T14:59:59.999999", "2026-01-31"),
        ("Asia/Tokyo", "2026-01-31T15:00:00", "2026-02-01"),
        ("Asia/Kathmandu", "2026-01-31T18:14:59.999999", "2026-01-31"),
        ("Asia/Kathmandu", "2026-01-31T18:15:00", "2026-02-01"),
        ("America/New_York", "2026-03-08T04:59:59.999999", "2026-03-07"),
        ("America/New_York", "2026-03-09T03:59:59.999999", "2026-03-08"),
        ("America/New_York", "2026-03-09T04:00:00", "2026-03-09"),
        ("America/New_York", "2026-11-02T04:59:59", "2026-11-01"),
        ("America/New_York", "2026-11-02T05:00:00", "2026-11-02"),
        ("America/Santiago", "2026-09-06T03:59:59", "2026-09-05"),
        ("America/Santiago", "2026-09-06T04:00:00", "2026-09-06"),
        ("Pacific/Apia", "2011-12-30T09:59:59", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00", "2011-12-31"),
    ],
)
def test_a_day_begins_at_its_midnight(zone: str, moment: str, stored: str) -> None:
    """To the microsecond, also where a day has 23 or 25 hours, begins at one o'clock, or was left out."""
    assert day(zone, moment) == stored


@pytest.mark.parametrize("zone", ZONES)
@given(moment=st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)))
def test_any_moment_is_on_the_day_of_the_standard_library(zone: str, moment: datetime) -> None:
    """Any zone, daylight saving and quarter-hour offsets included."""
    assert BusinessDays(zone).days_of([microseconds(moment), None]) == {expected(zone, moment)}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham"])
def test_every_midnight_of_a_year_is_a_border(zone: str) -> None:
    """The microsecond before belongs to the day before."""
    days = BusinessDays(zone)
    for number in range(366):
        first = date(2026, 1, 1) + timedelta(days=number)
        midnight = datetime(first.year, first.month, first.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        micros = microseconds(midnight.replace(tzinfo=None))
        assert days.days_of([micros - 1, micros]) == {first - timedelta(days=1), first}


@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        ("Pacific/Kiritimati", "1978-06-01T10:40:00"),
        ("Pacific/Kiritimati", "1978-06-01T10:39:59.999999"),
        ("Africa/Monrovia", "1971-06-01T00:44:30"),
        ("Africa/Monrovia", "1971-06-01T00:44:29.999999"),
        ("Europe/Amsterdam", "1930-01-01T23:42:00"),
    ],
)
def test_odd_offsets_of_the_past_are_known(zone: str, moment: str) -> None:
    """Offsets that are no quarters of an hour: a row so old must touch the day that the roll-up puts it in."""
    assert day(zone, moment) == str(expected(zone, datetime.fromisoformat(moment)))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
def test_the_first_and_the_last_day_do_no_harm(zone: str, moment: str) -> None:
    """Where the local day lies outside the years 1 to 9999, any day next to it will do; nothing is raised."""
    assert day(zone, moment)[:4] in ("0001", "9999")


def test_an_unknown_zone_is_an_error() -> None:
    """When the days are made, not at the first event."""
    with pytest.raises(ZoneInfoNotFoundError):
        BusinessDays("Mars/Olympus")


def test_every_zone_of_the_database_can_be_had() -> None:
    """The zones come with the package, not with the machine."""
    assert all(BusinessDays(zone) for zone in sorted(available_timezones())[::25])
