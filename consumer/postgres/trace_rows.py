"""Writes the dialogues of traces: inserts new dialogues and updates known ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

from consumer.decode.copy_format import microseconds
from consumer.decode.rows import Row
from consumer.decode.traces import TraceDialogue
from consumer.events.dialogue import DIALOGUE
from consumer.events.otlp import mapping
from consumer.events.rejection import Rejected
from consumer.ingest.batch import DeadLetter
from consumer.ingest.ports import Refused
from consumer.postgres.amendments import Report, apply_to_new
from consumer.postgres.client import Transaction
from consumer.postgres.costs import change_costs, keep_costs
from consumer.postgres.errors import Objection, skipped
from consumer.postgres.halving import halve
from consumer.postgres.queries import load
from consumer.postgres.splitting import insert_splitting, refused
from consumer.postgres.staging import Outcome, how_to_insert, insert_merging, moments_as_stored
from consumer.postgres.workers import await_prepared

_STAGE, _TRACES = "stage_changed_dialogues", "dialogue_traces"
_TRACE_COLUMNS = 12
_OF_DIALOGUE = itemgetter("id", "user_id", "created_at")
# A trace contains no feedback, so an update must not overwrite it.
_CHANGED = tuple(name for name in DIALOGUE.columns if name not in ("id", "user_feedback"))


async def insert(
    transaction: Transaction, rows: Sequence[Row], report: Report, *, splits: bool, first: int | None = None
) -> Outcome:
    """Insert dialogues. It raises the same errors as the insert of a batch.

    :param splits: whether to find the rows that PostgreSQL rejects
    :param first: with `splits`, the number of rows in the first part, if each row may take long
    """
    if not rows:
        return Outcome()
    if splits:
        outcome = await insert_splitting(transaction, DIALOGUE, rows, lambda _: None, first)
    else:
        outcome = await insert_merging(transaction, DIALOGUE, rows)
    await apply_to_new(transaction, DIALOGUE, outcome.inserted, report if splits else None)
    await keep_costs(transaction, outcome.inserted)
    return outcome


async def change(transaction: Transaction, rows: Sequence[Row], first: int | None) -> Outcome:
    """Update existing dialogues; `amended` holds the updated ones. A deleted dialogue is not inserted again.

    :raises Refused: :raises Objection: PostgreSQL rejects the statement itself, not a row
    """
    if not rows:
        return Outcome()
    how = await how_to_insert(transaction, DIALOGUE)  # a row may move to the table partition of another month
    await transaction.execute(load("make_stage").format(table=DIALOGUE.table, stage=_STAGE))
    if how.is_spread:
        await await_prepared(transaction)  # a dialogue that is not visible yet would look deleted
    columns = ", ".join(_CHANGED)
    values = ", ".join(f"staged.{name}" for name in _CHANGED)
    place = "true" if how.may_change else "dialogue.created_at = trace.created_at"  # a trigger may have moved the row
    statement = load("update_dialogues").format(stage=_STAGE, columns=columns, values=values, place=place)
    moments = list(await moments_as_stored(transaction, DIALOGUE, how, rows))
    changed: dict[bytes, int] = {}
    letters: list[DeadLetter] = []

    async def update(part: Sequence[Row]) -> None:
        await transaction.copy(_STAGE, tuple(DIALOGUE.columns), [row.encoded for row in part])
        found = {row["id"].bytes: microseconds(row["created_at"]) for row in await transaction.fetch(statement)}
        await _demand_deleted(transaction, [row for row in part if row.id not in found])
        await transaction.execute("SET CONSTRAINTS ALL IMMEDIATE")  # an error at COMMIT would name no row
        await transaction.execute(f"TRUNCATE {_STAGE}")
        changed.update(found)

    async def refuse(row: Row, error: Refused | Objection) -> None:
        letters.append(DeadLetter(row.record, refused(error)))

    await halve(transaction, rows, update, refuse, first)
    amended = [row for row in rows if row.id in changed]
    await change_costs(transaction, amended)
    return Outcome(amended=amended, dead_letters=letters, moments=[*moments, *changed.values()])


async def _demand_deleted(transaction: Transaction, rows: Sequence[Row]) -> None:
    """Check that the rows that were not updated are no longer in the table. Otherwise a trigger left them out.

    :raises Refused: one is still in the table
    """
    ids = [UUID(bytes=row.id) for row in rows]
    if ids and len(await transaction.fetch(load("ids_missing").format(table=DIALOGUE.table), ids)) < len(ids):
        raise skipped(DIALOGUE.table)


async def keep_traces(transaction: Transaction, dialogues: Collection[TraceDialogue]) -> None:
    """Record the trace of each dialogue.

    :raises Refused: :raises Objection: PostgreSQL rejects one of them
    """
    rows = list(map(_trace_row, sorted(dialogues, key=_id)))
    *columns, hashes = zip(*rows, strict=True) if rows else [()] * _TRACE_COLUMNS
    kept = await transaction.execute(load("keep_traces"), *columns, mapping.VERSION, hashes)
    if kept != f"INSERT 0 {len(rows)}":
        raise skipped(_TRACES)


async def find_refused_traces(
    transaction: Transaction, dialogues: Sequence[TraceDialogue], first: int | None
) -> Mapping[UUID, Rejected]:
    """Record the trace of each dialogue. Return the traces that PostgreSQL rejects, with the reason.

    :raises Refused: :raises Objection: PostgreSQL rejects the statement itself, not a trace
    """
    found: dict[UUID, Rejected] = {}

    async def keep(part: Sequence[TraceDialogue]) -> None:
        await keep_traces(transaction, part)

    async def refuse(one: TraceDialogue, error: Refused | Objection) -> None:
        found[UUID(bytes=one.row.id)] = refused(error)

    await halve(transaction, dialogues, keep, refuse, first)
    return found


def _id(dialogue: TraceDialogue) -> bytes:
    return dialogue.row.id


def _trace_row(dialogue: TraceDialogue) -> tuple[Any, ...]:
    folded = dialogue.folded
    return (*_OF_DIALOGUE(folded.values), folded.service, folded.environment, *folded.operations, dialogue.content_hash)


async def states(transaction: Transaction, traces: Collection[UUID]) -> Mapping[UUID, Any]:
    """The stored state of each trace that has become a dialogue, by trace."""
    return {row["dialogue_id"]: row for row in await transaction.fetch(load("trace_states"), list(traces))}
