"""`retention`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from consumer.cli.database import opened_database
from consumer.cli.output import Json, WrongUse, command, err, out, print_json, print_mapping, print_table, progress
from consumer.cli.times import moment
from consumer.ingest.erased import erasure_keys
from consumer.maintenance.retention import Done, Expiry, Notices, Preview, Retention
from consumer.settings.model import load

app = typer.Typer(no_args_is_help=True, help="Archive and delete provenance whose retention is over.")

_OWNERS = 100


@app.command()
@command
async def preview(
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="A time in the future instead of now.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count what `run` would archive and delete: by licence, by owner, by month. Changes nothing."""
    now = datetime.now(UTC)
    if as_of is not None and as_of < now:
        raise WrongUse("--as-of must not be in the past")
    settings = load()
    async with opened_database(settings) as database:
        found = await Expiry(database, settings.retention.batch_rows).preview(
            (as_of or now).replace(tzinfo=None), _OWNERS
        )
    if as_json:
        print_json(asdict(found))
        return
    _print_preview(found)


@app.command()
@command
async def run(
    publish_again: Annotated[
        bool,
        typer.Option(
            help="Publish notices again if it is unknown whether they arrived; some may arrive as duplicates."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Archive and delete provenance whose retention is over, and publish one notice for each owner.

    Rows with a legal hold are kept. The command may be interrupted at any point and run again.
    """
    settings = load()
    async with opened_database(settings) as database:
        if publish_again:
            await Notices(database, settings.kafka, settings.topics.expired).forget_attempts()
        expiry = Expiry(database, settings.retention.batch_rows)
        total = (await expiry.preview(datetime.now(UTC).replace(tzinfo=None), 0)).expired
        with progress() as bar:
            task = bar.add_task("archiving", total=total)
            done = await Retention.under(settings, database, erasure_keys(settings.erasure)).run(
                wait=True,
                on_progress=lambda so_far: bar.update(task, completed=so_far.deleted),
                on_taken_over=lambda: err.print("Another run has begun to publish; it publishes the other notices."),
            )
    if as_json:
        print_json(asdict(done))
        return
    _print_done(done)


def _print_preview(found: Preview) -> None:
    print_mapping(
        "Retention is over",
        {
            "as of": f"{found.as_of:%Y-%m-%d %H:%M:%S} UTC",
            "rows to archive and delete": found.expired,
            "rows kept by a legal hold": found.on_hold,
            "waiting notices": found.waiting_notices,
            "a run was interrupted": found.open_run is not None,
        },
    )
    _print_groups("By licence", "license_type", found.by_license)
    _print_groups("By owner", "acquired_by", found.by_owner)
    _print_groups("By month", "month", found.by_month)


def _print_groups(title: str, name: str, groups: Sequence[Mapping[str, Any]]) -> None:
    columns = (name, "expired", "on_hold", "first_ended_at", "last_ended_at")
    titles = (name.replace("_", " "), "expired", "on hold", "first ended", "last ended")
    print_table(title, titles, [tuple(group[column] for column in columns) for group in groups])


def _print_done(done: Done) -> None:
    print_mapping(
        "Retention",
        {
            "rows deleted": done.deleted,
            "rows archived": done.archived,
            "notices written": done.notices,
            "notices published": done.published,
            "notices found in the topic": done.found,
        },
    )
    if done.archived:
        out.print("The archived rows are in retention_archive.")
