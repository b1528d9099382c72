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
from consumer.settings.loading import load
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


app = typer.Typer(help="Show the outcomes of the records of each partition, and settle stopped partitions.")

TARGETS = ("earliest", "latest", "here")


def _target(text: str) -> Target:
    """Parse a keyword or an offset."""
    if text in TARGETS:
        return text  # type: ignore[return-value]
    if text.isascii() and text.isdecimal():
        return int(text)
    raise typer.BadParameter(f"{text!r} is not an offset, and not one of {', '.join(TARGETS)}")


@app.callback(invoke_without_command=True)
def ledger(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Exit with 3 if the equation does not hold.")] = False,
    caught_up: Annotated[
        bool, typer.Option("--caught-up", help="Exit with 3 also if an acknowledged record or a trace waits.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show for each partition the numbers of read, inserted, duplicate, amended, dead and waiting records.

    The equation holds for every partition: read = inserted + duplicates + amended + dead + ignored + gaps. Ignored
    records contain nothing that ragledger stores. The lag counts up to the high watermark. Its part "held back" cannot
    be read yet, because a producer's transaction is open.
    """
    if context.invoked_subcommand is None:
        _ledger(check, caught_up, as_json)
    elif check or caught_up or as_json:
        raise typer.BadParameter(f"these options belong to `ragledger ledger`, not to `{context.invoked_subcommand}`")


@app.command()
@command
async def resume(
    topic: Annotated[str, typer.Option(help="The topic.")],
    partition: Annotated[int, typer.Option(min=0, help="Its partition.")],
    from_: Annotated[
        Any,
        typer.Option(
            "--from",
            parser=_target,
            metavar="earliest|latest|here|OFFSET",
            help="Where to continue: the first offset, the end, the offset in the ledger, or a given offset.",
        ),
    ],
    reason: Annotated[str | None, typer.Option(help="Your reason; stored with the decision.")] = None,
    give_up_readable: Annotated[
        bool, typer.Option("--give-up-readable", help="Continue there even if readable offsets are skipped.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Decide at which offset a partition continues. Running replicas notice it within seconds.

    You may skip offsets that cannot be read: those that Kafka no longer holds, and those that a stop has listed as
    unreadable. The command refuses to skip other offsets, and counts them, unless you pass --give-up-readable.

    Skipped offsets count as gaps. Going back, or to a recreated topic, closes the books of the partition and opens new
    ones; the closed books stay with the decision.
    """
    settings, chosen = load(), Partition(topic, partition)
    async with opened_database(settings) as database:
        decision = await decide_to_resume(settings, database, chosen, from_, reason, give_up_readable)
    if as_json:
        print_json(asdict(decision))
        return
    print_mapping(f"{chosen} continues", asdict(decision))


@app.command()
@command
async def decisions(as_json: Json = False) -> None:
    """List the decisions, newest first, with the books at that time."""
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
    """Print the ledger as JSON."""
    print_json(ledger_json(found))


def ledger_json(found: Ledger) -> dict[str, object]:
    """Return the ledger as a JSON document."""
    return {
        "holds": found.holds,
        "caught_up": found.is_caught_up,
        "traces_waiting": found.traces_waiting,
        "kafka_problem": found.kafka_problem,
        "refused": [refusal._asdict() for refusal in found.refused],
        "partitions": [asdict(line) | {"read": line.read} for line in found.lines],
    }


def print_ledger(found: Ledger) -> None:
    """Print the ledger as a table."""
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
    print_table("Ledger", COLUMNS, rows, empty="no partition has been claimed yet", unbroken="partition")
    for line in found.lines:
        reason = kept_reason(asdict(line))
        if reason:
            partition = Partition(line.topic, line.partition)
            said = f"{partition} has stopped: {printable(reason.problem)}.\nWhen you know where to continue:"
            err.print(f"{said} {command_to_settle(partition, reason)}", markup=False, soft_wrap=True)
    if found.kafka_problem:
        err.print(f"The lag is unknown: {found.kafka_problem}", markup=False, soft_wrap=True)
    for refusal in found.refused:
        if str(refusal) not in (found.kafka_problem or ""):
            err.print(f"No records are read from {refusal}", markup=False, soft_wrap=True)


def _explain(found: Ledger, caught_up: bool) -> None:
    out.print(
        "The ledger adds up: read = inserted + duplicates + amended + dead + ignored + gaps."
        if found.holds
        else "The ledger does NOT add up in the partitions marked no."
    )
    if caught_up:
        out.print(_waiting(found))


def _waiting(found: Ledger) -> str:
    if found.kafka_problem:
        return "It is unknown whether records wait."
    if found.is_caught_up:
        return "No records wait."
    if all(line.lag == 0 for line in found.lines):
        return f"No records wait, but {found.traces_waiting:,} traces are not folded into dialogues yet."
    held_back = sum(line.held_back or 0 for line in found.lines)
    behind = f", {held_back:,} of them behind an open transaction: see ragledger doctor" if held_back else ""
    return f"Records wait to be read{behind}."
