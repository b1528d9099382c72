"""`ledger`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from consumer.commands.database import opened_database
from consumer.commands.output import Exit, Json, command, err, out, print_json, print_table
from consumer.operations.ledger import Ledger, read_ledger
from consumer.settings import load

COLUMNS = ("partition", "read", "inserted", "doubled", "amended", "dead", "gaps", "lag", "adds up")


def ledger(
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 unless the equation holds everywhere.")] = False,
    caught_up: Annotated[
        bool, typer.Option("--caught-up", help="Exit with 3 also while a committed record waits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show, per partition, what was read, written, doubled, dead, and what waits.

    For every partition, always: read = inserted + duplicates + amended + dead + gaps.
    """
    _ledger(check, caught_up, as_json)


@command
async def _ledger(check: bool, caught_up: bool, as_json: bool) -> Exit:
    settings = load()
    async with opened_database(settings) as database:
        found = await read_ledger(settings, database)
    if as_json:
        print_ledger_json(found)
    else:
        print_ledger(found)
    failed = (check and not found.holds) or (caught_up and not (found.holds and found.is_caught_up))
    if not as_json and (check or caught_up):
        _explain(found, caught_up)
    return Exit.CHECK_FAILED if failed else Exit.DONE


def print_ledger_json(found: Ledger) -> None:
    """The ledger for scripts."""
    print_json(ledger_json(found))


def ledger_json(found: Ledger) -> dict[str, object]:
    """The ledger as JSON has it."""
    return {
        "holds": found.holds,
        "caught_up": found.is_caught_up,
        "kafka_problem": found.kafka_problem,
        "partitions": [asdict(line) | {"read": line.read} for line in found.lines],
    }


def print_ledger(found: Ledger) -> None:
    """The ledger for people."""
    rows = [
        (
            f"{line.topic}/{line.partition}",
            line.read,
            line.inserted,
            line.duplicates,
            line.amended,
            line.dead_lettered,
            line.gaps,
            line.lag,
            line.holds,
        )
        for line in found.lines
    ]
    print_table("Ledger", COLUMNS, rows, empty="no partition has been claimed yet")
    if found.kafka_problem:
        err.print(f"The lag is not known: {found.kafka_problem}", markup=False)


def _explain(found: Ledger, caught_up: bool) -> None:
    out.print(
        "Every offset is accounted for: read = inserted + duplicates + amended + dead + gaps."
        if found.holds
        else "The ledger does NOT add up in the partitions marked no."
    )
    if caught_up:
        out.print(_waiting(found))


def _waiting(found: Ledger) -> str:
    if found.kafka_problem:
        return "Whether anything waits is not known."
    return "Nothing waits." if found.is_caught_up else "Committed records wait to be read."
