"""Prices and rates for tests, and a namespace of string ids."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from consumer.events import price_file
from consumer.events.costs import ModelPrices, Price, PriceBook, Rate

NAMESPACE = UUID("0d9f7a52-6f0e-4a6b-9f0c-6f2f1c3b4a5d")
BOOK = PriceBook(
    "book",
    [
        ModelPrices("gpt-5*", [Price(date(1, 1, 1), "USD", Decimal("0.25"), Decimal("0.025"), Decimal(2))]),
        ModelPrices("claude-*", [Price(date(2026, 1, 1), "EUR", Decimal(3), Decimal(3), Decimal("15.000000001"))]),
    ],
    {"USD": [Rate(date(1, 1, 1), Decimal("155.25"))], "EUR": [Rate(date(1, 1, 1), Decimal("165.5"))]},
)
TEXT = """
models:
  - match: gpt-5*
    prices:
      - {input: 100, cached_input: 10, output: 1000}
rates:
  USD:
    - {jpy: 150}
"""


def read(directory: Path, text: str) -> PriceBook:
    """Return the price book of a file with this text."""
    path = directory / "prices.yml"
    path.write_text(text)
    return price_file.load(path)
