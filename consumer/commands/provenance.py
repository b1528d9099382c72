"""`provenance`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated, Any
from uuid import UUID

import typer

from consumer.commands.database import opened_database
from consumer.commands.output import WrongUse, command, err
from consumer.commands.times import moment
from consumer.operations.provenance_export import Choice
from consumer.operations.provenance_export import export as export_provenance
from consumer.settings import load

app = typer.Typer(no_args_is_help=True, help="Where content came from, and on what terms.")


class Format(StrEnum):
    """Forms of an export."""

    PROV_JSON = "prov-json"


@app.callback()
def _group() -> None:
    """Where content came from, and on what terms."""


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
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="A file, instead of standard output.")
    ] = None,
) -> None:
    """Write provenance for other tools, row by row, however much there is."""
    del form  # there is one
    _export(since, until, content_id, output)


@command
async def _export(since: datetime | None, until: datetime | None, content_id: UUID | None, output: Path | None) -> None:
    if since and until and until <= since:
        raise WrongUse("--until has to lie after --since")
    choice = Choice(_naive(since), _naive(until), content_id)
    async with opened_database(load()) as database:
        with _opened(output) as write:
            rows = await export_provenance(database, choice, write)
    err.print(f"{rows:,} rows of provenance.")


def _naive(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=None)


@contextmanager
def _opened(output: Path | None) -> Iterator[Callable[[str], Any]]:
    """Where to write. A file is there as a whole, or as it was before."""
    if output is None:
        yield sys.stdout.write
        sys.stdout.flush()
        return
    with NamedTemporaryFile("w", dir=output.parent, prefix=f".{output.name}.", encoding="utf-8", delete=False) as file:
        try:
            yield file.write
        except BaseException:
            Path(file.name).unlink()
            raise
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(output)
