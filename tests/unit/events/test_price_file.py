"""Tests the price file: its content, and its errors."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from consumer.errors import YamlFileError
from consumer.events import price_file
from consumer.events.costs import PriceBook
from consumer.ingest.kinds import pricing_of
from consumer.settings.model import Settings
from tests.support.prices import TEXT, read

MODEL = "models:\n- match: m\n  prices:\n"


def test_without_a_file_there_are_no_prices() -> None:
    """It has no version either."""
    assert pricing_of(Settings()).book == PriceBook()
    assert pricing_of(Settings()).book.version == ""


def test_the_content_of_a_file(tmp_path: Path) -> None:
    """Currencies and cached tokens have defaults. The newest price comes first. Numbers stay as they are written."""
    book = read(
        tmp_path,
        """
currency: EUR
models:
  - match: a*
    prices:
      - {input: 0.1, output: 1e-7}
      - {from: 2026-02-01, currency: USD, input: 123456789012.123456789, cached_input: 0, output: "3"}
rates:
  EUR: [{jpy: 165.5}]
  USD: [{from: 2026-01-01, jpy: 150}, {from: 2026-03-01, jpy: 155}]
""",
    )
    newest, oldest = book.models[0].prices
    assert newest[:2] == (date(2026, 2, 1), "USD")
    assert newest[2:] == (Decimal("123456789012.123456789"), Decimal(0), Decimal(3))
    assert oldest == (date(1, 1, 1), "EUR", Decimal("0.1"), Decimal("0.1"), Decimal("0.0000001"))
    assert [rate.jpy for rate in book.rates["USD"]] == [155, 150]


def test_the_version_depends_on_the_meaning_and_not_on_the_spelling(tmp_path: Path) -> None:
    """Comments, the order of keys, and 1 or 1.0 do not change it. Another price or another order of patterns does."""
    version = read(tmp_path, TEXT).version
    assert len(version) == 16
    assert read(tmp_path, f"# a comment\n{TEXT}").version == version
    assert (
        read(tmp_path, TEXT.replace("input: 100, cached_input: 10", "cached_input: 10.0, input: 1e2")).version
        == version
    )
    assert read(tmp_path, TEXT.replace("150", "151")).version != version


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {", "not YAML: line 1"),
        ("", "line 1: there are neither models nor rates"),
        ("models: []", "line 1: there are neither models nor rates"),
        ("- 1", "line 1: must be a mapping with keys"),
        ("prices: []", "line 1: prices: there is no such key"),
        (f"{MODEL}  - {{input: 1}}", "line 4: models[0].prices[0].output: is missing"),
        (f"{MODEL}  - {{input: x, output: 1}}", "line 4: models[0].prices[0].input: must be a number"),
        (f"{MODEL}  - {{input: yes, output: 1}}", "line 4: models[0].prices[0].input: must be quoted, or a number"),
        (
            f"{MODEL}  - {{input: -1, output: 1}}",
            "line 4: models[0].prices[0].input: must be greater than or equal to 0",
        ),
        (f"{MODEL}  - {{input: .inf, output: 1}}", "line 4: models[0].prices[0].input: "),
        (f"{MODEL}  - {{input: 1e-10, output: 1}}", "line 4: models[0].prices[0].input: "),
        (f"{MODEL}  - {{from: soon, input: 1, output: 1}}", "line 4: models[0].prices[0].from: "),
        (
            f"{MODEL}  - {{currency: usd, input: 1, output: 1}}",
            "line 4: models[0].prices[0].currency: must be a currency",
        ),
        (
            f"{MODEL}  - {{input: 1, output: 1}}\n  - {{input: 2, output: 1}}",
            "line 2: models[0]: there is more than one",
        ),
        (f"{MODEL}  - {{input: 1, output: 1}}\n- match: M\n  prices: [{{input: 1, output: 1}}]", "more than one model"),
        ("models: [{match: m, prices: []}]", "line 1: models[0].prices: must hold at least one"),
        ("rates: {USD: [{jpy: 0}]}", "line 1: rates.USD[0].jpy: must be greater than 0"),
        ("rates: {JPY: [{jpy: 1}]}", "line 1: rates: the rate of JPY is always 1"),
        ("rates:\n  USD: []", "line 2: rates.USD: must hold at least one"),
        ("rates:\n  dollars: [{jpy: 1}]", "line 2: rates.dollars: must be a currency"),
    ],
)
def test_a_wrong_file_is_reported_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    """The message has the line, the path and the problem."""
    with pytest.raises(YamlFileError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """There is no traceback."""
    with pytest.raises(YamlFileError, match=r"none\.yml'?: cannot be read: No such file"):
        price_file.load(tmp_path / "none.yml")


def test_a_list_of_wrong_prices_is_not_called_empty(tmp_path: Path) -> None:
    """There is one line for the one mistake."""
    with pytest.raises(YamlFileError) as caught:
        read(tmp_path, f"{MODEL}  - {{input: x, output: 1}}")
    assert str(caught.value).splitlines() == [
        f"{tmp_path / 'prices.yml'}, line 4: models[0].prices[0].input: must be a number"
    ]


def test_the_starter_file_is_right() -> None:
    """It says that it is no price list."""
    path = Path(__file__).parents[3] / "deploy" / "prices.yml"
    book = price_file.load(path)
    assert book.price_of("example-large-2", date(2026, 12, 1))
    assert "not kept current" in path.read_text()
