"""`retention`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from consumer.cli.database import opened_database
from consumer.cli.output import (
    Exit,
    Json,
    WrongUse,
    command,
    err,
    out,
    print_json,
    print_mapping,
    print_table,
    progress,
)
from consumer.cli.times import moment
from consumer.ingest.erased import erasure_keys
from consumer.maintenance.retention import (
    DialoguePreview,
    Done,
    Expiry,
    LetterPreview,
    Notices,
    Preview,
    Previews,
    Retention,
)
from consumer.postgres.client import Database
from consumer.settings.loading import load
from consumer.settings.model import Settings

app = typer.Typer(no_args_is_help=True, help="Remove what is not kept any longer.")

_OWNERS = 100


@app.command()
@command
async def preview(
    as_of: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="A time in the future instead of now.")
    ] = None,
    as_json: Json = False,
) -> Exit:
    """Count what `run` would remove: provenance by licence, by owner and by month; dialogues; dead letters. Changes
    nothing.
    """
    now = datetime.now(UTC)
    if as_of is not None and as_of < now:
        raise WrongUse("--as-of must not be in the past")
    settings = load()
    async with opened_database(settings) as database:
        found = await _retention(settings, database).preview((as_of or now).replace(tzinfo=None), _OWNERS)
    if as_json:
        print_json(asdict(found.provenance) | _configured(settings, asdict(found)))
    else:
        _print_previews(found)
    return _report(found.problems)


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
) -> Exit:
    """Remove old dialogues and dead letters, if the settings say how long they are kept. Archive and delete provenance
    whose retention is over, and publish one notice for each owner.

    Rows with a legal hold are kept. The command may be interrupted at any point and run again.
    """
    settings = load()
    async with opened_database(settings) as database:
        if publish_again:
            await Notices(database, settings.kafka, settings.topics.expired).forget_attempts()
        now = datetime.now(UTC).replace(tzinfo=None)
        total = (await Expiry(database, settings.retention.batch_rows).preview(now, 0)).expired
        with progress() as bar:
            done = await _retention(settings, database).run(
                wait=True,
                on_progress=_on_progress(bar, total),
                on_taken_over=lambda: err.print("Another run has begun to publish; it publishes the other notices."),
            )
    if as_json:
        print_json(_described(settings, done))
    else:
        _print_done(settings, done)
    return _report(done.problems)


def _retention(settings: Settings, database: Database) -> Retention:
    return Retention.under(settings, database, erasure_keys(settings.erasure))


def _on_progress(bar: Any, provenance: int) -> Callable[[Done], None]:
    """Show a bar for each kind of row that was removed. Only the number of rows of provenance is known in advance."""
    tasks: dict[str, Any] = {}

    def show(done: Done) -> None:
        counts = {"dialogues": done.dialogues, "dead letters": done.dead_letters, "provenance": done.deleted}
        for what, count in counts.items():
            if count and what not in tasks:
                tasks[what] = bar.add_task(what, total=provenance if what == "provenance" else None)
            if what in tasks:
                bar.update(tasks[what], completed=count)

    return show


def _configured(settings: Settings, members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members about what the settings do not keep without limit."""
    kept = settings.retention
    names = [*(["dialogues", "months", "problems"] if kept.dialogues_days else [])]
    names += ["dead_letters", "open_dead_letters"] if kept.dead_letters_days else []
    return {name: members[name] for name in names if name in members}


def _described(settings: Settings, done: Done) -> Mapping[str, Any]:
    members = asdict(done)
    provenance = ("deleted", "archived", "notices", "published", "found")
    return {name: members[name] for name in provenance} | _configured(settings, members)


def _report(problems: Sequence[str]) -> Exit:
    """Print why not everything was done."""
    for problem in problems:
        err.print(f"ragledger: {problem}", style="bold red", soft_wrap=True, markup=False)
    return Exit.FAILED if problems else Exit.DONE


def _print_previews(found: Previews) -> None:
    if found.dialogues:
        _print_dialogues(found.dialogues)
    if found.dead_letters:
        _print_letters(found.dead_letters)
    _print_preview(found.provenance)


def _print_dialogues(found: DialoguePreview) -> None:
    print_mapping(
        "Dialogues",
        {
            "before": f"{found.before:%Y-%m-%d %H:%M:%S} UTC",
            "to remove": found.expired,
            "kept by a legal hold": found.on_hold,
            "months to drop": ", ".join(found.months) or "none",
            "archives that stay": ", ".join(found.archives) or "none",
        },
    )


def _print_letters(found: LetterPreview) -> None:
    print_mapping(
        "Dead letters",
        {
            "before": f"{found.before:%Y-%m-%d %H:%M:%S} UTC",
            "to remove": found.expired,
            "of them open, given up for good": found.open,
            "kept by a legal hold": found.on_hold,
        },
    )


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


def _print_done(settings: Settings, done: Done) -> None:
    if settings.retention.dialogues_days:
        dropped = ", ".join(done.months) or "none"
        print_mapping("Dialogues", {"removed": done.dialogues, "months dropped": dropped})
    if settings.retention.dead_letters_days:
        counts = {"removed": done.dead_letters, "of them open, given up for good": done.open_dead_letters}
        print_mapping("Dead letters", counts)
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
