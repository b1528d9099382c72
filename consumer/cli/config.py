"""`config`."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import SecretStr

from consumer.cli.output import Json, command, out, print_json, print_table
from consumer.events import price_file
from consumer.ingest import slo
from consumer.settings.given import HIDDEN, may_hold_secret
from consumer.settings.model import Settings, ignored, load, variable

app = typer.Typer(no_args_is_help=True, help="The effective settings.")


@app.command()
def show(as_json: Json = False) -> None:
    """Show every setting with its value (secrets hidden) and what it means."""
    _show(as_json)


@app.command()
def check() -> None:
    """Say whether the settings are right; exit code 1 if not."""
    _check()


@command
async def _show(as_json: bool) -> None:
    effective = _effective(load())
    if as_json:
        print_json({name: value for name, value, _ in effective})
        return
    print_table("Settings", ("variable", "value", "meaning"), effective, unbroken="variable")


@command
async def _check() -> None:
    settings = load()
    slo.load(settings.slo.file)
    price_file.load(settings.prices.file)
    for what in ignored(settings):
        out.print(f"Ignored: {what}.", markup=False, soft_wrap=True)
    out.print("The settings are right.")


def _effective(settings: Settings) -> list[tuple[str, Any, str]]:
    rows = []
    for group_name, group in settings:
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            is_hidden = isinstance(value, SecretStr) or may_hold_secret(value)
            rows.append((variable(group_name, name), HIDDEN if is_hidden else value, field.description or ""))
    return rows
