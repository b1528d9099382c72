"""`partition`: manages the monthly partitions of the dialogues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from consumer.cli.database import opened_database
from consumer.cli.output import Exit, Json, command, err, out, print_json, print_table, progress, show
from consumer.cli.partition_archive import archive_command
from consumer.cli.partition_output import Bar, print_locks
from consumer.ingest.ports import Unavailable
from consumer.maintenance.table_partitions import (
    Converted,
    Plan,
    abort,
    convert,
    plan,
)
from consumer.postgres.login import Login
from consumer.postgres.table_partitions import MOVE_AT_MOST, MadePartition, PostgresPartitions
from consumer.settings.loading import load
from consumer.settings.model import Settings

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
            converted = await convert(login, months_ahead=settings.partitions.months_ahead, on_progress=Bar(bar).copied)
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


app.command("archive")(archive_command)


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


def _print_converted(converted: Converted) -> None:
    out.print(f"ai_dialogue_log: {converted.state}, in {converted.seconds:,.1f} s.")
    if converted.rows is not None:
        out.print(f"{converted.rows:,} rows were compared and are equal.")
    print_locks(converted.locks)


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
