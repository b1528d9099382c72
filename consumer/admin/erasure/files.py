"""Searches archives of months. An erasure reads these files and does not change them."""

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
    """A file that may hold dialogues of the user: how many, or why their number is unknown."""

    file: str
    rows: int | None
    problem: str | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return it for the receipt."""
        return {"file": self.file, "rows": self.rows, "problem": self.problem}


async def search_archives(
    database: Database, directory: Path, user: UUID, on_progress: Callable[[str, int], None]
) -> Sequence[ArchiveFile]:
    """Return every archive that holds dialogues of the user, or that cannot be searched.

    :param directory: the archive directory of the settings; archives may be elsewhere too
    """
    async with database.transaction() as transaction:
        noted = await transaction.fetch(load("erasure_files"))
    found = []
    directories = _directories(noted, directory)
    for path in sorted(_paths(noted, directory, directories)):
        one = await asyncio.to_thread(_search, path, user)
        on_progress("archives", 1)
        if one.rows != 0:
            found.append(one)
    return [*found, *(ArchiveFile(str(path), None, _DRAFT) for one in sorted(directories) for path in _drafts(one))]


def _directories(noted: Iterable[Any], directory: Path) -> set[Path]:
    """Return the directories of all archives, and the one of the settings."""
    return {directory.resolve(), *(Path(row["directory"] or directory).resolve() for row in noted)}


def _paths(noted: Iterable[Any], directory: Path, directories: Iterable[Path]) -> set[Path]:
    """Return the recorded files and all others beside them, such as those of restored months or of tests."""
    named = {Path(row["directory"] or directory).resolve() / row["file"] for row in noted if row["file"]}
    return named | {path for one in directories for path in one.glob(PATTERN)}


def _drafts(directory: Path) -> Iterable[Path]:
    """Return unfinished files of killed commands. A file that is being written is screened for erased
    users at its end.
    """
    return sorted(leftovers(directory, PATTERN))


_DRAFT = "unfinished, left by a command that was killed: delete it"


def _search(path: Path, user: UUID) -> ArchiveFile:
    if not path.is_file():
        return ArchiveFile(str(path), None, "not found on this machine")
    try:
        return ArchiveFile(str(path), rows_of(path, user))
    except ArchiveError as error:
        return ArchiveFile(str(path), None, str(error))
