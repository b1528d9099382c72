"""Reads the price file: prices of models and rates of currencies, in YAML. PURE except for reading the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from consumer.events import yaml_file
from consumer.events.costs import YEN, ModelPrices, Price, PriceBook, Rate, content_of

EARLIEST = date(1, 1, 1)
_Dated = TypeVar("_Dated", Price, Rate)
_MOST_MODELS = 10_000
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
# Twelve digits before the point and nine after it, so that products are exact.
Amount = Annotated[Decimal, Field(ge=0, max_digits=21, decimal_places=9, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_flag(cls, value: Any) -> Any:
        if isinstance(value, bool):  # YAML reads yes, no, on and off as booleans
            raise ValueError("must be quoted, or a number")  # noqa: TRY004 - what a validator raises
        return value


class _Price(_Part):
    since: Annotated[date, Field(alias="from")] = EARLIEST
    currency: Currency | None = None
    input: Amount
    cached_input: Amount | None = None
    output: Amount


class _Model(_Part):
    match: Annotated[str, Field(min_length=1, max_length=255)]
    prices: Annotated[tuple[_Price, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _days_differ(self) -> Self:
        _demand_different([price.since for price in self.prices])
        return self


class _Rate(_Part):
    since: Annotated[date, Field(alias="from")] = EARLIEST
    jpy: Annotated[Amount, Field(gt=0)]


class _File(_Part):
    currency: Currency = "USD"
    models: Annotated[tuple[_Model, ...], Field(max_length=_MOST_MODELS)] = ()
    rates: Mapping[Currency, Annotated[tuple[_Rate, ...], Field(min_length=1)]] = {}

    @field_validator("rates")
    @classmethod
    def _rates_are_right(cls, rates: Mapping[str, Sequence[_Rate]]) -> Mapping[str, Sequence[_Rate]]:
        if YEN in rates:
            raise ValueError("the rate of JPY is always 1: leave JPY out")
        for of_currency in rates.values():
            _demand_different([rate.since for rate in of_currency])
        return rates

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.models and not self.rates:  # an editor may still be writing the file
            raise ValueError("there are neither models nor rates")
        return self

    @model_validator(mode="after")
    def _patterns_differ(self) -> Self:
        names = [model.match.casefold() for model in self.models]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        if duplicates:
            raise ValueError(
                f"there is more than one model that matches {', '.join(duplicates)}: put their prices together"
            )
        return self


def load(path: Path) -> PriceBook:
    """Return the prices in a YAML file.

    :raises YamlFileError: the file is missing or wrong
    """
    return _book(yaml_file.read(path, _File, _SAYS))


def _book(file: _File) -> PriceBook:
    models = tuple(ModelPrices(model.match, _prices(model.prices, file.currency)) for model in file.models)
    rates = {currency: _newest_first(map(_rate, of_currency)) for currency, of_currency in file.rates.items()}
    book = PriceBook("", models, rates)
    return PriceBook(hashlib.sha256(content_of(book).encode()).hexdigest()[:16], models, rates)


def _prices(prices: Sequence[_Price], currency: str) -> Sequence[Price]:
    return _newest_first(
        Price(
            price.since,
            price.currency or currency,
            price.input,
            price.input if price.cached_input is None else price.cached_input,
            price.output,
        )
        for price in prices
    )


def _rate(rate: _Rate) -> Rate:
    return Rate(rate.since, rate.jpy)


def _newest_first(dated: Iterable[_Dated]) -> Sequence[_Dated]:
    return tuple(sorted(dated, key=lambda one: one.since, reverse=True))


def _demand_different(days: Sequence[date]) -> None:
    duplicates = sorted({day for day in days if days.count(day) > 1})
    if duplicates:
        first = duplicates[0]
        raise ValueError(f"there is more than one {'without a date' if first == EARLIEST else f'from {first}'}")


_SAYS = {
    "mapping_type": "must be a mapping of currencies",
    "tuple_type": "must be a list",
    "too_short": "must hold at least one",
    "too_long": f"may hold {_MOST_MODELS} models at most",
    "string_pattern_mismatch": "must be a currency of three capital letters, such as USD",
    "decimal_parsing": "must be a number",
    "decimal_type": "must be a number",
}
