"""The receipt of an erasure, for the files of a data protection officer. It does not name the user."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from consumer import __version__
from consumer.admin.erasure.files import ArchiveFile
from consumer.admin.erasure.found import Found
from consumer.text import printable

_COUNTED = (
    "dialogues",
    "feedback",
    "dead_letters",
    "staged_spans",
    "traces",
    "provenance",
    "archived_provenance",
    "notices",
)
_DELETED = {
    "dialogues": "rows deleted from ai_dialogue_log",
    "feedback": "rows deleted from kept_feedback, the feedback on these dialogues",
    "dead_letters": "dead letters that named the user; their key, value and headers were removed",
    "staged_spans": "staged spans of the user's traces; their contents were removed",
    "traces": "rows deleted from dialogue_traces",
}
_UNLINKED = {
    "provenance": "rows of provenance, without the user in acquired_by",
    "archived_provenance": "rows of retention_archive, without the user",
    "notices": "rows of retention_notices, without the user as owner",
}
_WHY_UNLINKED = (
    "Provenance states the origin of content and its terms of use. It has to be known as long as the content exists,"
    " and the content does not belong to the user alone. The user's id is not needed for this and was removed."
)
_WHY_ON_HOLD = (
    "A legal hold applies to these rows (access_policy.legal_hold), and evidence must not be altered. They still name"
    " the user in acquired_by. Erase the user again when the hold is released."
)
_WHY_NAMED = (
    "The access_policy of these rows names the user's id. The owner of the content decides about access: check these"
    " rows and correct them if necessary."
)
_WHY_REMEMBERED = (
    "A keyed hash (HMAC-SHA-256) of the user's id, in erased_users and erasures. It prevents the user's data from being"
    " stored again when a topic is read again. Without the key, the hash does not reveal the user."
)
_WHY_PLACES = (
    "Topic, partition, offset and timestamp of each emptied dead letter, and of each record of the user that is read"
    " again. The ledger has to account for every offset."
)
_WHY_FIGURES = (
    "Daily aggregates, recomputed without the user (those of archived months are unchanged), and counts of records in"
    " the ledger. They name no user."
)
_WHY_FILES = (
    "These archives of months hold dialogues of the user, or could not be searched. They are not changed: delete or"
    " replace each by hand. When ragledger restores a month, it leaves out the user's dialogues."
)
_WHY_SENT = (
    "Notices with the user as owner that were published, or were being published. They stay in {expired} until the"
    " retention of the topic deletes them."
)
_OUT_OF_REACH = (
    (
        "Kafka topics",
        "Records stay in {topics} until the retention of the topics deletes them. Copies in other consumers, mirrors"
        " and tiered storage stay too. Notices published to {expired} may name the user as owner.",
    ),
    (
        "Backups, archived WAL, snapshots",
        "They hold the deleted data until they expire. After restoring one, erase the user again before the service"
        " starts: the restored database may not know of the erasure.",
    ),
    (
        "Standbys and logical replicas",
        "Physical standbys follow at once. Logical replicas follow if deletions are replicated.",
    ),
    (
        "Exported data",
        "Archives that were moved or copied, and every export or report made from these tables.",
    ),
    ("PostgreSQL's data files", "Deleted rows leave the disk when VACUUM has run and their pages are written again."),
    ("Logs", "ragledger logs no text and no user id. PostgreSQL's own log may quote rows that it rejected."),
    ("Other people's texts", "The text of other users' dialogues was not searched, and neither were other systems."),
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The database without its password, the person who runs the command, the request, and the topics."""

    database: str
    requested_by: str
    reference: str | None
    topics: Sequence[str]
    expired_topic: str


def dry_run(
    around: Circumstances, user_hash: bytes, key_id: str, found: Found, files: Sequence[ArchiveFile]
) -> dict[str, Any]:
    """Return the receipt of a dry run: the effects that an erasure would have."""
    head = {
        "receipt": "erasure of a user, dry run: nothing was changed",
        **_who(around, user_hash, key_id),
        "requested_by": around.requested_by,
        "reference": around.reference,
    }
    counts = {**found.deleted, **found.unlinked}
    return head | _body(around, counts, found.days, [*_kept(found), *_copies(around, files, found.sent_notices)])


def receipt(
    around: Circumstances, history: Sequence[Mapping[str, Any]], left: Found, files: Sequence[ArchiveFile]
) -> dict[str, Any]:
    """Return the receipt of an erasure.

    :param history: every erasure of the user, this one first
    :param left: the user's data that is left
    :param files: archives that hold dialogues of the user, or could not be searched
    """
    this = history[0]
    head = {
        "receipt": "erasure of a user",
        "number": this["id"],
        **_who(around, this["user_hash"], this["key_id"]),
        "requested_by": this["requested_by"],
        "reference": this["reference"],
        "begun_at": _moment(this["begun_at"]),
        "finished_at": _moment(this["finished_at"]),
    }
    sent = list(map(str, this["sent_notices"]))
    body = _body(around, this, this["days"], [*_kept(left), *_copies(around, files, len(sent), notices=sent)])
    afterwards = {"left_afterwards": {**left.deleted, **left.unlinked}}
    return head | body | afterwards | {"earlier_erasures": [_earlier(row) for row in history[1:]]}


def _who(around: Circumstances, user_hash: bytes, key_id: str) -> dict[str, Any]:
    return {
        "user": {"hmac_sha256": user_hash.hex(), "key_id": key_id},
        "database": around.database,
        "software": f"ragledger {__version__}",
    }


def _body(
    around: Circumstances, counts: Mapping[str, int], days: Sequence[date], kept: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "deleted": [_counted(name, counts[name], what) for name, what in _DELETED.items()],
        "kept_without_the_user": [
            _counted(name, counts[name], what) | {"why": _WHY_UNLINKED} for name, what in _UNLINKED.items()
        ],
        "kept": kept,
        "days_recomputed": [day.isoformat() for day in days],
        "out_of_reach": [{"where": where, "what": what} for where, what in _out_of_reach(around)],
    }


def _counted(name: str, count: int, what: str) -> dict[str, Any]:
    return {"name": name, "count": count, "what": what}


def _kept(found: Found) -> Iterator[dict[str, Any]]:
    yield {"name": "provenance_on_hold", "count": found.on_hold, "why": _WHY_ON_HOLD}
    yield {"name": "provenance_named_in_policy", "count": found.named_in_policy, "why": _WHY_NAMED}
    yield {"name": "hash", "count": 1, "why": _WHY_REMEMBERED}
    yield {"name": "places_of_records", "count": None, "why": _WHY_PLACES}
    yield {"name": "figures", "count": None, "why": _WHY_FIGURES}


def _copies(
    around: Circumstances, files: Sequence[ArchiveFile], sent: int, **named: Sequence[str]
) -> Iterator[dict[str, Any]]:
    yield {"name": "archives", "count": len(files), "why": _WHY_FILES, "files": [file.as_json() for file in files]}
    yield {"name": "sent_notices", "count": sent, "why": _WHY_SENT.format(expired=around.expired_topic), **named}


def _out_of_reach(around: Circumstances) -> Iterator[tuple[str, str]]:
    for where, what in _OUT_OF_REACH:
        yield where, what.format(topics=", ".join(around.topics), expired=around.expired_topic)


def _earlier(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": row["id"],
        "finished_at": _moment(row["finished_at"]),
        "reference": row["reference"],
        **{name: row[name] for name in _COUNTED},
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def as_text(document: Mapping[str, Any]) -> str:
    """Return a receipt, or a dry run, as plain text."""
    lines = [document["receipt"].capitalize(), ""]
    plain = ("number", "requested_by", "reference", "begun_at", "finished_at", "database", "software")
    lines += [
        f"{name.replace('_', ' ')}: {printable(str(document[name] or '-'))}" for name in plain if name in document
    ]
    lines += [f"user, as HMAC-SHA-256 with key {document['user']['key_id']}: {document['user']['hmac_sha256']}"]
    lines += ["", "Deleted", *(_line(part) for part in document["deleted"])]
    lines += ["", "Kept without the user", *(_line(part) for part in document["kept_without_the_user"]), _WHY_UNLINKED]
    lines += ["", "Kept", *(line for part in document["kept"] if part["count"] != 0 for line in _because(part))]
    lines += ["", "Days recomputed", f"  {', '.join(document['days_recomputed']) or 'none'}"]
    if "left_afterwards" in document:
        left = [f"{count} {name.replace('_', ' ')}" for name, count in document["left_afterwards"].items()]
        lines += ["", "Data of the user that was left at the end", f"  {', '.join(left)}"]
    lines += [
        "",
        "Out of ragledger's reach",
        *(f"  {part['where']}: {part['what']}" for part in document["out_of_reach"]),
    ]
    return "\n".join(lines) + "\n"


def _line(part: Mapping[str, Any]) -> str:
    return f"  {part['count']:>8,}  {part['what']}"


def _because(part: Mapping[str, Any]) -> Iterator[str]:
    count = "" if part["count"] is None else f"{part['count']:,} "
    yield f"  {count}{part['name'].replace('_', ' ')}: {part['why']}"
    for file in part.get("files", ()):
        yield f"    {file['file']}: {file['problem'] or str(file['rows']) + ' rows'}"
    for notice in part.get("notices", ()):
        yield f"    {notice}"
