"""`provenance`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from consumer.admin.provenance_export import Choice
from consumer.admin.provenance_export import export as export_provenance
from consumer.cli.database import opened_database
from consumer.cli.output import WrongUse, command, err
from consumer.cli.times import moment
from consumer.files import written_or_streamed
from consumer.settings.loading import load

app = typer.Typer(no_args_is_help=True, help="Export the origin of content and its terms of use.")


class Format(StrEnum):
    """Formats of an export."""

    PROV_JSON = "prov-json"


@app.callback()
def _group() -> None:
    """Export the origin of content and its terms of use."""


@app.command()
def export(
    form: Annotated[Format, typer.Option("--format", help="W3C PROV-JSON.")] = Format.PROV_JSON,
    since: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only acquired at or after this time.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only acquired before this time.")
    ] = None,
    content_id: Annotated[UUID | None, typer.Option(help="Only of this piece of content.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Write to a file instead of standard output.")
    ] = None,
) -> None:
    """Write provenance for other tools. It streams, so the table may have any size."""
    del form  # only one format exists
    _export(since, until, content_id, output)


@command
async def _export(since: datetime | None, until: datetime | None, content_id: UUID | None, output: Path | None) -> None:
    if since and until and until <= since:
        raise WrongUse("--until must be after --since")
    choice = Choice(_naive(since), _naive(until), content_id)
    async with opened_database(load()) as database:
        with written_or_streamed(output or Path("/dev/stdout")) as file:
            rows = await export_provenance(database, choice, lambda text: file.write(text.encode()))
    err.print(f"{rows:,} rows of provenance.")


def _naive(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=None)
