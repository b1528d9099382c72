"""`partition`: manages the monthly partitions of the dialogues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from consumer.cli.database import opened_database
from consumer.cli.output import Exit, Json, WrongUse, command, err, out, print_json, print_table, progress, show
from consumer.files import make_directory
from consumer.ingest.erased import erasure_keys
from consumer.ingest.ports import Unavailable
from consumer.maintenance.table_partitions import (
    Converted,
    Lock,
    Plan,
    Restored,
    abort,
    archive,
    attach,
    convert,
    plan,
    restore,
)
from consumer.postgres.login import Login
from consumer.postgres.table_partitions import MOVE_AT_MOST, MadePartition, PostgresPartitions
from consumer.settings.model import Settings, load

app = typer.Typer(no_args_is_help=True, help="Manage the monthly partitions of ai_dialogue_log.")

CRITERIA = {"rows_a_day": "rows a day", "bytes": "size in GB", "p95_ms": "p95 of queries in ms"}
TRIES, PAUSE_SECONDS = 10, 1.0
GB = 1000**3


@app.command("plan")
@command
async def plan_command(
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 if partitioning is due.")] = False,
    as_json: Json = False,
) -> Exit:
    """Say whether to partition now and what a conversion would do, or list the partitions. Changes nothing."""
    found = await plan(Login(load().postgres))
    if as_json:
        print_json(asdict(found))
    else:
        _print_plan(found)
    return Exit.CHECK_FAILED if check and found.due else Exit.DONE


@app.command("convert")
@command
async def convert_command(
    undo: Annotated[
        bool, typer.Option("--abort", help="Undo a conversion that has not replaced the table yet.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert ai_dialogue_log to monthly partitions while the service and others write.

    It may be interrupted at any point: run it again to continue, or undo it with --abort.
    """
    settings = load()
    login = Login(settings.postgres)
    if undo:
        converted = await abort(login)
        made: Sequence[MadePartition] = ()
    else:
        with progress() as bar:
            converted = await convert(
                login, months_ahead=settings.partitions.months_ahead, on_progress=_Bar(bar).copied
            )
        made = await _make_missing_afterwards(settings)
    if as_json:
        print_json(asdict(converted) | {"partitions": [asdict(one) for one in made]})
    else:
        _print_converted(converted)


@app.command("ensure")
@command
async def ensure_command(
    months_ahead: Annotated[
        int | None,
        typer.Option(min=1, max=24, help="Months beyond the current one; by default as in the settings."),
    ] = None,
    max_rows: Annotated[
        int, typer.Option(min=0, help="The most rows to move from the default partition into a new one, under a lock.")
    ] = MOVE_AT_MOST,
    as_json: Json = False,
) -> None:
    """Make missing partitions, and move their rows out of the default partition."""
    settings = load()
    made = await _make_missing(settings, months_ahead or settings.partitions.months_ahead, max_rows)
    if as_json:
        print_json([asdict(one) for one in made])
        return
    rows = [(one.partition, "no, too many rows" if one.waiting else "yes", one.moved, one.waiting) for one in made]
    print_table("Partitions", ("partition", "made", "rows moved", "rows waiting"), rows, empty="nothing is missing")


@app.command("archive")
@command
async def archive_command(
    before: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m"], help="The first month that stays, such as 2026-01.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Directory for the files; by default as in the settings.")] = None,
    manifest: Annotated[
        Path | None, typer.Option("--restore", help="Restore a month from its .manifest.json file.")
    ] = None,
    detached: Annotated[
        datetime | None,
        typer.Option("--attach", formats=["%Y-%m"], help="Attach a month again whose archiving was interrupted."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Move whole months from the table to files, or restore one. Each file is read back before its rows are dropped.

    It may be interrupted at any point: run it again to continue, or attach the month again with --attach.
    """
    settings = load()
    if [before, manifest, detached].count(None) != 2:
        raise WrongUse("give exactly one of --before YYYY-MM, --restore FILE, --attach YYYY-MM")
    if before is not None:
        await _move_out(settings, _whole_months(before), _made(to or settings.partitions.archive_dir), as_json)
        return
    login, timezone, keys = Login(settings.postgres), settings.rollup.timezone, erasure_keys(settings.erasure)
    if manifest is not None:
        _print_restored(await restore(login, manifest=manifest, timezone=timezone, keys=keys), as_json)
    elif detached is not None:
        _print_restored(await attach(login, month=detached.date(), timezone=timezone, keys=keys), as_json)


def _print_plan(found: Plan) -> None:
    rows = [
        (
            CRITERIA[one.name],
            _figure(one.name, one.measured),
            _figure(one.name, one.threshold),
            show(one.reached),
            one.source,
        )
        for one in found.criteria
    ]
    print_table("Is partitioning due?", ("", "measured", "more than", "reached", "source"), rows)
    if found.partitioned:
        out.print("\nai_dialogue_log is already partitioned.")
        _print_partitions(found)
        return
    out.print("\nPartitioning is due." if found.due else "\nPartitioning is not due yet.")
    steps = [(step.name, step.does, step.lock, _duration(step.seconds)) for step in found.steps]
    print_table("The steps of `ragledger partition convert`", ("step", "action", "locks", "about"), steps)
    out.print(f"It needs about {show(found.disk_bytes / GB)} GB more disk until the old table is dropped.")
    for obstacle in found.obstacles:
        out.print(f"Obstacle: {obstacle}", markup=False)


def _print_partitions(found: Plan) -> None:
    rows = [
        (
            one.partition,
            one.begins_at and f"{one.begins_at:%Y-%m-%d}",
            one.ends_at and f"{one.ends_at:%Y-%m-%d}",
            one.rows,
            one.bytes / GB,
        )
        for one in found.partitions
    ]
    print_table(
        "Partitions", ("partition", "from", "up to", "rows (about)", "GB"), [tuple(map(_shown, row)) for row in rows]
    )


def _shown(value: object) -> object:
    return "-" if value is None else value


def _figure(name: str, value: float | None) -> float | str:
    if value is None:
        return "-"
    return value / GB if name == "bytes" else value


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


class _Bar:
    """A progress bar whose steps have different lengths."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("convert", total=None)

    def copied(self, step: str, done: int, total: int | None) -> None:
        self._bar.update(self._task, description=step, completed=done, total=total)


def _print_converted(converted: Converted) -> None:
    out.print(f"ai_dialogue_log: {converted.state}, in {converted.seconds:,.1f} s.")
    if converted.rows is not None:
        out.print(f"{converted.rows:,} rows were compared and are equal.")
    _print_locks(converted.locks)


def _print_locks(locks: Sequence[Lock]) -> None:
    rows = [(lock.step, lock.tries, lock.waited_ms, lock.held_ms) for lock in locks]
    print_table("Locks", ("step", "tries", "waited at most ms", "held ms"), rows)


async def _make_missing(settings: Settings, months_ahead: int, max_rows: int) -> Sequence[MadePartition]:
    async with opened_database(settings) as database:
        return [made async for made in PostgresPartitions(database, months_ahead, max_rows).ensure()]


async def _make_missing_afterwards(settings: Settings) -> Sequence[MadePartition]:
    """Make missing partitions. The conversion is complete, so a lock of another session only delays this."""
    for _ in range(TRIES):
        try:
            return await _make_missing(settings, settings.partitions.months_ahead, MOVE_AT_MOST)
        except Unavailable as error:
            problem = error
            await asyncio.sleep(PAUSE_SECONDS)
    err.print(f"Some months are still missing ({problem}): the service or `ragledger partition ensure` makes them.")
    return ()


def _whole_months(before: datetime) -> date:
    now = datetime.now(UTC)
    if (before.year, before.month) > (now.year, now.month):
        raise WrongUse(f"--before {before:%Y-%m} includes the current month, which has not ended")
    return before.date()


def _made(directory: Path) -> Path:
    make_directory(directory)
    return directory


async def _move_out(settings: Settings, before: date, directory: Path, as_json: bool) -> None:
    with progress() as bar:
        done = await archive(
            Login(settings.postgres),
            before=before,
            directory=directory,
            timezone=settings.rollup.timezone,
            on_progress=_Bar(bar).copied,
            keys=erasure_keys(settings.erasure),
        )
    if as_json:
        print_json([asdict(one) for one in done])
        return
    rows = [(one.month, one.rows, one.bytes, one.file, one.sha256) for one in done]
    print_table("Archived", ("month", "rows", "bytes", "file", "SHA-256"), rows, empty="no month to archive")
    _print_locks([lock for one in done for lock in one.locks])


def _print_restored(restored: Restored, as_json: bool) -> None:
    if as_json:
        print_json(asdict(restored))
        return
    out.print(f"{restored.month} is restored: {restored.rows:,} rows, and {restored.moved:,} that arrived meanwhile.")
    if restored.erased:
        out.print(f"{restored.erased:,} rows were left out, because their users were erased.")
    _print_locks([restored.lock])
