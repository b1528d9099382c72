"""`ragledger partition archive`: whole months leave the table for files.

    detached  the month is a table of its own; its days are not rolled up any more
    exported  its rows are in a file, which was read back and found to hold them
    dropped   its table is gone

Each step ends with its name in partition_archives. So it may be killed at any point, and goes on after the last step
that was done. PostgreSQL detaches CONCURRENTLY only where there is no default partition; a short lock does it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from consumer.adapters.admin import AdminConnection, connect
from consumer.operations.migrate import history
from consumer.operations.partitions.archive_file import (
    FORMAT,
    ArchiveWriter,
    Manifest,
    demand_equal,
    file_sha256,
    keep,
    read_back,
)
from consumer.operations.partitions.errors import ArchiveError
from consumer.operations.partitions.locks import Lock, short_transaction, under_lock
from consumer.operations.partitions.shape import read_shape
from consumer.operations.queries import query

OTHER_WAIT_S = 30.0

Told = Callable[[str, int, int], None]
"""Is given what is being done, and how many of how many months are."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A month that left the table. `file` is where its rows are now; the locks are those it took."""

    month: str
    partition: str
    rows: int
    file: str
    bytes: int
    sha256: str
    locks: tuple[Lock, ...]


async def archive(dsn: str, *, before: date, directory: Path, timezone: str, told: Told) -> tuple[Archived, ...]:
    """Archive every month before the one that begins at `before`, or go on where an earlier run was interrupted.

    :param timezone: the business time zone, in which days were rolled up
    :raises ArchiveError: a month cannot be archived now; the ones before it are
    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as for a conversion
    """
    async with history.exclusive(dsn, OTHER_WAIT_S), connect(dsn) as db:
        shape = await read_shape(db)
        if shape.kind != "p":
            raise ArchiveError("ai_dialogue_log is not partitioned: run `ragledger partition convert` first")
        months = await _archivable(db, before)
        done = []
        for place, row in enumerate(months):
            told(f"{row['month']:%Y-%m}", place, len(months))
            done.append(await _Month(db, row, shape.columns, directory).archive(timezone))
        return tuple(done)


async def _archivable(db: AdminConnection, before: date) -> Sequence[dict[str, Any]]:
    async with short_transaction(db, 0):
        return await db.rows(query("partition_archivable"), before)


class _Month:
    """One month on its way out."""

    def __init__(self, db: AdminConnection, row: dict[str, Any], columns: Sequence[str], directory: Path) -> None:
        self._db, self._columns, self._directory = db, columns, directory
        self._month: date = row["month"]
        self._partition: str = row["partition"]
        self._phase: str = row["phase"]
        self._sha256: str | None = row["sha256"]
        self._name = f"ai_dialogue_log_{self._month:%Y_%m}"
        self._locks: list[Lock] = []

    async def archive(self, timezone: str) -> Archived:
        if self._phase == "attached":
            await self._detach(timezone)
        manifest = await self._exported() or await self._export()
        await self._drop()
        return Archived(
            manifest.month,
            self._partition,
            manifest.rows,
            str(self._directory / manifest.file),
            manifest.bytes,
            manifest.sha256,
            tuple(self._locks),
        )

    async def _detach(self, timezone: str) -> None:
        await self._demand_history(timezone)

        async def detach() -> None:
            marked = [row["day"] for row in await self._db.rows(query("partition_touched_days"), self._month, timezone)]
            if marked:
                raise ArchiveError(
                    f"{self._month:%Y-%m} has days that have to be rolled up first: {_listed(marked)}."
                    " The service does so within its interval, or `ragledger rollup`"
                )
            await self._db.rows(query("partition_note_detached"), self._month, self._partition)
            await self._db.execute(f"ALTER TABLE ai_dialogue_log DETACH PARTITION {self._partition}")

        lock = query("partition_archive_lock").format(partition=self._partition)
        self._locks.append(await under_lock(self._db, f"detach {self._month:%Y-%m}", lock, detach))

    async def _demand_history(self, timezone: str) -> None:
        """Nobody waits for this look at every row; what comes in after it brings a mark."""
        days = query("partition_days_without_history").format(partition=self._partition)
        async with short_transaction(self._db, 0):
            missing = [row["day"] for row in await self._db.rows(days, timezone)]
        if missing:
            raise ArchiveError(
                f"{self._month:%Y-%m} has days that were never rolled up: {_listed(missing)}. Compute them first:"
                f" ragledger rollup --since {missing[0]} --until {missing[-1]}"
            )

    async def _exported(self) -> Manifest | None:
        """The file of an earlier run, if it is here and still holds what it should."""
        path = self._directory / f"{self._name}.manifest.json"
        if self._phase != "exported" or not path.is_file():
            return None
        try:
            manifest = Manifest.read(path)
            demand_equal(manifest, self._directory / manifest.file)
        except ArchiveError:
            return None  # the table is still there to be written again
        return manifest if manifest.sha256 == self._sha256 else None

    async def _export(self) -> Manifest:
        """Write the file, read it back, and only then say that it is there."""
        part, path = (self._directory / f"{self._name}.csv.{end}" for end in ("part", "gz"))
        async with short_transaction(self._db, 0):
            [found] = await self._db.rows(query("partition_describe").format(partition=self._partition))
            if found["hides_rows"]:
                raise ArchiveError(
                    f"row-level security hides rows of {self._partition}: run this as a role with BYPASSRLS"
                )
            columns = ", ".join(self._columns)
            with ArchiveWriter(part) as writer:
                await self._db.copy_out(
                    f"SELECT {columns} FROM {self._partition} ORDER BY created_at, id",  # noqa: S608 - our own identifiers
                    writer.write,
                )
        manifest = self._manifest(found, part, writer.content_sha256)
        self._demand_place(path, manifest)
        keep(part, path)
        manifest.write(self._directory / f"{self._name}.manifest.json")
        async with short_transaction(self._db, 0):
            await self._db.rows(
                query("partition_note_exported"), self._month, manifest.rows, manifest.file, manifest.sha256
            )
        return manifest

    def _demand_place(self, path: Path, manifest: Manifest) -> None:
        """Another database may archive into the same directory, or this one may have before a month was restored."""
        if path.is_file() and file_sha256(path) not in (manifest.sha256, self._sha256):
            raise ArchiveError(
                f"{path} is there already, and is another archive of {self._month:%Y-%m}. The table stays;"
                " move the file and its manifest away, or name another directory with --to"
            )

    def _manifest(self, found: dict[str, Any], part: Path, content_sha256: str) -> Manifest:
        read = read_back(part)
        if (read.rows, read.content_sha256) != (found["rows"], content_sha256):
            raise ArchiveError(
                f"{part} does not hold what {self._partition} does: {read.rows} rows instead of {found['rows']},"
                " or other bytes. The table stays; look at the disk, and run the command again"
            )
        return Manifest(
            FORMAT,
            "ai_dialogue_log",
            f"{self._month:%Y-%m}",
            tuple(self._columns),
            read.rows,
            found["first"],
            found["last"],
            f"{self._name}.csv.gz",
            read.bytes,
            read.sha256,
            content_sha256,
            found["server_version"],
        )

    async def _drop(self) -> None:
        async def drop() -> None:
            await self._db.execute(f"DROP TABLE {self._partition}")
            await self._db.rows(query("partition_note_dropped"), self._month)

        lock = f"LOCK TABLE {self._partition} IN ACCESS EXCLUSIVE MODE"
        self._locks.append(await under_lock(self._db, f"drop {self._month:%Y-%m}", lock, drop))


def _listed(days: Sequence[date]) -> str:
    shown = ", ".join(map(str, days[:5]))
    return f"{shown} and {len(days) - 5} more" if len(days) > 5 else shown
