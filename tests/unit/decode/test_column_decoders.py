"""The fast lane's memory of values that repeat: bounded, whatever producers send."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import pytest

from consumer.decode.lanes import decode
from consumer.events.dialogue import DIALOGUE
from tests.support.builders import accept, dialogue, record, with_raw


def test_long_numbers_are_not_kept() -> None:
    """A number of many decimals is valid, but it will not come again."""
    values = [with_raw(dialogue(), token_cost_jpy=f"0.{number:04}" + "1" * 100_000) for number in range(100)]
    tracemalloc.start()
    for value in values:
        decode(DIALOGUE, record(value))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1_000_000


@pytest.mark.timeout(20)
@pytest.mark.parametrize("tiny", ["1e-400000", "1e-999999999", "0e-999999999", '"1e-999999999"'])
def test_a_number_of_very_many_decimals_takes_no_time(tiny: str) -> None:
    """It is between 0 and 1, and stays as it came; nobody has to write all its digits down."""
    text = f'[{{"source":"s","confidence":{tiny}}}]'
    assert accept(with_raw(dialogue(), citations=text))["citations"] == text.encode()
    assert accept(with_raw(dialogue(), token_cost_jpy=tiny, temperature=tiny))["token_cost_jpy"] == 0


def test_what_is_remembered_is_still_judged_by_its_own_field() -> None:
    """The same text in two fields with different ranges."""
    row = accept(with_raw(dialogue(), token_cost_jpy="1.50", temperature="1.50", citation_rate="1.50"))
    assert {row["token_cost_jpy"], row["temperature"], row["citation_rate"]} == {Decimal("1.50")}
    for _ in range(2):
        assert accept(with_raw(dialogue(), citation_rate="2.50"))["citation_rate"] == Decimal("2.50")
    row = accept(with_raw(dialogue(), token_cost_jpy='"2.50"', citation_rate="2.5"))
    assert (row["token_cost_jpy"], row["citation_rate"]) == (Decimal("2.50"), Decimal("2.50"))
