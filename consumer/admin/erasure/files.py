"""Searches archives of months, in directories and in object stores. An erasure reads them and does not change them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from consumer.files import FileError
from consumer.maintenance.table_partitions import PATTERNS, ArchiveError, Place, place_of, rows_of
from consumer.postgres.client import Database
from consumer.postgres.queries import load


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
    found: list[ArchiveFile] = []
    drafts: set[Path] = set()
    for address, files in sorted(_noted(noted, directory).items()):
        try:
            place = place_of(address, directory)
            names = await asyncio.to_thread(place.names, PATTERNS)
        except (ArchiveError, FileError) as error:
            found += _unsearched(address, files, str(error))
            continue
        for name in sorted({*files, *names}):
            one = await asyncio.to_thread(_search, place, name, user)
            on_progress("archives", 1)
            if one.rows != 0:
                found.append(one)
        drafts.update(place.drafts(PATTERNS))
    return [*found, *(ArchiveFile(str(path), None, _DRAFT) for path in sorted(drafts))]


def _noted(rows: Iterable[Any], directory: Path) -> Mapping[str, set[str]]:
    """Return the recorded files by place: those of all archives, and the directory of the settings.

    A place is searched for others too, such as files of restored months or of tests.
    """
    places: dict[str, set[str]] = {str(directory.resolve()): set()}
    for row in rows:
        files = places.setdefault(row["directory"] or str(directory.resolve()), set())
        if row["file"]:
            files.add(row["file"])
    return places


def _unsearched(address: str, files: Iterable[str], problem: str) -> Iterable[ArchiveFile]:
    """Name what is recorded in a place that cannot be listed, or the place if nothing is."""
    return [ArchiveFile(f"{address}/{name}", None, problem) for name in sorted(files)] or [
        ArchiveFile(address, None, problem)
    ]


_DRAFT = "unfinished, left by a command that was killed: delete it"


def _search(place: Place, name: str, user: UUID) -> ArchiveFile:
    address = place.address(name)
    try:
        if not place.has(name):
            return ArchiveFile(address, None, place.missing)
        return ArchiveFile(address, rows_of(place, name, user))
    except ArchiveError as error:
        return ArchiveFile(address, None, str(error))
