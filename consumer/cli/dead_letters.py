"""`dead-letters`."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, astuple
from datetime import datetime
from typing import Annotated, Any

import typer

from consumer.admin.dead_letters import DeadLetters, Filter, Replayed
from consumer.cli.database import opened_database
from consumer.cli.output import (
    Json,
    WrongUse,
    command,
    out,
    print_json,
    print_mapping,
    print_table,
    progress,
)
from consumer.cli.signals import stop_on_signals
from consumer.cli.times import moment
from consumer.errors import OperationError
from consumer.events.registry import namespace_of
from consumer.events.rejection import Reason
from consumer.ingest.erased import erasure_keys
from consumer.ingest.kinds import consumed_kinds
from consumer.ingest.ports import StoreError
from consumer.postgres.client import Database
from consumer.settings.loading import load
from consumer.settings.model import Settings
from consumer.text import printable

app = typer.Typer(no_args_is_help=True, help="List, show, replay and discard records that could not be stored.")

Topic = Annotated[str | None, typer.Option(help="Only of this topic.")]
OfReason = Annotated[Reason | None, typer.Option(help="Only with this reason.")]


Since = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only dead-lettered at or after this time.")
]
Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only dead-lettered before this time.")
]
Ids = Annotated[list[int] | None, typer.Argument(help="Ids of dead letters; by default all that match the filters.")]
Everything = Annotated[bool, typer.Option("--all", help="Every open dead letter; needed if no id or filter is given.")]


@app.command(name="list")
@command
async def list_(
    topic: Topic = None,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    settled: Annotated[bool, typer.Option(help="Also show replayed and discarded ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The largest number to show, newest first.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    chosen = Filter(None, topic, reason, since, until)
    async with _dead_letters() as letters:
        found = await letters.find(chosen, settled=settled, at_most=limit)
    if as_json:
        print_json(found)
        return
    print_letters(found)


@app.command()
@command
async def show(letter: Annotated[int, typer.Argument(help="The id.")], as_json: Json = False) -> None:
    """Show one dead letter with the original record."""
    async with _dead_letters() as letters:
        found = await letters.show(letter)
    if as_json:
        print_json({name: _jsonable(value) for name, value in found.items()})
        return
    shown = {name: _readable(value) for name, value in found.items()}
    print_mapping(f"Dead letter {letter}", shown)


@app.command()
@command
async def replay(
    ids: Ids = None,
    topic: Topic = None,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Decode the original records again and write the rows. A record that fails again stays, with the new reason."""
    chosen = Filter(ids or None, topic, reason, since, until)
    async with _dead_letters() as letters:
        with _stoppable("replay", "processed") as on_progress:
            total = await letters.replay(chosen, lambda done: on_progress(_count(done)))
    if as_json:
        print_json(asdict(total))
        return
    print_mapping("Replayed", asdict(total))


@app.command()
@command
async def discard(
    ids: Ids = None,
    topic: Topic = None,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """Settle dead letters without writing rows. The records stay in the table."""
    chosen = Filter(ids or None, topic, reason, since, until)
    if chosen == Filter() and not everything:
        raise WrongUse("give ids, a filter, or --all")
    async with _dead_letters() as letters:
        with _stoppable("discard", "discarded") as on_progress:
            count = await letters.discard(chosen, on_progress)
    if as_json:
        print_json({"discarded": count})
        return
    out.print(f"Discarded {count:,} dead letters.")


def dead_letters_of(settings: Settings, database: Database) -> DeadLetters:
    """Return the dead letters with the settings of the service, so that a replay decodes as the service does."""
    return DeadLetters(
        database,
        consumed_kinds(settings),
        settings.rollup.timezone,
        settings.batch.max_record_bytes,
        erasure_keys(settings.erasure),
        namespace_of(settings),
    )


@asynccontextmanager
async def _dead_letters() -> AsyncIterator[DeadLetters]:
    settings = load()
    async with opened_database(settings) as database:
        yield dead_letters_of(settings, database)


def print_letters(found: Any) -> None:
    """Print dead letters as a table."""
    rows = [
        (
            letter["id"],
            f"{letter['topic']}/{letter['partition']}@{letter['record_offset']}",
            letter["reason"],
            letter["detail"].get("message", ""),
            letter["sqlstate"],
            letter["dead_lettered_at"],
        )
        for letter in found
    ]
    print_table("Dead letters", ("id", "record", "reason", "problem", "sqlstate", "since"), rows)


def _jsonable(value: Any) -> Any:
    """Return bytes as base64, because they may not be text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [[_name(name), _jsonable(content)] for name, content in value]
    return value


def _name(name: str) -> str:
    """Return the name of a header, with bytes that are not UTF-8 as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, list):
        return [(_name(name), content) for name, content in value]
    return value


def _count(done: Replayed) -> int:
    return sum(astuple(done))


@contextmanager
def _stoppable(work: str, done: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar. A signal ends the work after the current chunk, which is committed.

    :raises OperationError: the work was interrupted or failed; the message says how much is done
    """
    stop, so_far = stop_on_signals(), 0
    with progress() as bar:
        task = bar.add_task(work, total=None)

        def on_progress(count: int) -> None:
            nonlocal so_far
            so_far = count
            bar.update(task, completed=count)
            if stop.is_set():
                raise OperationError(
                    f"interrupted: {count:,} dead letters were {done}; run {work} again for the others"
                )

        try:
            yield on_progress
        except StoreError as error:
            rest = f"{so_far:,} dead letters were {done}; run {work} again for the others"
            raise OperationError(f"{error}. {rest}") from error
