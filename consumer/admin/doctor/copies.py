"""Checks for dialogues outside ai_dialogue_log and the archives, which an interrupted command has left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from shlex import quote
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, note, warning
from consumer.maintenance.table_partitions import format_of
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import LOCK_KEY


async def check_copies(context: CheckContext) -> list[Finding]:
    """Check for months that are half archived or restored, and for unfinished conversions."""
    rows = await context.db.rows(load("doctor_copies"), LOCK_KEY)
    return [_finding(row) for row in rows] or [fine("copies", "every dialogue is in ai_dialogue_log or in an archive")]


def _finding(row: Mapping[str, Any]) -> Finding:
    name = row["name"]
    if row["is_running"]:
        return note("copies", f"{name} belongs to a command that is running")
    if name.endswith(("_new", "_before")):
        fix = "ragledger partition convert, which continues"
        if name.endswith("_new"):
            fix += "; or ragledger partition convert --abort"
        return warning("copies", f"a conversion was interrupted; {name} holds a second copy of dialogues", fix)
    return _month(name, row)


def _month(name: str, row: Mapping[str, Any]) -> Finding:
    year, month = map(int, name.rsplit("_", 2)[1:])
    following = date(year + month // 12, month % 12 + 1, 1)
    found = f"{year}-{month:02} is not in ai_dialogue_log: its dialogues are in the table {name}, which no query reads"
    if row["phase"] == "expired":
        return warning("copies", f"{found}: a run of retention was interrupted", "ragledger retention run")
    if row["phase"] is None:
        fix = f"ragledger partition archive --restore MANIFEST, which starts over; or, without it, DROP TABLE {name}"
        return error("copies", f"{found}: restoring it from its file was interrupted", fix)
    back = f"ragledger partition archive --attach {year}-{month:02}"
    goes_on = f"ragledger partition archive --before {following:%Y-%m}{_options(row)}, which continues"
    return error("copies", f"{found}: archiving it was interrupted", f"{goes_on}; or {back}, which attaches it again")


def _options(row: Mapping[str, Any]) -> str:
    """Return the options with which the interrupted command wrote, as far as they are recorded."""
    place = f" --to {quote(row['directory'])}" if row["directory"] else ""
    return f"{place} --format {format_of(row['file']).name}" if row["file"] else place
