"""`partition archive`: moves months from the table to files, and back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from consumer.cli.output import Json, WrongUse, command, out, print_json, print_table, progress
from consumer.cli.partition_output import Bar, print_locks
from consumer.ingest.erased import erasure_keys
from consumer.maintenance.table_partitions import (
    FORMATS,
    ArchiveFormat,
    FormatName,
    Place,
    Restored,
    archive,
    attach,
    place_of,
    restore,
)
from consumer.postgres.login import Login
from consumer.settings.loading import load
from consumer.settings.model import Settings

Before = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m"], help="The first month that stays, such as 2026-01.")
]
To = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Directory for the files, or URL in an object store such as s3://bucket/archives; by default the directory"
        " of the settings.",
    ),
]
Format = Annotated[FormatName, typer.Option("--format", help="Format of the files. Parquet needs the extra 'parquet'.")]
Manifest = Annotated[
    str | None, typer.Option("--restore", help="Restore a month from its .manifest.json file, a path or URL.")
]
Detached = Annotated[
    datetime | None,
    typer.Option("--attach", formats=["%Y-%m"], help="Attach a month again whose archiving was interrupted."),
]


@command
async def archive_command(
    before: Before = None,
    to: To = None,
    file_format: Format = FormatName.CSV,
    manifest: Manifest = None,
    detached: Detached = None,
    as_json: Json = False,
) -> None:
    """Move whole months from the table to files, or restore one. Each file is read back before its rows are dropped.

    It may be interrupted at any point: run it again to continue, or attach the month again with --attach.
    """
    settings = load()
    if [before, manifest, detached].count(None) != 2:
        raise WrongUse("give exactly one of --before YYYY-MM, --restore FILE, --attach YYYY-MM")
    if before is not None:
        place = _place(to, settings)
        await _move_out(settings, _whole_months(before), place, FORMATS[file_format], as_json)
        return
    login, timezone, keys = Login(settings.postgres), settings.rollup.timezone, erasure_keys(settings.erasure)
    if manifest is not None:
        _print_restored(await restore(login, manifest=manifest, timezone=timezone, keys=keys), as_json)
    elif detached is not None:
        _print_restored(await attach(login, month=detached.date(), timezone=timezone, keys=keys), as_json)


def _whole_months(before: datetime) -> date:
    now = datetime.now(UTC)
    if (before.year, before.month) > (now.year, now.month):
        raise WrongUse(f"--before {before:%Y-%m} includes the current month, which has not ended")
    return before.date()


def _place(to: str | None, settings: Settings) -> Place:
    directory = settings.partitions.archive_dir
    if to and to.lower().startswith("memory://"):
        raise WrongUse("--to memory://…: the memory of this command ends with it, and the month would be lost")
    return place_of(to or directory, drafts=directory)


async def _move_out(settings: Settings, before: date, place: Place, file_format: ArchiveFormat, as_json: bool) -> None:
    with progress() as bar:
        done = await archive(
            Login(settings.postgres),
            before=before,
            place=place,
            timezone=settings.rollup.timezone,
            on_progress=Bar(bar).copied,
            file_format=file_format,
            keys=erasure_keys(settings.erasure),
        )
    if as_json:
        print_json([asdict(one) for one in done])
        return
    rows = [(one.month, one.rows, one.bytes, one.file, one.sha256) for one in done]
    print_table("Archived", ("month", "rows", "bytes", "file", "SHA-256"), rows, empty="no month to archive")
    print_locks([lock for one in done for lock in one.locks])


def _print_restored(restored: Restored, as_json: bool) -> None:
    if as_json:
        print_json(asdict(restored))
        return
    out.print(f"{restored.month} is restored: {restored.rows:,} rows, and {restored.moved:,} that arrived meanwhile.")
    if restored.erased:
        out.print(f"{restored.erased:,} rows were left out, because their users were erased.")
    print_locks([restored.lock])
