"""The reasons for which a record cannot be stored, with messages for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The closed set of reasons: the `reason` column of `dead_letters` and the label of `rag_dead_letters_total`."""

    NOT_JSON = "not_json"
    INVALID_ENVELOPE = "invalid_envelope"
    WRONG_KIND = "wrong_kind"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    NUL_CHARACTER = "nul_character"
    TOMBSTONE = "tombstone"
    RECORD_TOO_LARGE = "record_too_large"
    NOT_OTLP = "not_otlp"
    UNREADABLE_RECORD = "unreadable_record"
    UNKNOWN_REFERENCE = "unknown_reference"
    REFUSED_BY_DATABASE = "refused_by_database"
    ERASED_USER = "erased_user"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its path in the event. `path` is empty if the fault is in the record as a whole.

    `problem` never quotes the event, because dead letters are listed in places where event text must not appear.
    """

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}" if self.path else self.problem


class Rejected(Exception):
    """The event cannot be stored. The record becomes a dead letter with this reason."""

    def __init__(self, reason: Reason, faults: Sequence[Fault], *, sqlstate: str | None = None) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.reason = reason
        self.faults = tuple(faults)
        self.sqlstate = sqlstate

    @classmethod
    def whole(cls, reason: Reason, problem: str) -> Rejected:
        """Return an error for the record as a whole."""
        return cls(reason, [Fault("", problem)])

    def detail(self) -> dict[str, object]:
        """Return the `detail` column of `dead_letters`: one message for people, and the faults by path for scripts."""
        faults = [{"path": fault.path, "problem": fault.problem} for fault in self.faults]
        return {"message": str(self), "faults": faults}
