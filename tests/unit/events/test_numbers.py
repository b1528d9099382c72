"""Tests numbers: JSON numbers or strings, rounded as PostgreSQL rounds at the column's scale, then compared with the
range.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from consumer.events.rejection import Reason
from tests.support.builders import accept, dialogue, paths, reject, with_raw


def take(name: str, text: str) -> Decimal | int | None:
    """Return the column's value, which must be equal for a JSON number and a string."""
    number: Decimal | int | None = accept(with_raw(dialogue(), **{name: text}))[name]
    assert accept(dialogue(**{name: text}))[name] == number
    return number


def rejection_message(name: str, text: str) -> str:
    """Return the message, which must be equal for a JSON number and a string."""
    rejected = reject(with_raw(dialogue(), **{name: text}))
    assert (rejected.reason, paths(rejected)) == (Reason.INVALID_FIELD, [name])
    assert reject(dialogue(**{name: text})).detail() == rejected.detail()
    return str(rejected)


WHOLE = {"0": 0, "1200": 1200, "2147483647": 2_147_483_647, "1.0": 1, "1e3": 1000, "12E+2": 1200, "15e-1": 2}
WHOLE |= {"0.4": 0, "0.5": 1, "1.5": 2, "2.5": 3, "2147483647.4": 2_147_483_647, "-0": 0, "-0.4": 0}
WHOLE |= {"1e-400": 0, "0.0000001": 0, "0e5": 0, "0e999": 0, "-0e-999": 0}


@pytest.mark.parametrize(("text", "stored"), WHOLE.items())
def test_whole_numbers(text: str, stored: int) -> None:
    """A whole number may have any spelling of JSON. A fraction is rounded half away from zero."""
    assert take("latency_ms", text) == stored


@pytest.mark.parametrize("text", ["-1", "-0.5", "2147483648", "2147483647.5", "1e10", "1e400", "-1e400", "1e999999999"])
def test_whole_numbers_out_of_range(text: str) -> None:
    """The number is rounded first. The error names the range."""
    assert rejection_message("latency_ms", text) == "latency_ms: must be between 0 and 2147483647"


@pytest.mark.parametrize(
    ("name", "text", "stored"),
    [
        ("token_cost_jpy", "12.345", "12.35"),
        ("token_cost_jpy", "12.344999999999999999999999999", "12.34"),
        ("token_cost_jpy", "0.005", "0.01"),
        ("token_cost_jpy", "0.0049999", "0.00"),
        ("token_cost_jpy", "999999.99", "999999.99"),
        ("token_cost_jpy", "999999.994", "999999.99"),
        ("token_cost_jpy", "-0.004", "0.00"),
        ("token_cost_jpy", "-0.0", "0.00"),
        ("token_cost_jpy", "1.2345e3", "1234.50"),
        ("token_cost_jpy", "7", "7.00"),
        ("citation_rate", "100", "100.00"),
        ("citation_rate", "100.004", "100.00"),
        ("citation_rate", "66.665", "66.67"),
        ("relevance_score", "0.995", "1.00"),
        ("relevance_score", "1.0049", "1.00"),
        ("temperature", "2.00", "2.00"),
        ("temperature", "0.7", "0.70"),
    ],
)
def test_decimals_are_rounded_at_the_column_s_scale(name: str, text: str, stored: str) -> None:
    """Half is rounded away from zero, as numeric does it. The result is never a negative zero."""
    taken = take(name, text)
    assert isinstance(taken, Decimal)
    assert str(taken) == stored


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("token_cost_jpy", "999999.995"),
        ("token_cost_jpy", "1000000"),
        ("token_cost_jpy", "-0.005"),
        ("citation_rate", "100.005"),
        ("citation_rate", "-1"),
        ("relevance_score", "1.005"),
        ("temperature", "2.005"),
        ("user_feedback", "2"),
        ("user_feedback", "-1.5"),
        ("context_window_size", "2147483648"),
    ],
)
def test_the_range_holds_after_rounding(name: str, text: str) -> None:
    """999999.994 fits, 999999.995 does not."""
    assert rejection_message(name, text).startswith(f"{name}: must be between ")


@pytest.mark.parametrize("text", ["9" * 400, "-" + "9" * 400, "9" * 5000])
def test_four_hundred_digits_are_out_of_range(text: str) -> None:
    """A number that is too long for any column is rejected without computing with it."""
    assert reject(with_raw(dialogue(), latency_ms=text)).reason is Reason.INVALID_FIELD
    assert reject(with_raw(dialogue(), token_cost_jpy=text)).reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("digits", [10, 340, 400, 5000])
def test_any_number_of_decimals_is_rounded(digits: int) -> None:
    assert take("token_cost_jpy", "0." + "3" * digits) == Decimal("0.33")
    assert take("token_cost_jpy", "0.00" + "4" * digits + "5") == Decimal("0.00")
    assert take("latency_ms", "1." + "9" * digits) == 2


@pytest.mark.parametrize("text", ["1e99999999999999999999", "-1e99999999999999999999", "1e9999999999999999999999999"])
def test_huge_exponents_are_out_of_range(text: str) -> None:
    """No arithmetic could compute with such an exponent. The number is only out of range, as a JSON number and as a
    string.
    """
    assert rejection_message("latency_ms", text) == "latency_ms: must be between 0 and 2147483647"
    rejected = reject(dialogue(citations=[{"source": "s", "confidence": text}]))
    assert paths(rejected) == ["citations[0].confidence"]


@pytest.mark.parametrize("exponent", ["9" * 18, "9" * 19, "9" * 20, "9" * 5000])
@pytest.mark.parametrize("digits", ["1e-", "-1E-", "123.456e-", "0e", "0.00E+", "-0e-"])
def test_huge_exponents_of_tiny_numbers_give_zero(digits: str, exponent: str) -> None:
    """Zero, or a number that is zero at the column's scale, is zero with any exponent."""
    assert take("latency_ms", digits + exponent) == 0
    assert take("token_cost_jpy", digits + exponent) == 0


NO_NUMBERS = ["", " ", " 1", "1 ", "1\n", "+-1", "--1", "1e", "e5", ".", "1.5.2", "1,5", "1_000", "0x10", "\uff11"]
NO_NUMBERS += ["abc", "NaN", "nan", "Infinity", "-inf", "null"]


@pytest.mark.parametrize("value", [*NO_NUMBERS, True, False, [], [1], {}, {"a": 1}])
def test_a_value_that_is_not_a_number_is_rejected(value: object) -> None:
    """Booleans, NaN, infinity and all other values that are no JSON number are rejected."""
    for name in ("latency_ms", "token_cost_jpy", "user_feedback"):
        assert str(reject(dialogue(**{name: value}))) == f"{name}: must be a number, or a string that holds one"


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_python_s_constants_are_not_json(name: str) -> None:
    """Python's json writes them for some floats, but they are not JSON."""
    assert reject(with_raw(dialogue(), latency_ms=name)).reason is Reason.NOT_JSON
    assert reject(with_raw(dialogue(), unknown=name)).reason is Reason.NOT_JSON


@given(
    st.sampled_from(
        [("latency_ms", 0, 0, 2_147_483_647), ("token_cost_jpy", 2, 0, 999_999.99), ("temperature", 2, 0, 2)]
    ),
    st.integers(-(10**12), 10**12),
    st.integers(-16, 3),
)
def test_rounding_is_half_away_from_zero(column: tuple[str, int, int, float], digits: int, exponent: int) -> None:
    """Each number is rounded as exact fractions are, and accepted if the result is in range."""
    name, scale, low, high = column
    exact = Fraction(digits) * Fraction(10) ** exponent * 10**scale
    whole = int(abs(exact) + Fraction(1, 2)) * (-1 if exact < 0 else 1)
    text = f"{digits}e{exponent}"
    if low * 10**scale <= whole <= round(high * 10**scale):
        assert take(name, text) == Decimal(whole).scaleb(-scale)
    else:
        rejection_message(name, text)


@given(st.floats(min_value=0, max_value=999_999, allow_nan=False))
def test_a_float_in_json_is_stored_exactly(number: float) -> None:
    """A JSON number is its decimal text. No step uses binary floating point."""
    assume("e" not in repr(number))
    taken = take("token_cost_jpy", repr(number))
    assert taken == Decimal(repr(number)).quantize(Decimal("0.01"), rounding="ROUND_HALF_UP")


def citation(confidence: str) -> bytes:
    """Return a dialogue with one citation."""
    return with_raw(dialogue(), citations=f'[{{"source":"s","confidence":{confidence}}}]')


RIGHT = (
    "1 1.0000 1.0000001 1.00000049 1.000000499999999999999999999999 -1e-9 -0.0 -0.00000049 0.5 1e0 10e-1 1000000.4e-6"
)
RIGHT += " 1e-400 -1e-400 1e-999999999 0e999999999"
WRONG = "1.0000005 1.000001 1.1 -0.0000005 -5e-7 -0.000001 1e1 1000000.5e-6 1e400 -1e400 1e999999999 -1"
LONG = ["0." + "9" * 100_000, "1." + "0" * 100_000 + "9", "-0." + "0" * 100_000 + "1", "1" + "0" * 99_999 + "e-99999"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", [*RIGHT.split(), *LONG], ids=lambda text: text[:20])
def test_confidence_is_rounded_to_six_decimals_before_its_range_is_checked(text: str) -> None:
    """A cosine that is a little outside its range is accepted. The citation is still stored unchanged."""
    for spelt in (text, f'"{text}"'):
        stored = accept(citation(spelt))["citations"]
        assert stored == f'[{{"source":"s","confidence":{spelt}}}]'.encode()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", [*WRONG.split(), "9" * 100_000, "1e" + "9" * 100_000], ids=lambda text: text[:20])
def test_confidence_out_of_range_after_rounding_is_rejected(text: str) -> None:
    """Half is rounded away from zero. No exponent and no number of digits takes long."""
    for spelt in (text, f'"{text}"'):
        assert str(reject(citation(spelt))) == "citations[0].confidence: must be between 0 and 1"


@pytest.mark.parametrize("text", ['"NaN"', '"Infinity"', '"-Infinity"', '"nan"', '""', "true", "[]", "{}", '"0,5"'])
def test_a_confidence_that_is_not_a_number_is_rejected(text: str) -> None:
    """Every number field rejects such a value."""
    said = "citations[0].confidence: must be a number, or a string that holds one"
    assert str(reject(citation(text))) == said


@given(st.integers(-(10**10), 2 * 10**10), st.integers(-12, -5))
def test_the_range_of_a_confidence_is_exact(digits: int, exponent: int) -> None:
    """It is rounded half away from zero, at six decimals."""
    exact = Fraction(digits) * Fraction(10) ** exponent * 10**6
    whole = int(abs(exact) + Fraction(1, 2)) * (-1 if exact < 0 else 1)
    (accept if 0 <= whole <= 10**6 else reject)(citation(f"{digits}e{exponent}"))
