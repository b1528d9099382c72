"""`config`."""

from __future__ import annotations

from typing import Any

import typer
from pydantic import SecretStr

from consumer.cli.output import Json, command, out, print_json, print_table
from consumer.ingest import slo
from consumer.settings.given import HIDDEN, may_hold_secret
from consumer.settings.model import Settings, ignored, load, variable

app = typer.Typer(no_args_is_help=True, help="Show and check the effective settings.")


@app.command()
@command
async def show(as_json: Json = False) -> None:
    """Show every setting with its value and meaning; secrets are hidden."""
    effective = _effective(load())
    if as_json:
        print_json({name: value for name, value, _ in effective})
        return
    print_table("Settings", ("variable", "value", "meaning"), effective, unbroken="variable")


@app.command()
@command
async def check() -> None:
    """Check the settings; exit code 1 if they are wrong."""
    settings = load()
    slo.load(settings.slo.file)
    for what in ignored(settings):
        out.print(f"Ignored: {what}.", markup=False, soft_wrap=True)
    out.print("The settings are valid.")


def _effective(settings: Settings) -> list[tuple[str, Any, str]]:
    rows = []
    for group_name, group in settings:
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            is_hidden = isinstance(value, SecretStr) or may_hold_secret(value)
            rows.append((variable(group_name, name), HIDDEN if is_hidden else value, field.description or ""))
    return rows
