"""Tests time: RFC 3339, converted to UTC, to the microsecond, in the years 1 to 9999."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode.lanes import decode_all
from consumer.decode.rows import Row
from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason
from tests.support.builders import SESSION, accept, dialogue, paths, provenance, record, reject, rejection, stored


def stored_time(text: str) -> str:
    """Return the column of a dialogue with this time. Citations and provenance must have the same value."""
    created_at = accept(dialogue(created_at=text))["created_at"]
    assert accept(provenance(acquired_at=text), PROVENANCE)["acquired_at"] == created_at
    accept(dialogue(citations=[{"source": "s", "timestamp": text}]))
    return str(created_at)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-31T09:30:00Z", "2026-01-31 09:30:00"),
        ("2026-01-31t09:30:00z", "2026-01-31 09:30:00"),
        ("2026-01-31 09:30:00Z", "2026-01-31 09:30:00"),
        ("2026-01-31T09:30:00", "2026-01-31 09:30:00"),
        ("2026-01-31T09:30:00-00:00", "2026-01-31 09:30:00"),
        ("2026-01-31T09:30:00+09:00", "2026-01-31 00:30:00"),
        ("2026-01-31T09:30:00-11:30", "2026-01-31 21:00:00"),
        ("2026-01-01T00:00:00+05:45", "2025-12-31 18:15:00"),
        ("2026-01-01T00:00:00+23:59", "2025-12-31 00:01:00"),
        ("2024-02-29T23:59:59-00:01", "2024-03-01 00:00:59"),
    ],
)
def test_an_offset_is_converted_and_without_one_a_time_is_utc(text: str, utc: str) -> None:
    """A time with an offset is converted to UTC. A time without one is UTC."""
    assert stored_time(text) == utc


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00"),
        ("2016-12-31T23:59:60.5Z", "2017-01-01 00:00:00.500000"),
        ("2016-12-31T18:59:60-05:00", "2017-01-01 00:00:00"),
        ("2017-01-01T05:44:60+05:45", "2017-01-01 00:00:00"),
    ],
)
def test_a_leap_second_is_carried_into_the_next_minute(text: str, utc: str) -> None:
    """PostgreSQL has no 60th second, so the time becomes the first of the next minute."""
    assert stored_time(text) == utc


@pytest.mark.parametrize(
    ("fraction", "stored"),
    [
        ("1", "59.100000"),
        ("123456", "59.123456"),
        ("123456789", "59.123457"),
        ("123456499", "59.123456"),
        ("000000500", "59"),
        ("000001500", "59.000002"),
        ("999999499", "59.999999"),
        ("123456000000000000000000001", "59.123456"),
    ],
)
def test_nine_fraction_digits_are_rounded_to_six(fraction: str, stored: str) -> None:
    """Times of Go and Java are rounded to microseconds, half to even, as PostgreSQL's rint does it."""
    assert stored_time(f"2026-01-31T09:30:59.{fraction}Z") == f"2026-01-31 09:30:{stored}"


def test_rounding_may_carry_into_the_next_year() -> None:
    """A fraction that rounds up to a whole second changes all larger parts."""
    assert stored_time("2025-12-31T23:59:59.9999996Z") == "2026-01-01 00:00:00"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01 00:00:00"),
        ("0001-01-01T00:00:00-00:01", "0001-01-01 00:01:00"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31 23:59:59.999999"),
        ("9999-12-31T23:59:59+00:01", "9999-12-31 23:58:59"),
    ],
)
def test_the_first_and_the_last_year_are_accepted(text: str, utc: str) -> None:
    """The years 1 to 9999 are accepted, to the microsecond."""
    assert stored_time(text) == utc


@pytest.mark.parametrize(
    "text",
    [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "9999-12-31T23:59:59.9999999Z",
        "9999-12-31T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T09:60:00Z",
        "2026-01-31T09:30:61Z",
        "2026-01-31T09:30:00+24:00",
        "2026-01-31T09:30:00+00:60",
    ],
)
def test_a_time_that_does_not_exist_is_rejected(text: str) -> None:
    """A day, an hour, an offset or a year that does not exist is an error. It never becomes another time."""
    rejected = reject(dialogue(created_at=text))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["created_at"])
    assert paths(reject(dialogue(citations=[{"source": "s", "timestamp": text}]))) == ["citations[0].timestamp"]


DATE, OFFSETS = "2026-01-31", {"": 0, "Z": 0, "z": 0, "+09:00": 9, "+0900": 9, "-0000": 0, "-1100": -11, "-11:00": -11}


@pytest.mark.parametrize("separator", ["T", "t", " "])
@pytest.mark.parametrize("clock", ["21:30", "21:30:00", "21:30:00.0", "21:30:00.000000000"])
@pytest.mark.parametrize(("offset", "hours"), OFFSETS.items())
def test_seconds_and_the_colon_of_the_offset_may_be_missing(
    separator: str, clock: str, offset: str, hours: int
) -> None:
    """Any combination is accepted. The column has the same bytes as with the full form."""
    spelt = accept(dialogue(created_at=f"{DATE}{separator}{clock}{offset}"))
    sign = "-" if hours < 0 else "+"
    full = accept(dialogue(created_at=f"{DATE}T21:30:00{sign}{abs(hours):02}:00"))
    assert spelt.row.encoded == full.row.encoded
    assert spelt.row.created_at == full.row.created_at
    assert stored_time(f"{DATE}{separator}{clock}{offset}") == str(full["created_at"])


@pytest.mark.parametrize(
    "offset", ["+09", "-11", "+9:00", "+900", "+09000", "+09:0", "+2400", "+0060", "0900", "Z+0900"]
)
def test_an_offset_has_hours_and_minutes(offset: str) -> None:
    """Any other form is rejected."""
    for clock in ("09:30", "09:30:00"):
        assert paths(reject(dialogue(created_at=f"{DATE}T{clock}{offset}"))) == ["created_at"]


def test_times_in_short_forms_are_stored_like_full_ones() -> None:
    """The other times in the slice do not matter."""
    times = [f"{DATE}T09:30:00Z", f"{DATE}T09:30Z", f"{DATE}T18:30:00+0900", f"{DATE}T18:30+09:00", f"{DATE}T09:30"] * 3
    rows = decode_all(
        DIALOGUE, [record(dialogue(id=SESSION, created_at=time), offset=n) for n, time in enumerate(times)]
    )
    assert len({row.encoded for row in rows if isinstance(row, Row)}) == 1
    assert all(isinstance(row, Row) for row in rows)


OTHER_SPELLINGS = ["", "now", "infinity", "2026-01-31", "20260131T093000Z", "2026-W05-6T09:30:00Z"]
OTHER_SPELLINGS += ["2026-01-31T09:30:00.Z", "2026-01-31T09:30:00,5Z", "2026-01-31T09:30.5Z", "1767225600"]
OTHER_SPELLINGS += [
    "2026-01-31T0930Z",
    "2026-01-31T09Z",
    "2026-01-31T09:3Z",
    "2026-01-31T09:30:Z",
    "2026-01-31T093000Z",
]
OTHER_SPELLINGS += ["2026-01-31T09:30:00 Z", " 2026-01-31T09:30:00Z", "2026-01-31T09:30:00Z\n", "+2026-01-31T09:30:00Z"]
OTHER_SPELLINGS += ["\u0662\u0660\u0662\u0666-01-31T09:30:00Z"]


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_other_spellings_are_rejected(text: str) -> None:
    """Only RFC 3339 and forms with a single meaning are accepted. Nothing is guessed."""
    assert "RFC 3339" in str(reject(dialogue(created_at=text)))


@pytest.mark.parametrize("value", [1_767_225_600, 1.5, True, [], {}])
def test_a_time_is_a_string(value: object) -> None:
    """A number could be seconds or milliseconds, so it is rejected."""
    assert paths(reject(dialogue(created_at=value))) == ["created_at"]


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),
    st.one_of(st.none(), st.integers(-23 * 60 - 59, 23 * 60 + 59)),
)
def test_any_time_is_stored_as_python_converts_it(local: datetime, minutes: int | None) -> None:
    """The column equals the UTC time that the standard library computes, for any offset."""
    if minutes is None:
        assert accept(dialogue(created_at=local.isoformat()))["created_at"] == local
        return
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{local.isoformat()}{sign}{hours:02}:{rest:02}"
    expected = datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    assert accept(dialogue(created_at=text))["created_at"] == expected


def test_a_missing_created_at_is_the_record_s_timestamp() -> None:
    """The Kafka timestamp is used, to the millisecond. The replica's clock is never used."""
    for timestamp, created_at in ((0, "1970-01-01 00:00:00"), (1_767_225_600_123, "2026-01-01 00:00:00.123000")):
        for event in (dialogue(), dialogue(created_at=None)):
            row = stored(DIALOGUE, record(event, timestamp=timestamp))
            assert str(row["created_at"]) == created_at


def test_the_day_is_counted_from_created_at() -> None:
    """Provenance counts towards no day."""
    row = accept(dialogue(created_at="2026-01-31T09:30:00.000001+09:00")).row
    assert row.created_at == (datetime(2026, 1, 31, 0, 30) - datetime(2000, 1, 1)) // timedelta(microseconds=1) + 1
    assert accept(provenance(), PROVENANCE).row.created_at is None


def test_a_record_without_timestamp_needs_a_created_at() -> None:
    """If both are missing, the event is rejected, and the replica's clock is not used."""
    rejected = rejection(DIALOGUE, record(dialogue(), timestamp=-1))
    assert (rejected.reason, paths(rejected)) == (Reason.MISSING_FIELD, ["created_at"])
    row = stored(DIALOGUE, record(dialogue(created_at="2026-01-31T09:30:00Z"), timestamp=-1))
    assert str(row["created_at"]) == "2026-01-31 09:30:00"


@pytest.mark.parametrize("timestamp", [253_402_300_800_000, 2**63 - 1])
def test_a_record_s_timestamp_beyond_the_year_9999_is_rejected(timestamp: int) -> None:
    """A timestamp in microseconds by mistake must not end the replica."""
    rejected = rejection(DIALOGUE, record(dialogue(), timestamp=timestamp))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["created_at"])


def test_the_last_millisecond_of_9999_is_accepted() -> None:
    """The limit itself is valid."""
    row = stored(DIALOGUE, record(dialogue(), timestamp=253_402_300_799_999))
    assert str(row["created_at"]) == "9999-12-31 23:59:59.999000"
