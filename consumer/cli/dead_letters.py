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
from consumer.events.registry import consumed_kinds
from consumer.events.rejection import Reason
from consumer.ingest.erased import erasure_keys
from consumer.postgres.client import Database
from consumer.settings.model import Settings, load
from consumer.text import printable

app = typer.Typer(no_args_is_help=True, help="Records that could not be stored as they were meant.")

Topic = Annotated[str | None, typer.Option(help="Only of this topic.")]
OfReason = Annotated[Reason | None, typer.Option(help="Only with this reason.")]


Since = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only dead-lettered at or after this time.")
]
Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Only dead-lettered before this time.")
]
Ids = Annotated[list[int] | None, typer.Argument(help="Dead letters by id; all that the filters choose when left out.")]
Everything = Annotated[bool, typer.Option("--all", help="Every open dead letter: needed when nothing is chosen.")]


@app.command(name="list")
def list_(
    topic: Topic = None,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    settled: Annotated[bool, typer.Option(help="Also those replayed or discarded.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 100,
    as_json: Json = False,
) -> None:
    """List dead letters, newest first."""
    _list(_filter(None, topic, reason, since, until), settled, limit, as_json)


@app.command()
def show(letter: Annotated[int, typer.Argument(help="Its id.")], as_json: Json = False) -> None:
    """Show one dead letter, the original record included."""
    _show(letter, as_json)


@app.command()
def replay(
    ids: Ids = None,
    topic: Topic = None,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    as_json: Json = False,
) -> None:
    """Decode the original bytes again and write the rows; what fails again stays, with the new reason."""
    _replay(_filter(ids, topic, reason, since, until), as_json)


@app.command()
def discard(
    ids: Ids = None,
    topic: Topic = None,
    reason: OfReason = None,
    since: Since = None,
    until: Until = None,
    everything: Everything = False,
    as_json: Json = False,
) -> None:
    """Settle dead letters without writing rows; the records stay in the table."""
    _discard(_filter(ids, topic, reason, since, until), everything, as_json)


def _filter(
    ids: list[int] | None,
    topic: str | None,
    reason: Reason | None,
    since: datetime | None,
    until: datetime | None,
) -> Filter:
    return Filter(ids or None, topic, reason, since, until)


def dead_letters_of(settings: Settings, database: Database) -> DeadLetters:
    """The dead letters, replayed as the service would take them."""
    kinds = consumed_kinds(settings)
    keys = erasure_keys(settings.erasure)
    return DeadLetters(database, kinds, settings.rollup.timezone, settings.batch.max_record_bytes, keys)


@asynccontextmanager
async def _dead_letters() -> AsyncIterator[DeadLetters]:
    settings = load()
    async with opened_database(settings) as database:
        yield dead_letters_of(settings, database)


@command
async def _list(chosen: Filter, settled: bool, limit: int, as_json: bool) -> None:
    async with _dead_letters() as letters:
        found = await letters.find(chosen, settled=settled, at_most=limit)
    if as_json:
        print_json(found)
        return
    print_letters(found)


def print_letters(found: Any) -> None:
    """Dead letters for people."""
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


@command
async def _show(letter: int, as_json: bool) -> None:
    async with _dead_letters() as letters:
        found = await letters.show(letter)
    if as_json:
        print_json({name: _jsonable(value) for name, value in found.items()})
        return
    shown = {name: _readable(value) for name, value in found.items()}
    print_mapping(f"Dead letter {letter}", shown)


def _jsonable(value: Any) -> Any:
    """Bytes in base64, as they may be anything."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [[_name(name), _jsonable(content)] for name, content in value]
    return value


def _name(name: str) -> str:
    """A header's name, its bytes that are not UTF-8 as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return printable(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, list):
        return [(_name(name), content) for name, content in value]
    return value


@command
async def _replay(chosen: Filter, as_json: bool) -> None:
    async with _dead_letters() as letters:
        with _stoppable("replay", "tried again") as told:
            total = await letters.replay(chosen, lambda done: told(_count(done)))
    if as_json:
        print_json(asdict(total))
        return
    print_mapping("Replayed", asdict(total))


def _count(done: Replayed) -> int:
    return sum(astuple(done))


@contextmanager
def _stoppable(work: str, done: str) -> Iterator[Callable[[int], None]]:
    """A progress bar; between two chunks, each of which is committed, a signal ends the work."""
    stop = stop_on_signals()
    with progress() as bar:
        task = bar.add_task(work, total=None)

        def told(count: int) -> None:
            bar.update(task, completed=count)
            if stop.is_set():
                raise OperationError(f"interrupted: {count:,} dead letters were {done}; {work} again for the rest")

        yield told


@command
async def _discard(chosen: Filter, everything: bool, as_json: bool) -> None:
    if chosen == Filter() and not everything:
        raise WrongUse("name ids, choose with a filter, or say --all")
    async with _dead_letters() as letters:
        with _stoppable("discard", "discarded") as told:
            count = await letters.discard(chosen, told)
    if as_json:
        print_json({"discarded": count})
        return
    out.print(f"Discarded {count:,} dead letters.")
