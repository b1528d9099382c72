"""Checks the price file, and whether its prices are in use."""

from __future__ import annotations

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, warning
from consumer.errors import YamlFileError
from consumer.events import price_file
from consumer.postgres.queries import load


async def check_prices(context: CheckContext) -> list[Finding]:
    """Return no finding if there is no price file."""
    file = context.settings.prices.file
    if file is None:
        return []
    try:
        book = price_file.load(file)
    except YamlFileError as problem:
        return [error("prices", f"the price file is wrong: {problem}", f"correct it; ragledger prices check {file}")]
    in_force = await context.db.rows(load("costs_in_force"))
    if in_force and in_force[0]["version"] != book.version:
        found = f"the prices in force (version {in_force[0]['version']}) are not those of {file} ({book.version})"
        return [warning("prices", found, "give every replica the same price file; then wait a minute, or restart them")]
    return [fine("prices", f"version {book.version}: {len(book.models)} models, {len(book.rates)} rates")]
