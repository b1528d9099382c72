"""Tests business days against the standard library's time zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode.copy_format import microseconds
from consumer.ingest.days import BusinessDays, has_buckets

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
    """Return the day by the standard library."""
    return moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date()


def day(zone: str, text: str) -> str:
    """Return the day of a UTC time."""
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
    """The boundary is exact to the microsecond, also if a day has 23 or 25 hours, begins at one o'clock, or was
    skipped.
    """
    assert day(zone, moment) == stored


@pytest.mark.parametrize("zone", ZONES)
@given(moment=st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)))
def test_any_moment_is_on_the_day_of_the_standard_library(zone: str, moment: datetime) -> None:
    """This holds for any zone, with daylight saving and offsets in quarter hours."""
    assert BusinessDays(zone).days_of([microseconds(moment), None]) == {expected(zone, moment)}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham"])
def test_the_day_changes_at_every_midnight_of_a_year(zone: str) -> None:
    """The microsecond before midnight belongs to the previous day."""
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
def test_uncommon_offsets_of_the_past_are_applied(zone: str, moment: str) -> None:
    """Some old offsets are not quarter hours. An old row must mark the day in which the roll-up counts it."""
    assert day(zone, moment) == str(expected(zone, datetime.fromisoformat(moment)))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00", "9999-12-31T23:59:59.999999"])
def test_the_first_and_the_last_day_raise_no_error(zone: str, moment: str) -> None:
    """If the local day is outside the years 1 to 9999, the result is an adjacent day, and no error is raised."""
    assert day(zone, moment)[:4] in ("0001", "9999")


@given(
    zone=st.sampled_from(sorted(available_timezones())),
    moment=st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)),
)
def test_every_moment_lies_within_the_bounds_of_its_day(zone: str, moment: datetime) -> None:
    """This holds in any zone: marking and computing use the same day, and there is no gap between days."""
    days = BusinessDays(zone)
    (its_day,) = days.days_of([microseconds(moment)])
    begins, ends = days.bounds(its_day)
    assert begins <= moment < ends
    assert days.bounds(its_day - timedelta(days=1))[1] == begins
    assert days.bounds(its_day + timedelta(days=1))[0] == ends


@pytest.mark.parametrize(
    ("zone", "day", "begins", "hours"),
    [
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00", 25),  # midnight comes twice
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T00:00:00", 25),
        ("America/St_Johns", "2006-10-29", "2006-10-29T02:30:00", 25),  # a minute after midnight it is 23:01 again
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00", 23),  # there is no midnight
        ("Asia/Kathmandu", "2026-02-28", "2026-02-27T18:15:00", 24),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00", 24.5),
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00", 0),  # a day that was skipped
    ],
)
def test_bounds_where_clocks_change(zone: str, day: str, begins: str, hours: float) -> None:
    """Bounds are half-open. They are at the first of two midnights, or at the end of a skipped hour."""
    first, following = BusinessDays(zone).bounds(date.fromisoformat(day))
    assert first == datetime.fromisoformat(begins)
    assert following - first == timedelta(hours=hours)
    for micro, belongs in ((-1, False), (0, hours > 0)):
        moment = microseconds(first) + micro
        assert (date.fromisoformat(day) in BusinessDays(zone).days_of([moment])) == belongs


def test_the_last_hour_of_a_day_belongs_to_the_next_day_if_it_is_repeated() -> None:
    """The second 23:30 is after the midnight at which the next day began."""
    assert day("America/St_Johns", "2006-10-29T03:00:00") == "2006-10-29"
    assert day("America/St_Johns", "2006-10-29T02:29:59") == "2006-10-28"


def test_the_first_and_the_last_day_have_no_end() -> None:
    """Every time that a datetime can hold belongs to a day."""
    days = BusinessDays("Asia/Tokyo")
    assert days.bounds(date.min)[0] == datetime.min
    assert days.bounds(date.max)[1] == datetime.max


def test_an_unknown_zone_is_an_error() -> None:
    """It is raised when the zone is loaded, not at the first event."""
    with pytest.raises(ZoneInfoNotFoundError):
        BusinessDays("Mars/Olympus")


def test_every_zone_of_the_database_can_be_loaded() -> None:
    """The zones come with the package and do not depend on the machine."""
    assert all(BusinessDays(zone) for zone in sorted(available_timezones())[::25])


def touched(zone: str, *texts: str) -> list[tuple[str, str | None]]:
    """Return the days and buckets that UTC times touch."""
    moments = [microseconds(datetime.fromisoformat(text)) for text in texts]
    pairs = zip(*BusinessDays(zone).touched_by([*moments, None]), strict=True)
    return [(str(day), bucket.isoformat() if bucket else None) for day, bucket in pairs]


def test_a_moment_touches_the_quarter_of_an_hour_that_it_is_in() -> None:
    """Each bucket is there once, with its day in the business time zone."""
    assert touched("Asia/Kathmandu", "2026-01-31T18:14:59.999999", "2026-01-31T18:15", "2026-01-31T18:29:59") == [
        ("2026-01-31", "2026-01-31T18:00:00"),
        ("2026-02-01", "2026-01-31T18:15:00"),
    ]


def test_many_buckets_of_a_day_touch_the_whole_day() -> None:
    """Its first and last bucket are there too. Another day of the same transaction keeps its buckets."""
    many = [f"2026-01-31T{hour:02}:20" for hour in range(9)]
    assert touched("UTC", *many[1:]) == [("2026-01-31", f"2026-01-31T{hour:02}:15:00") for hour in range(1, 9)]
    assert touched("UTC", *many, "2026-02-01T00:00") == [
        ("2026-01-31", None),
        ("2026-01-31", "2026-01-31T00:15:00"),
        ("2026-01-31", "2026-01-31T08:15:00"),
        ("2026-02-01", "2026-02-01T00:00:00"),
    ]


def test_before_1980_a_day_has_no_buckets() -> None:
    """The offset of the time zone from UTC may be any number of seconds."""
    assert touched("Africa/Monrovia", "1971-06-01T12:00") == [("1971-06-01", None)]
    zone = BusinessDays("Africa/Monrovia")
    assert not has_buckets(zone.bounds(date(1971, 6, 1)))
    assert has_buckets(zone.bounds(date(2026, 6, 1)))
    assert not any(has_buckets(zone.bounds(day)) for day in (date.min, date.max))


@given(zone=st.sampled_from(sorted(available_timezones())), day=st.dates(date(1980, 1, 2), date(2099, 12, 30)))
def test_a_day_consists_of_whole_buckets(zone: str, day: date) -> None:
    """This holds in every time zone, also when clocks change."""
    assert all(moment.minute % 15 == moment.second == 0 for moment in BusinessDays(zone).bounds(day))
