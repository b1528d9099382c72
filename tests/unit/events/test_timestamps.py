"""Time: RFC 3339, converted to UTC, to the microsecond, within the years 1 to 9999."""

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
from tests.support.builders import SESSION, accept, dialogue, paths, provenance, record, refusal, refuse, stored


def stored_time(text: str) -> str:
    """The column of a dialogue created at `text`, and of citations' and provenance's fields, which must be equal."""
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
def test_an_offset_is_converted_and_none_is_utc(text: str, utc: str) -> None:
    """With an offset it is converted to UTC, without one it is UTC."""
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
    """PostgreSQL has no 60th second: it becomes the first of the next minute."""
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
    """What Go and Java send is rounded to microseconds, half to even, as PostgreSQL's rint does."""
    assert stored_time(f"2026-01-31T09:30:59.{fraction}Z") == f"2026-01-31 09:30:{stored}"


def test_rounding_may_carry_into_the_next_year() -> None:
    """A fraction that rounds up to a whole second moves everything before it."""
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
def test_the_first_and_the_last_year_are_taken(text: str, utc: str) -> None:
    """The years 1 to 9999 are taken, to the microsecond."""
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
def test_what_does_not_exist_is_refused(text: str) -> None:
    """A day, an hour, an offset or a year that does not exist is an error, never another time."""
    rejected = refuse(dialogue(created_at=text))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["created_at"])
    assert paths(refuse(dialogue(citations=[{"source": "s", "timestamp": text}]))) == ["citations[0].timestamp"]


DATE, OFFSETS = "2026-01-31", {"": 0, "Z": 0, "z": 0, "+09:00": 9, "+0900": 9, "-0000": 0, "-1100": -11, "-11:00": -11}


@pytest.mark.parametrize("separator", ["T", "t", " "])
@pytest.mark.parametrize("clock", ["21:30", "21:30:00", "21:30:00.0", "21:30:00.000000000"])
@pytest.mark.parametrize(("offset", "hours"), OFFSETS.items())
def test_seconds_and_the_colon_of_the_offset_may_be_missing(
    separator: str, clock: str, offset: str, hours: int
) -> None:
    """In every combination with what RFC 3339 has: the column holds the very bytes of the full form."""
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
    """What is neither RFC 3339 nor only its colon short is refused."""
    for clock in ("09:30", "09:30:00"):
        assert paths(refuse(dialogue(created_at=f"{DATE}T{clock}{offset}"))) == ["created_at"]


def test_times_in_short_forms_among_others_are_stored_alike() -> None:
    """Whatever stands around them in a slice of records."""
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
def test_other_spellings_are_refused(text: str) -> None:
    """Only RFC 3339 is taken, and what can mean nothing else: nothing is guessed."""
    assert "RFC 3339" in str(refuse(dialogue(created_at=text)))


@pytest.mark.parametrize("value", [1_767_225_600, 1.5, True, [], {}])
def test_a_time_is_a_string(value: object) -> None:
    """Seconds since 1970 are no date-time: seconds or milliseconds would be a guess."""
    assert paths(refuse(dialogue(created_at=value))) == ["created_at"]


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31)),
    st.one_of(st.none(), st.integers(-23 * 60 - 59, 23 * 60 + 59)),
)
def test_any_time_is_stored_as_python_converts_it(local: datetime, minutes: int | None) -> None:
    """Any date-time with any offset becomes the UTC that the standard library makes of it."""
    if minutes is None:
        assert accept(dialogue(created_at=local.isoformat()))["created_at"] == local
        return
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    text = f"{local.isoformat()}{sign}{hours:02}:{rest:02}"
    expected = datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    assert accept(dialogue(created_at=text))["created_at"] == expected


def test_a_missing_created_at_is_the_record_s_timestamp() -> None:
    """The Kafka timestamp stands in, to the millisecond; the reader's clock never does."""
    for timestamp, created_at in ((0, "1970-01-01 00:00:00"), (1_767_225_600_123, "2026-01-01 00:00:00.123000")):
        for event in (dialogue(), dialogue(created_at=None)):
            row = stored(DIALOGUE, record(event, timestamp=timestamp))
            assert str(row["created_at"]) == created_at


def test_the_day_is_counted_from_created_at() -> None:
    """A row counts towards the day of its created_at; provenance counts towards none."""
    row = accept(dialogue(created_at="2026-01-31T09:30:00.000001+09:00")).row
    assert row.created_at == (datetime(2026, 1, 31, 0, 30) - datetime(2000, 1, 1)) // timedelta(microseconds=1) + 1
    assert accept(provenance(), PROVENANCE).row.created_at is None


def test_a_record_without_timestamp_needs_a_created_at() -> None:
    """Where neither says when, the event is refused rather than dated by the reader."""
    rejected = refusal(DIALOGUE, record(dialogue(), timestamp=-1))
    assert (rejected.reason, paths(rejected)) == (Reason.MISSING_FIELD, ["created_at"])
    row = stored(DIALOGUE, record(dialogue(created_at="2026-01-31T09:30:00Z"), timestamp=-1))
    assert str(row["created_at"]) == "2026-01-31 09:30:00"


@pytest.mark.parametrize("timestamp", [253_402_300_800_000, 2**63 - 1])
def test_a_record_s_timestamp_beyond_the_year_9999_is_refused(timestamp: int) -> None:
    """A record timestamp in microseconds by mistake must not end the reader."""
    rejected = refusal(DIALOGUE, record(dialogue(), timestamp=timestamp))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, ["created_at"])


def test_the_last_millisecond_of_9999_is_taken() -> None:
    """The border itself is inside."""
    row = stored(DIALOGUE, record(dialogue(), timestamp=253_402_300_799_999))
    assert str(row["created_at"]) == "9999-12-31 23:59:59.999000"
