"""`ledger`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from consumer.admin.decisions import Target
from consumer.admin.decisions import decisions as list_decisions
from consumer.admin.decisions import resume as decide_to_resume
from consumer.admin.ledger import Ledger, read_ledger
from consumer.cli.database import opened_database
from consumer.cli.output import Exit, Json, command, err, out, print_json, print_mapping, print_table
from consumer.events.record import Partition
from consumer.ingest.stop_reasons import command_to_settle, kept_reason
from consumer.settings.model import load
from consumer.text import printable

COLUMNS = (
    "partition",
    "read",
    "inserted",
    "doubled",
    "amended",
    "dead",
    "ignored",
    "gaps",
    "lag",
    "held back",
    "adds up",
)


app = typer.Typer(help="What became of every record, partition by partition; and decisions about it.")

TARGETS = ("earliest", "latest", "here")


def _target(text: str) -> Target:
    """One of the words, or an offset."""
    if text in TARGETS:
        return text  # type: ignore[return-value]
    if text.isascii() and text.isdecimal():
        return int(text)
    raise typer.BadParameter(f"{text!r} is none of {', '.join(TARGETS)}, and no offset")


@app.callback(invoke_without_command=True)
def ledger(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 unless the equation holds everywhere.")] = False,
    caught_up: Annotated[
        bool, typer.Option("--caught-up", help="Exit with 3 also while an acknowledged record waits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show, per partition, what was read, written, doubled, dead, and what waits.

    For every partition, always: read = inserted + duplicates + amended + dead + ignored + gaps. Ignored records hold
    nothing for us. The lag goes up to the high watermark; held back is what of it cannot be read yet because a
    producer's transaction is open.
    """
    if context.invoked_subcommand is None:
        _ledger(check, caught_up, as_json)
    elif check or caught_up or as_json:
        raise typer.BadParameter(f"options of the table itself do not go with `{context.invoked_subcommand}`")


@app.command()
def resume(
    topic: Annotated[str, typer.Option(help="The topic.")],
    partition: Annotated[int, typer.Option(min=0, help="Its partition.")],
    from_: Annotated[
        Any,
        typer.Option(
            "--from",
            parser=_target,
            metavar="earliest|latest|here|OFFSET",
            help="Where to go on: the first offset there is, the end, where the ledger stands, or an offset.",
        ),
    ],
    reason: Annotated[str | None, typer.Option(help="Why; kept with the decision.")] = None,
    give_up_readable: Annotated[
        bool, typer.Option("--give-up-readable", help="Go on there although it gives up offsets that can be read.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Decide where a partition is read on, also while replicas run: they notice within seconds.

    What nobody can read may be skipped: what Kafka holds no more, and what a stop has called unreadable. Whatever else
    would be skipped is counted and refused, unless it is given up by name.

    Offsets skipped are booked as gaps. Going back, or to a topic made anew, closes the books of the partition and
    begins new ones; the closed ones stay with the decision.
    """
    _resume(Partition(topic, partition), from_, reason, give_up_readable, as_json)


@app.command()
def decisions(as_json: Json = False) -> None:
    """List what was decided, newest first, with the books as they stood."""
    _decisions(as_json)


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


@command
async def _resume(
    partition: Partition, target: Target, reason: str | None, give_up_readable: bool, as_json: bool
) -> None:
    settings = load()
    async with opened_database(settings) as database:
        decision = await decide_to_resume(settings, database, partition, target, reason, give_up_readable)
    if as_json:
        print_json(asdict(decision))
        return
    print_mapping(f"{partition} is read on", asdict(decision))


@command
async def _decisions(as_json: bool) -> None:
    settings = load()
    async with opened_database(settings) as database:
        found = await list_decisions(settings, database)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            f"{one['topic']}/{one['partition']}",
            one["decided_at"],
            one["from_offset"],
            one["to_offset"],
            one["begins_anew"],
            one["given_up"],
            one["decided_by"],
            one["reason"],
        )
        for one in found
    ]
    print_table("Decisions", ("partition", "when", "from", "to", "new books", "given up", "who", "why"), rows)


def print_ledger_json(found: Ledger) -> None:
    """The ledger for scripts."""
    print_json(ledger_json(found))


def ledger_json(found: Ledger) -> dict[str, object]:
    """The ledger as JSON has it."""
    return {
        "holds": found.holds,
        "caught_up": found.is_caught_up,
        "kafka_problem": found.kafka_problem,
        "refused": [refusal._asdict() for refusal in found.refused],
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
            line.ignored,
            line.gaps,
            line.lag,
            line.held_back,
            line.holds,
        )
        for line in found.lines
    ]
    print_table("Ledger", COLUMNS, rows, empty="no partition has been claimed yet")
    for line in found.lines:
        reason = kept_reason(asdict(line))
        if reason:
            partition = Partition(line.topic, line.partition)
            said = f"{partition} has stopped: {printable(reason.problem)}.\nOnce it is clear where to go on:"
            err.print(f"{said} {command_to_settle(partition, reason)}", markup=False, soft_wrap=True)
    if found.kafka_problem:
        err.print(f"The lag is not known: {found.kafka_problem}", markup=False, soft_wrap=True)
    for refusal in found.refused:
        if str(refusal) not in (found.kafka_problem or ""):
            err.print(f"Nothing more is read of {refusal}", markup=False, soft_wrap=True)


def _explain(found: Ledger, caught_up: bool) -> None:
    out.print(
        "Every offset is accounted for: read = inserted + duplicates + amended + dead + ignored + gaps."
        if found.holds
        else "The ledger does NOT add up in the partitions marked no."
    )
    if caught_up:
        out.print(_waiting(found))


def _waiting(found: Ledger) -> str:
    if found.kafka_problem:
        return "Whether anything waits is not known."
    if found.is_caught_up:
        return "Nothing waits."
    held_back = sum(line.held_back or 0 for line in found.lines)
    behind = f", {held_back:,} of them behind an open transaction: see ragledger doctor" if held_back else ""
    return f"Records wait to be read{behind}."
