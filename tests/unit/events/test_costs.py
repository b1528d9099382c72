"""Tests the cost of an answer: stated, converted or computed, exactly and rounded once."""

from __future__ import annotations

import json
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.events.costs import HIGHEST, CostNote, CostSource, ModelPrices, Price, PriceBook, Pricing, Rate, Usage
from consumer.events.dialogue import DIALOGUE
from tests.support.builders import accept, dialogue, paths, reject, with_raw
from tests.support.prices import BOOK

PRICING = Pricing(BOOK)
PRICED = DIALOGUE.under(None, PRICING)
TOKENS = {"model_used": "gpt-5-mini", "prompt_tokens": 1_000, "completion_tokens": 500}
USD = {"amount": "0.01", "currency": "USD"}


def settled(event: dict[str, Any]) -> tuple[Decimal | None, CostNote | None]:
    """Return the cost of an event with our prices, and the note on it."""
    row = accept(event, PRICED)
    return row["token_cost_jpy"], row.row.note


def test_a_stated_cost_has_priority() -> None:
    """It has priority over a cost in another currency, which the note keeps, and over tokens, which need no note."""
    assert settled(dialogue(**TOKENS, token_cost_jpy=7, cost=USD)) == (
        Decimal("7.00"),
        CostNote(CostSource.STATED, "book", Decimal("0.010000000"), "USD", None),
    )
    assert settled(dialogue(**TOKENS, token_cost_jpy=0)) == (Decimal("0.00"), None)


def test_a_cost_is_converted_before_tokens_are_counted() -> None:
    """The rate of its day is used; yen need none. If the currency has no rate, the cost is computed from tokens."""
    jpy, note = settled(dialogue(**TOKENS, cost=USD))
    assert (jpy, note and note.source) == (Decimal("1.55"), CostSource.CONVERTED)
    assert settled(dialogue(cost={"amount": 2.005, "currency": "jpy"}))[0] == Decimal("2.01")
    jpy, note = settled(dialogue(**TOKENS, cost=USD | {"currency": "XXX"}))
    assert (jpy, note and (note.source, note.currency)) == (Decimal("0.19"), (CostSource.COMPUTED, "XXX"))


def test_tokens_are_priced() -> None:
    """Cached tokens have their own price. At most all tokens of the prompt count as cached."""
    jpy, note = settled(dialogue(**TOKENS, cached_tokens=100))
    assert note == CostNote(CostSource.COMPUTED, "book", None, None, 100)
    assert jpy == (Decimal("155.25") * (225 + Decimal("2.5") + 1000) / 10**6).quantize(Decimal("0.01"))
    assert settled(dialogue(**TOKENS, cached_tokens=10**9))[0] == settled(dialogue(**TOKENS, cached_tokens=1_000))[0]


@pytest.mark.parametrize(
    "members",
    [
        {"model_used": "llama", "prompt_tokens": 1, "completion_tokens": 1},
        {"model_used": "claude-x", "prompt_tokens": 1, "completion_tokens": 1, "created_at": "2025-12-31T23:59:59Z"},
        {"cost": {"amount": 1, "currency": "XXX"}},
    ],
)
def test_a_cost_without_a_price_is_noted(members: dict[str, Any]) -> None:
    """The model is unknown, the day is before the first price, or the currency has no rate."""
    jpy, note = settled(dialogue(**members))
    assert (jpy, note and note.source) == (None, CostSource.UNPRICED)


@pytest.mark.parametrize("members", [{}, {"prompt_tokens": 1}, {"total_tokens": 5}])
def test_a_dialogue_without_cost_and_tokens_is_not_noted(members: dict[str, Any]) -> None:
    """No other prices could ever give it a cost."""
    assert settled(dialogue(model_used="gpt-5", **members)) == (None, None)


def test_without_prices_a_cost_is_kept_for_later() -> None:
    """Without a price file, tokens are not kept for later."""
    row = accept(dialogue(**TOKENS, cost=USD))
    assert row["token_cost_jpy"] is None
    assert row.row.note == CostNote(CostSource.UNPRICED, "", Decimal("0.010000000"), "USD", None)
    assert accept(dialogue(**TOKENS)).row.note is None


def test_the_cost_counts_in_the_metrics() -> None:
    """It counts like a stated cost."""
    facts = dict(zip(DIALOGUE.facts, accept(dialogue(**TOKENS), PRICED).row.facts, strict=True))
    assert facts["token_cost_jpy"] == Decimal("0.19")


@pytest.mark.parametrize(
    ("cost", "path"),
    [
        ("USD 1", "cost"),
        ([], "cost"),
        ({}, "cost.amount"),
        ({"amount": 1}, "cost.currency"),
        ({"amount": -1, "currency": "USD"}, "cost.amount"),
        ({"amount": 10**12, "currency": "USD"}, "cost.amount"),
        ({"amount": "1,5", "currency": "USD"}, "cost.amount"),
        ({"amount": None, "currency": "USD"}, "cost.amount"),
        ({"amount": 1, "currency": "dollars"}, "cost.currency"),
        ({"amount": 1, "currency": 840}, "cost.currency"),
        ({"amount": 1_000_000, "currency": "JPY"}, "cost"),
        ({"amount": 6442, "currency": "USD"}, "cost"),
    ],
)
def test_a_wrong_cost_is_rejected_by_its_path(cost: Any, path: str) -> None:
    """A part is missing or wrong, or the converted amount is too large."""
    assert paths(reject(dialogue(cost=cost), PRICED))[0] == path


def test_tokens_that_cost_too_much_are_rejected() -> None:
    """The message names the field that cannot hold the cost, and that it was computed from tokens."""
    rejected = reject(dialogue(**TOKENS | {"completion_tokens": 2_000_000_000, "model_used": "claude-x"}), PRICED)
    assert str(rejected) == ("token_cost_jpy: the cost, computed from the tokens, must be between 0 and 999999.99 yen")


def test_unknown_members_of_a_cost_are_ignored() -> None:
    """Both lanes ignore them, with any value."""
    row = accept(with_raw(dialogue(), cost='{"amount": 1.10, "currency": "JPY", "by": [{"a": "\\u0000"}]}'), PRICED)
    assert row["token_cost_jpy"] == Decimal("1.10")


def test_prices_and_rates_are_those_of_the_day() -> None:
    """The newest entry that has begun counts, by business days."""
    prices = [Price(date(2026, 2, 1), "USD", *[Decimal(2)] * 3), Price(date(2026, 1, 1), "JPY", *[Decimal(1)] * 3)]
    rates = [Rate(date(2026, 3, 1), Decimal(200)), Rate(date(2026, 2, 1), Decimal(100))]
    book = PriceBook("v", [ModelPrices("m", prices)], {"USD": rates})
    tokyo = Pricing(book, lambda moment: (moment.replace(day=moment.day + 1) if moment.hour >= 15 else moment).date())

    def cost(moment: datetime, pricing: Pricing) -> Decimal | None:
        return pricing.settle(Usage("m", moment, prompt_tokens=10**6, completion_tokens=0)).jpy

    utc = Pricing(book)
    moments = [datetime(2025, 12, 30, 15), datetime(2026, 1, 2), datetime(2026, 2, 1), datetime(2026, 3, 1)]
    assert [cost(moment, utc) for moment in moments] == [None, 1, 200, 400]
    assert cost(datetime(2026, 2, 27, 23), utc) == 200
    assert cost(datetime(2025, 12, 30, 15), tokyo) is None
    assert cost(datetime(2026, 1, 31 - 1, 15), tokyo) == 1


@pytest.mark.parametrize(
    ("pattern", "model", "matches"),
    [
        ("gpt-5*", "GPT-5-mini", True),
        ("gpt-5*", "gpt-4", False),
        ("gpt-5", "gpt-5-mini", False),
        ("*", "any\nthing", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("arn:*:model/x", "arn:aws:bedrock:eu:1:model/x", True),
    ],
)
def test_a_pattern_has_two_special_characters(pattern: str, model: str, matches: bool) -> None:
    """The two are * and ?. All other characters stand for themselves, and case does not matter."""
    price = Price(date(1, 1, 1), "JPY", *[Decimal(1)] * 3)
    book = PriceBook("v", [ModelPrices(pattern, [price])])
    assert (book.prices_of(model) is not None) is matches


def test_the_first_matching_pattern_is_used() -> None:
    """The order is that of the file. Later patterns are not used, even if the first one has no price yet."""
    old, new = (Price(date(year, 1, 1), "JPY", *[Decimal(year)] * 3) for year in (2000, 2030))
    book = PriceBook("v", [ModelPrices("gpt-5-mini", [new]), ModelPrices("gpt-*", [old])])
    assert book.price_of("gpt-5-mini", date(2026, 1, 1)) is None
    assert book.price_of("gpt-5", date(2026, 1, 1)) == old


amounts = st.decimals(0, 10**6, places=9)
counts = st.integers(0, 10**6)


@given(amounts, amounts, amounts, st.decimals(Decimal("0.000000001"), 1000, places=9), counts, counts, counts)
def test_the_arithmetic_is_exact(
    input_price: Decimal,
    cached_price: Decimal,
    output_price: Decimal,
    rate: Decimal,
    prompt: int,
    out: int,
    cached: int,
) -> None:
    """It equals computing with fractions, rounded half up once."""
    price = Price(date(1, 1, 1), "USD", input_price, cached_price, output_price)
    book = PriceBook("v", [ModelPrices("m", [price])], {"USD": [Rate(date(1, 1, 1), rate)]})
    usage = Usage("m", datetime(2026, 1, 1), None, None, prompt, out, cached)
    used = min(cached, prompt)
    sums = Fraction(input_price) * (prompt - used) + Fraction(cached_price) * used + Fraction(output_price) * out
    exact = sums * Fraction(rate) / 10**6
    hundredths = int(exact * 100 + Fraction(1, 2))
    if hundredths > HIGHEST * 100:
        with pytest.raises(ValueError, match="must be between"):
            Pricing(book).settle(usage)
    else:
        assert Pricing(book).settle(usage).jpy == Decimal(hundredths).scaleb(-2)


@given(st.decimals(0, 999_999, places=9))
def test_yen_are_rounded_as_postgresql_rounds(amount: Decimal) -> None:
    """Half is rounded away from zero, at the column's two decimals."""
    event = json.loads(json.dumps(dialogue(cost={"amount": str(amount), "currency": "JPY"})))
    assert accept(event)["token_cost_jpy"] == amount.quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_newer_prices_are_used_at_once() -> None:
    """The service reads its file again."""
    pricing = Pricing(PriceBook())
    kind = DIALOGUE.under(None, pricing)
    event = dialogue(**TOKENS)
    assert accept(event, kind)["token_cost_jpy"] is None
    pricing.book = BOOK
    assert accept(event, kind)["token_cost_jpy"] == Decimal("0.19")
