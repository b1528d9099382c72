"""Checks the ledger, the dead letters and the days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, warning
from consumer.events.record import Partition
from consumer.events.registry import namespace_of
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Bounds, SourceError
from consumer.ingest.stop_reasons import command_to_settle, kept_reason, unreadable
from consumer.kafka.tools import log_ends
from consumer.postgres.queries import load

Rows = Sequence[Mapping[str, Any]]
IDLE_SECONDS = 300.0
STALE_SECONDS = 900.0
MOST_NAMED = 5


async def check_ledger(context: CheckContext) -> list[Finding]:
    """Check the equation, stopped partitions, and partitions that no replica reads."""
    group = context.settings.kafka.group_id
    rows = await context.db.rows(load("doctor_ledger"), group)
    topics = context.settings.topics.consumed  # without the notices, which ragledger does not read
    held = context.brokers.bounds if context.brokers else {}
    bounds = {partition: bounds for partition, bounds in held.items() if partition.topic in topics}
    ends = await _log_ends(context, rows, bounds)
    found = [*_unbalanced(rows), *_stopped(rows, bounds, ends), *_unread(rows, bounds)]
    return found or [fine("ledger", f"{len(rows)} partitions add up" if rows else "nothing has been read yet")]


async def _log_ends(
    context: CheckContext, rows: Rows, bounds: Mapping[Partition, Bounds]
) -> Mapping[Partition, int | None]:
    try:
        return await log_ends(context.settings.kafka, [_claim(row) for row in rows], bounds)
    except SourceError:
        return {}


def _unbalanced(rows: Rows) -> Iterator[Finding]:
    wrong = [str(_partition(row)) for row in rows if not row["holds"]]
    if wrong:
        fix = (
            "stop the replicas, copy ingest_ledger, and find out who changed it by hand; then: ragledger migrate verify"
        )
        yield error("ledger", f"does not add up in {_named(wrong)}", fix)


def _stopped(rows: Rows, bounds: Mapping[Partition, Bounds], ends: Mapping[Partition, int | None]) -> Iterator[Finding]:
    for row in rows:
        partition = _partition(row)
        reason = kept_reason(row) or _unreadable(row, bounds.get(partition), ends.get(partition))
        if reason:
            fix = f"once you know what was lost: {command_to_settle(partition, reason)}"
            yield error("ledger", f"{partition} has stopped: {reason.problem}", fix)


def _unreadable(row: Mapping[str, Any], held: Bounds | None, log_end: int | None) -> StopReason | None:
    return None if held is None else unreadable(_claim(row), held, log_end)


def _claim(row: Mapping[str, Any]) -> Claim:
    return Claim(_partition(row), row["epoch"], row["next_offset"], row["topic_id"], leader_epoch=row["leader_epoch"])


def _unread(rows: Rows, bounds: Mapping[Partition, Bounds]) -> Iterator[Finding]:
    ledger = {_partition(row): row for row in rows}
    waiting = [
        partition
        for partition, held in sorted(bounds.items())
        if _reads_from(ledger, partition, held) < held.end and _is_idle(ledger.get(partition))
    ]
    if waiting:
        owners = sorted({str(ledger[partition]["owner"]) for partition in waiting if partition in ledger})
        found = (
            f"records wait in {_named([str(partition) for partition in waiting])}, and no replica has written for"
            " minutes"
        )
        last = f" (last: {', '.join(owners)})" if owners else ""
        yield error(
            "ledger", f"{found}{last}", "ragledger run; if a replica runs, its /readyz says why it does not write"
        )


def _reads_from(ledger: Mapping[Partition, Mapping[str, Any]], partition: Partition, held: Bounds) -> int:
    return int(ledger[partition]["next_offset"]) if partition in ledger else held.first


def _is_idle(row: Mapping[str, Any] | None) -> bool:
    return row is None or row["idle_seconds"] > IDLE_SECONDS


def _partition(row: Mapping[str, Any]) -> Partition:
    return Partition(row["topic"], row["partition"])


def _named(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")


async def check_dead_letters(context: CheckContext) -> list[Finding]:
    """Check for open dead letters."""
    rows = await context.db.rows(load("doctor_dead_letters"))
    (string_ids,) = await context.db.rows(load("doctor_string_ids"))
    found = [*(_open(row) for row in rows), *_string_ids(context, string_ids["records"])]
    return found or [fine("dead letters", "none is open")]


def _string_ids(context: CheckContext, records: int) -> Iterator[Finding]:
    if not records:
        return
    found = f"{records} are open because an id of a user or a session is not a UUID"
    replay = "ragledger dead-letters replay --reason invalid_field"
    if context.settings.ids.namespace is None:
        value = namespace_of(context.settings) or "a UUID of your own"
        replay = f"set RAGLEDGER_IDS__NAMESPACE to {value}, the same for every replica; then {replay}"
    yield error("dead letters", found, replay)


def _open(row: Mapping[str, Any]) -> Finding:
    found = f"{row['records']} open with the reason {row['reason']}, since {row['since']:%Y-%m-%d %H:%M}"
    choose = f"--reason {row['reason']}"
    fix = f"ragledger dead-letters list {choose}; then ragledger dead-letters replay {choose}, or discard {choose}"
    return error("dead letters", found, fix)


async def check_amendments(context: CheckContext) -> list[Finding]:
    """Check for amendments that the database refused when their row arrived. The ledger counts them as amended."""
    rows = await context.db.rows(load("doctor_amendments_set_aside"))
    return [_set_aside(row) for row in rows] or [fine("amendments", "none was refused when its row arrived")]


def _set_aside(row: Mapping[str, Any]) -> Finding:
    name, sqlstate = row["name"], row["sqlstate"]
    found = f"{row['amendments']} of {name} were refused with SQLSTATE {sqlstate}, since {row['since']:%Y-%m-%d %H:%M}"
    again = f"UPDATE {name} SET applied_at = NULL, sqlstate = NULL WHERE sqlstate = '{sqlstate}'"  # noqa: S608 - only shown
    return error("amendments", found, f"correct the constraint or trigger of yours that refuses them; then {again}")


async def check_days(context: CheckContext) -> list[Finding]:
    """Check for days that have waited too long for the roll-up, and for days in the future."""
    (row,) = await context.db.rows(load("doctor_days"), context.settings.rollup.timezone)
    stale = max(STALE_SECONDS, 10 * context.settings.rollup.interval_s)
    found = [*_stale(row, stale), *_future(row)]
    return found or [fine("roll-up", f"{row['waiting']} days wait for the next run" if row["waiting"] else "current")]


def _stale(row: Mapping[str, Any], seconds: float) -> Iterator[Finding]:
    if row["waiting"] and row["waiting_seconds"] > seconds:
        found = f"{row['waiting']} days have waited for {row['waiting_seconds'] / 60:.0f} minutes to be computed"
        yield error("roll-up", found, f"ragledger rollup --day {row['first_day']}, which reports the reason")


def _future(row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["newest"] and row["newest"] > row["today"]:
        fix = (
            "SELECT id, created_at FROM ai_dialogue_log WHERE created_at > now() AT TIME ZONE 'UTC' + interval '1 day';"
            " correct these rows, then run ragledger rollup for their days"
        )
        yield warning("roll-up", f"the newest day is {row['newest']}: a producer's clock is ahead", fix)
