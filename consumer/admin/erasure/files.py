"""Archives of months: files, which an erasure looks into and does not change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from consumer.files import leftovers
from consumer.maintenance.table_partitions import ArchiveError, rows_of
from consumer.postgres.client import Database
from consumer.postgres.queries import load

PATTERN = "ai_dialogue_log_*.csv.gz"


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A file that may hold dialogues of the user: how many, or why that is not known."""

    file: str
    rows: int | None
    problem: str | None = None

    def as_json(self) -> Mapping[str, Any]:
        """For the receipt."""
        return {"file": self.file, "rows": self.rows, "problem": self.problem}


async def look_into(
    database: Database, directory: Path, user: UUID, told: Callable[[str, int], None]
) -> Sequence[ArchiveFile]:
    """Every archive that holds the user's dialogues, or of which that cannot be told.

    :param directory: where archives are written as the settings have it; they may lie elsewhere too
    """
    async with database.transaction() as transaction:
        noted = await transaction.fetch(load("erasure_files"))
    found = []
    places = _places(noted, directory)
    for path in sorted(_paths(noted, directory, places)):
        one = await asyncio.to_thread(_look, path, user)
        told("archives", 1)
        if one.rows != 0:
            found.append(one)
    return [*found, *(ArchiveFile(str(path), None, _DRAFT) for place in sorted(places) for path in _drafts(place))]


def _places(noted: Iterable[Any], directory: Path) -> set[Path]:
    """The directories where months were archived, and the one of the settings."""
    return {directory.resolve(), *(Path(row["directory"] or directory).resolve() for row in noted)}


def _paths(noted: Iterable[Any], directory: Path, places: Iterable[Path]) -> set[Path]:
    """The files that are noted, and whatever else lies beside them: months that came back, archives of a test."""
    named = {Path(row["directory"] or directory).resolve() / row["file"] for row in noted if row["file"]}
    return named | {path for place in places for path in place.glob(PATTERN)}


def _drafts(place: Path) -> Iterable[Path]:
    """What killed commands have left; what is being written is held against the erased users at its end."""
    return sorted(leftovers(place, PATTERN))


_DRAFT = "unfinished, left by a command that was killed: delete it"


def _look(path: Path, user: UUID) -> ArchiveFile:
    if not path.is_file():
        return ArchiveFile(str(path), None, "not found from here")
    try:
        return ArchiveFile(str(path), rows_of(path, user))
    except ArchiveError as error:
        return ArchiveFile(str(path), None, str(error))
