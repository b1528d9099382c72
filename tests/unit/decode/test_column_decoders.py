"""Tests the fast lane's cache of repeated values: it is bounded, whatever producers send."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import pytest

from consumer.decode.lanes import decode
from consumer.events.dialogue import DIALOGUE
from tests.support.builders import accept, dialogue, record, with_raw


def test_long_numbers_are_not_cached() -> None:
    """A number with many decimals is valid, but is not likely to be repeated."""
    values = [with_raw(dialogue(), token_cost_jpy=f"0.{number:04}" + "1" * 100_000) for number in range(100)]
    tracemalloc.start()
    for value in values:
        decode(DIALOGUE, record(value))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.timeout(20)
@pytest.mark.parametrize("tiny", ["1e-400000", "1e-999999999", "0e-999999999", '"1e-999999999"'])
def test_a_number_with_very_many_decimals_is_decoded_quickly(tiny: str) -> None:
    """The number is between 0 and 1 and keeps its spelling. No code writes out all its digits."""
    text = f'[{{"source":"s","confidence":{tiny}}}]'
    assert accept(with_raw(dialogue(), citations=text))["citations"] == text.encode()
    assert accept(with_raw(dialogue(), token_cost_jpy=tiny, temperature=tiny))["token_cost_jpy"] == 0


def test_a_cached_value_is_still_checked_by_its_own_field() -> None:
    """Two fields with different ranges get the same text."""
    row = accept(with_raw(dialogue(), token_cost_jpy="1.50", temperature="1.50", citation_rate="1.50"))
    assert {row["token_cost_jpy"], row["temperature"], row["citation_rate"]} == {Decimal("1.50")}
    for _ in range(2):
        assert accept(with_raw(dialogue(), citation_rate="2.50"))["citation_rate"] == Decimal("2.50")
    row = accept(with_raw(dialogue(), token_cost_jpy='"2.50"', citation_rate="2.5"))
    assert (row["token_cost_jpy"], row["citation_rate"]) == (Decimal("2.50"), Decimal("2.50"))
