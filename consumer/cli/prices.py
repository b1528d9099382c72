"""`prices`: checks the price file, and explains the prices of a model."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Annotated, Any

import typer

from consumer.cli.output import Exit, Json, command, err, out, print_json, print_table
from consumer.errors import OperationError, YamlFileError
from consumer.events import price_file
from consumer.events.costs import Price, PriceBook
from consumer.events.price_file import EARLIEST
from consumer.ingest.days import BusinessDays
from consumer.settings.loading import load
from consumer.settings.model import Settings

app = typer.Typer(no_args_is_help=True, help="Check the price file: prices of models, and rates of currencies in yen.")

File = Annotated[
    Path | None, typer.Argument(help="The price file; by default the one of the settings.", show_default=False)
]


_EXACT = Context(prec=100)


@app.command()
@command
async def check(file: File = None, as_json: Json = False) -> Exit:
    """Check the price file; exit with 3 if it is wrong, or if a price needs a rate that is not in it."""
    path = file or _file_of(load())
    try:
        book = price_file.load(path)
        problems = _missing_rates(book)
    except YamlFileError as error:
        book, problems = PriceBook(), str(error).split("\n")
    if as_json:
        print_json({"file": str(path), "holds": not problems, "version": book.version or None, "problems": problems})
    else:
        _print_check(book, problems)
    return Exit.CHECK_FAILED if problems else Exit.DONE


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="The name of a model, as in model_used of events.")],
    at: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="The day; by default today.")] = None,
    as_json: Json = False,
) -> None:
    """Show the prices of a model on a day, in their currency and in yen; exit with 3 if there are none."""
    _explain(model, at and at.date(), as_json)


def _print_check(book: PriceBook, problems: list[str]) -> None:
    for problem in problems:
        err.print(problem, markup=False, soft_wrap=True)
    if not problems:
        out.print(f"Valid: {len(book.models)} models, {len(book.rates)} rates, version {book.version}.", markup=False)


def _missing_rates(book: PriceBook) -> list[str]:
    """Return the prices that can never be converted, or not from their first day on."""
    problems = {
        f"{model.match}: there is no rate for {price.currency}"
        for model in book.models
        for price in model.prices
        if book.rate_of(price.currency, price.since) is None and not _has_later_rate(book, price)
    }
    return sorted(problems)


def _has_later_rate(book: PriceBook, price: Price) -> bool:
    """Return whether there is a later rate: an undated price may use rates that begin at a date."""
    return any(rate.since > price.since for rate in book.rates.get(price.currency, ()))


@command
async def _explain(model: str, at: date | None, as_json: bool) -> Exit:
    settings = load()
    book = price_file.load(_file_of(settings))
    day = at or BusinessDays(settings.rollup.timezone).day_of(datetime.now(UTC).replace(tzinfo=None))
    found = _explanation(book, model, day)
    if as_json:
        print_json(found)
    else:
        _print_explanation(found)
    return Exit.DONE if found["problem"] is None else Exit.CHECK_FAILED


def _explanation(book: PriceBook, model: str, day: date) -> dict[str, Any]:
    head = {"model": model, "day": day.isoformat(), "version": book.version}
    prices, price = book.prices_of(model), book.price_of(model, day)
    if prices is None:
        return head | {"problem": f"no pattern in the price file matches {model}"}
    if price is None:
        return head | {"match": prices.match, "problem": f"the prices of {prices.match} begin after {day}"}
    rate = book.rate_of(price.currency, day)
    parts = {"input": price.input, "cached_input": price.cached_input, "output": price.output}
    yen = None if rate is None else {name: _plain(_EXACT.multiply(amount, rate)) for name, amount in parts.items()}
    return head | {
        "match": prices.match,
        "from": None if price.since == EARLIEST else price.since.isoformat(),
        "currency": price.currency,
        "per_million_tokens": {name: _plain(amount) for name, amount in parts.items()},
        "rate_jpy": None if rate is None else _plain(rate),
        "per_million_tokens_jpy": yen,
        "problem": None if rate else f"there is no rate for {price.currency} on {day}",
    }


def _print_explanation(found: dict[str, Any]) -> None:
    if "currency" in found:
        jpy = found["per_million_tokens_jpy"] or {}
        columns = ("per million tokens", found["currency"], "JPY")
        parts = found["per_million_tokens"].items()
        rows = [(name.replace("_", " "), amount, jpy.get(name)) for name, amount in parts]
        print_table(f"{found['model']} on {found['day']}, by {found['match']}", columns, rows)
        since = f"from {found['from']}" if found["from"] else "without a date"
        rate = f"1 {found['currency']} = {found['rate_jpy'] or '?'} JPY"
        out.print(f"Price {since}; {rate}; version {found['version']}.", markup=False, soft_wrap=True)
    if found["problem"]:
        err.print(f"No cost: {found['problem']}.", markup=False, soft_wrap=True)


def _plain(number: Decimal) -> str:
    """Return the exact number as text, because most parsers read JSON numbers as binary fractions."""
    return f"{number.normalize():f}"


def _file_of(settings: Settings) -> Path:
    if settings.prices.file is None:
        raise OperationError("RAGLEDGER_PRICES__FILE is not set: set it to the price file")
    return settings.prices.file
