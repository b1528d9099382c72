"""Settles the cost of an answer in yen: stated, converted from another currency, or computed from its tokens. PURE."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_UP, Context, Decimal
from enum import StrEnum
from typing import Any, NamedTuple

YEN = "JPY"
HIGHEST = Decimal("999999.99")
"""The highest value of token_cost_jpy, which is numeric(8,2)."""
_REMEMBERED = 10_000
_PER_TOKENS = 6  # prices are per million: 10 to this power
# Exact: prices, rates and counts of tokens together have far fewer digits.
_CONTEXT = Context(prec=100, rounding=ROUND_HALF_UP, Emax=MAX_EMAX, Emin=MIN_EMIN)


class CostSource(StrEnum):
    """The source of `token_cost_jpy`: the `source` column of `dialogue_costs`."""

    STATED = "stated"
    CONVERTED = "converted"
    COMPUTED = "computed"
    UNPRICED = "unpriced"


class CostError(ValueError):
    """The column cannot hold a cost. `path` is the field from which the cost comes."""

    def __init__(self, path: str, how: str) -> None:
        super().__init__(f"{how} must be between 0 and {HIGHEST} yen")
        self.path = path


class Usage(NamedTuple):
    """The fields of an event from which its cost is settled.

    :param moment: when the answer was given, naive UTC
    :param stated: token_cost_jpy
    :param cost: amount and currency in the event
    :param cached_tokens: the number of prompt tokens that came from a cache
    """

    model: str
    moment: datetime
    stated: Decimal | None = None
    cost: Mapping[str, Any] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


class CostNote(NamedTuple):
    """The origin of a cost: a row of `dialogue_costs`."""

    source: CostSource
    price_version: str
    amount: Decimal | None = None
    currency: str | None = None
    cached_tokens: int | None = None


class Settled(NamedTuple):
    """The cost in yen, or None if it is unknown; and the note on its origin, or None if the event needs no note."""

    jpy: Decimal | None
    note: CostNote | None


class Recomputed(NamedTuple):
    """The numbers of one step.

    :param settled: dialogues whose costs were settled with the prices in force
    :param changed: dialogues whose cost has changed
    :param out_of_range: dialogues whose new cost the column cannot hold, so that it is now unknown
    """

    settled: int = 0
    changed: int = 0
    out_of_range: int = 0


class Price(NamedTuple):
    """The prices of a model per million tokens, from the day `since` on."""

    since: date
    currency: str
    input: Decimal
    cached_input: Decimal
    output: Decimal


class Rate(NamedTuple):
    """The yen for one unit of a currency, from the day `since` on."""

    since: date
    jpy: Decimal


class ModelPrices(NamedTuple):
    """The prices of the models whose names match the pattern `match`, the newest first."""

    match: str
    prices: Sequence[Price]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The pattern: `*` stands for any characters, `?` for one. Upper and lower case are equal."""
        parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in self.match)
        return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """The prices and rates of a price file.

    :param version: a digest of the content; empty if there are no prices
    :param models: in the order of the file; the first whose pattern matches counts
    :param rates: by currency, the newest first
    """

    version: str = ""
    models: Sequence[ModelPrices] = ()
    rates: Mapping[str, Sequence[Rate]] = field(default_factory=dict)
    _patterns: Sequence[re.Pattern[str]] = field(init=False, repr=False, compare=False)
    _known: dict[str, ModelPrices | None] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_patterns", [one.pattern for one in self.models])

    def prices_of(self, model: str) -> ModelPrices | None:
        """Return the first prices whose pattern matches the model."""
        if model not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            pairs = zip(self.models, self._patterns, strict=True)
            self._known[model] = next((one for one, pattern in pairs if pattern.fullmatch(model)), None)
        return self._known[model]

    def price_of(self, model: str, day: date) -> Price | None:
        """Return the price of a model on a day."""
        found = self.prices_of(model)
        return None if found is None else next((price for price in found.prices if price.since <= day), None)

    def rate_of(self, currency: str, day: date) -> Decimal | None:
        """Return the yen for one unit of a currency on a day."""
        if currency == YEN:
            return Decimal(1)
        return next((rate.jpy for rate in self.rates.get(currency, ()) if rate.since <= day), None)


def content_of(book: PriceBook) -> str:
    """Return the content of a book as JSON. Files with equal content have equal JSON."""
    models = [[one.match, [_texts(price) for price in one.prices]] for one in book.models]
    rates = {name: [_texts(rate) for rate in book.rates[name]] for name in sorted(book.rates)}
    return json.dumps({"models": models, "rates": rates}, ensure_ascii=False)


def _texts(values: Sequence[Any]) -> list[str]:
    return [f"{value.normalize():f}" if isinstance(value, Decimal) else str(value) for value in values]


class Pricing:
    """Settles costs with a price book.

    :param book: the book; the attribute may be replaced while the service runs
    :param day_of: returns the business day of a moment in naive UTC
    """

    def __init__(self, book: PriceBook | None = None, day_of: Callable[[datetime], date] = datetime.date) -> None:
        self.book, self._day_of = book or PriceBook(), day_of

    def settle(self, usage: Usage) -> Settled:
        """Return the cost of an answer: stated, or else converted, or else computed.

        :raises CostError: the column cannot hold it
        """
        book = self.book
        if usage.stated is not None:
            return Settled(usage.stated, _note(CostSource.STATED, book, usage) if usage.cost else None)
        if usage.cost is None and (not book.version or _lacks_tokens(usage)):
            return Settled(None, None)
        day = self._day_of(usage.moment)
        jpy, source = _convert(book, usage, day), CostSource.CONVERTED
        if jpy is None:
            jpy, source = _compute(book, usage, day), CostSource.COMPUTED
        return Settled(jpy, _note(CostSource.UNPRICED if jpy is None else source, book, usage))


def _note(source: CostSource, book: PriceBook, usage: Usage) -> CostNote:
    cost = usage.cost or {}
    return CostNote(source, book.version, cost.get("amount"), cost.get("currency"), usage.cached_tokens)


def _lacks_tokens(usage: Usage) -> bool:
    return usage.prompt_tokens is None or usage.completion_tokens is None


def _convert(book: PriceBook, usage: Usage, day: date) -> Decimal | None:
    if usage.cost is None:
        return None
    rate = book.rate_of(usage.cost["currency"], day)
    return None if rate is None else _yen(usage.cost["amount"], rate, "cost", "the cost, converted,")


def _compute(book: PriceBook, usage: Usage, day: date) -> Decimal | None:
    price = book.price_of(usage.model, day)
    rate = None if price is None else book.rate_of(price.currency, day)
    if price is None or rate is None or _lacks_tokens(usage):
        return None
    return _yen(cost_of(price, usage), rate, "token_cost_jpy", "the cost, computed from the tokens,")


def cost_of(price: Price, usage: Usage) -> Decimal:
    """Return the exact cost of an answer's tokens in the currency of the price.

    If there are more cached tokens than prompt tokens, all prompt tokens count as cached.
    """
    prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
    cached = min(usage.cached_tokens or 0, prompt)
    parts = ((price.input, prompt - cached), (price.cached_input, cached), (price.output, completion))
    total = Decimal(0)
    for per_million, tokens in parts:
        total = _CONTEXT.add(total, _CONTEXT.multiply(per_million, Decimal(tokens)))
    return total.scaleb(-_PER_TOKENS, _CONTEXT)


def _yen(amount: Decimal, rate: Decimal, path: str, how: str) -> Decimal:
    """Convert to yen, and round once as PostgreSQL rounds to numeric(8,2): half away from zero."""
    jpy = _CONTEXT.multiply(amount, rate).quantize(Decimal("0.01"), context=_CONTEXT)
    if jpy > HIGHEST:
        raise CostError(path, how)
    return jpy
