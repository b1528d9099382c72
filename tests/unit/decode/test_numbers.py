"""Tests numbers that are decoded by column: each equals the exact lane's number, or is left to the exact lane."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decode.fast_lane import FastLane
from consumer.decode.numbers import Rounded
from consumer.decode.rows import decode_exactly
from consumer.decode.vectorized import NotRecognised
from consumer.events.dialogue import DIALOGUE
from consumer.events.fields import Number
from consumer.events.record import StoredRecord
from consumer.events.rejection import Rejected
from tests.support.builders import dialogue, record, stored, with_raw

COST = "token_cost_jpy"
_DIGITS = st.text("0123456789", min_size=1, max_size=25)
_WHOLE = _DIGITS.map(lambda text: text.lstrip("0") or "0")
_EXPONENTS = st.sampled_from(["", "", "", "e0", "E2", "e-3", "e+1", "e-30", "e30"])
NUMBERS = st.builds(
    lambda sign, whole, fraction, exponent: sign + whole + fraction + exponent,
    st.sampled_from(["", "", "", "-"]),
    _WHOLE,
    st.one_of(st.just(""), _DIGITS.map(lambda digits: f".{digits}")),
    _EXPONENTS,
)
FLOATS = st.floats(-3, 1_000_001, allow_nan=False).map(repr)
# Close to the middle between two hundredths, as close as the digits allow.
TIES = st.builds(
    lambda units, tail: f"{units // 1000}.{units % 1000:03}{tail}",
    st.integers(0, 999_999_999).map(lambda number: number // 10 * 10 + 5),
    st.sampled_from(["", "0", "0000000000000000000000001", "9", "000001", "0000000001"]),
)
JUST_BELOW = TIES.map(lambda text: f"{text[:5]}4{'9' * 20}" if len(text) > 5 else text)
ANY_NUMBER = st.one_of(NUMBERS, FLOATS, TIES, JUST_BELOW)
TEXTS = st.one_of(ANY_NUMBER, ANY_NUMBER.map(lambda text: f'"{text}"'), st.just("null"))
COLUMNS = (COST, "citation_rate", "relevance_score", "temperature", "latency_ms", "prompt_tokens", "total_tokens")


@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS), TEXTS, max_size=5), min_size=1, max_size=12))
def test_numbers_of_any_form_are_the_same_in_both_lanes(events: list[dict[str, str]]) -> None:
    """Full precision, ties, exponents, strings, nulls and numbers out of range: decoded together and each alone."""
    records = [record(with_raw(dialogue(), **members), offset=place) for place, members in enumerate(events)]
    lane = FastLane(DIALOGUE)
    for one, row in zip(records, lane.decode(records), strict=True):
        assert row == lane.decode([one])[0]
        if row is not None:
            assert row == decode_exactly(DIALOGUE, one)


@given(
    st.lists(st.decimals(0, "999999.99", allow_nan=False, places=12), min_size=1, max_size=20), st.sampled_from([0, 2])
)
def test_floating_point_rounds_as_the_field_does(numbers: list[Decimal], scale: int) -> None:
    """Both round half away from zero, on the decimal digits."""
    field = Number(Decimal(0), Decimal(10**6), scale)
    rounded = Rounded([float(number) for number in numbers], scale)
    for place, (number, units) in enumerate(zip(numbers, rounded.units, strict=True)):
        assert place in rounded.undecided or Decimal(units).scaleb(-scale) == field.parse(number)


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("0.125", 13),
        ("0.12499999999999999999999", 12),
        ("0.12500000000000000000001", 13),
        ("0.115", 12),
        ("0.11499999999999999999999", 11),
        ("2.675", 268),
        ("999999.994", 99999999),
        ("999999.99499999999999999", 99999999),
        ("1e-400", 0),
        ("0e999999999", 0),
        ("-0.004", 0),
        ("-0", 0),
        ("12.345e1", 12345),
    ],
)
def test_numbers_are_rounded_by_their_digits_and_not_as_floats(text: str, cents: int) -> None:
    """0.115 and 2.675 are a little more than their floats. Both lanes round the digits, in a string too."""
    for value in (text, f'"{text}"'):
        taken = record(with_raw(dialogue(), token_cost_jpy=value))
        assert stored(DIALOGUE, taken)[COST] == Decimal(cents).scaleb(-2)
        assert FastLane(DIALOGUE).decode([taken])[0] is not None


@pytest.mark.parametrize(
    "text",
    [
        '" 1"',
        '"1 "',
        '"+1"',
        '".5"',
        '"5."',
        '"01"',
        '"1,2"',
        '"1_0"',
        '"\\uff11"',
        '""',
        '"null"',
        '"1e"',
    ],
)
@pytest.mark.parametrize("name", [COST, "latency_ms"])
def test_a_string_that_is_not_a_plain_number_is_left_to_the_exact_lane(name: str, text: str) -> None:
    """Numbers around it in the same slice are still recognised."""
    plain, uncommon = with_raw(dialogue(), **{name: "1"}), with_raw(dialogue(), **{name: text})
    records = [
        StoredRecord("t", 0, place, 0, None, value) for place, value in enumerate([plain, uncommon, plain, uncommon])
    ]
    assert [row is None for row in FastLane(DIALOGUE).decode(records)] == [False, True, False, True]


@pytest.mark.parametrize("text", ["1.0000005", "-0.0000005", "2", '"2"', "1e300"])
def test_a_confidence_at_the_limit_is_left_to_the_exact_lane(text: str) -> None:
    """A confidence is rounded to six decimals before its range is checked."""
    citations = f'[{{"source":"s","confidence":{text}}},{{"source":"s","confidence":1.0}}]'
    assert FastLane(DIALOGUE).decode([record(with_raw(dialogue(), citations=citations))]) == [None]


def test_a_confidence_a_little_outside_is_rounded_into_its_range() -> None:
    """The cosine of unit vectors in floating point may be a little outside."""
    citations = '[{"source":"s","confidence":1.0000001},{"source":"s","confidence":"-1e-9"}]'
    taken = record(with_raw(dialogue(), citations=citations))
    assert FastLane(DIALOGUE).decode([taken]) == [decode_exactly(DIALOGUE, taken)]


def test_a_sum_counts_numbers_of_every_form() -> None:
    """Parts in strings and with decimals are rounded before they are added."""
    taken = record(with_raw(dialogue(), prompt_tokens='"1200"', completion_tokens="34.4"))
    assert stored(DIALOGUE, taken)["total_tokens"] == 1234
    assert FastLane(DIALOGUE).decode([taken])[0] is not None


def test_numbers_beyond_every_column_are_not_recognised() -> None:
    """At this size, errors of floating point would matter."""
    with pytest.raises(NotRecognised):
        Rounded([1.0, 1e300], 2)
    with pytest.raises(Rejected):
        decode_exactly(DIALOGUE, record(with_raw(dialogue(), token_cost_jpy="1e300")))
