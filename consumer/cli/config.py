"""`config`."""

from __future__ import annotations

import typer

from consumer.cli.output import Json, command, out, print_json, print_table
from consumer.ingest import slo
from consumer.ingest.kinds import pricing_of
from consumer.settings.loading import ignored, load
from consumer.settings.shown import effective

app = typer.Typer(no_args_is_help=True, help="Show and check the effective settings.")


@app.command()
@command
async def show(as_json: Json = False) -> None:
    """Show every setting with its value and meaning; secrets are hidden."""
    rows = effective(load())
    if as_json:
        print_json({name: value for name, value, _ in rows})
        return
    print_table("Settings", ("variable", "value", "meaning"), rows, unbroken="variable")


@app.command()
@command
async def check() -> None:
    """Check the settings; exit code 1 if they are wrong."""
    settings = load()
    slo.load(settings.slo.file)
    pricing_of(settings)
    for what in ignored(settings):
        out.print(f"Ignored: {what}.", markup=False, soft_wrap=True)
    out.print("The settings are valid.")
