"""`schema`: exports the event contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consumer.admin.contract import export as export_documents
from consumer.cli.output import command, out
from consumer.events.registry import kinds_by_topic
from consumer.settings.loading import load

app = typer.Typer(no_args_is_help=True, help="Export the event contract for producers.")


@app.command()
@command
async def export(directory: Annotated[Path, typer.Argument(help="Directory for the documents.")]) -> None:
    """Write the JSON Schema of each event and one AsyncAPI 3 document."""
    settings = load()
    kinds = kinds_by_topic(settings.topics, settings.ids.namespace)
    for path in export_documents(kinds, settings.topics.expired, directory):
        out.print(str(path), markup=False, soft_wrap=True)
