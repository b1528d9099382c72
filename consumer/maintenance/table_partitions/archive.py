"""`ragledger partition archive`: moves whole months from the table to files.

detached  the month is a table of its own; its days are no longer rolled up
exported  its rows are in a file, which was read back and compared
dropped   its table has been dropped

At its end, each step stores its name in partition_archives. If the command is killed, the next run continues after the
last finished step. PostgreSQL cannot detach CONCURRENTLY while a default partition exists, so a short lock is taken
instead.

Rows of users who are erased meanwhile are deleted from the detached table before the export. If a user is erased during
the export, the file is written again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions.archive_file import Manifest, demand_equal
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.export import Export
from consumer.maintenance.table_partitions.locks import Lock, short_transaction, under_lock
from consumer.maintenance.table_partitions.months import business_zone, demand_computed, demand_over, demand_unmarked
from consumer.maintenance.table_partitions.screening import Screening
from consumer.maintenance.table_partitions.shape import read_shape
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import exclusive

OTHER_WAIT_S = 30.0

OnProgress = Callable[[str, int, int], None]
"""Called with the month, the number of months finished, and the number of months to archive."""


@dataclass(frozen=True, slots=True)
class Archived:
    """A month that was archived. `file` is where its rows are now; `locks` are the locks that were taken."""

    month: str
    partition: str
    rows: int
    file: str
    bytes: int
    sha256: str
    locks: tuple[Lock, ...]


async def archive(
    target: Target, *, before: date, directory: Path, timezone: str, on_progress: OnProgress, keys: Sequence[Key] = ()
) -> tuple[Archived, ...]:
    """Archive every month before the one that begins at `before`, and continue an interrupted run.

    :param timezone: the business time zone of the settings; the one in force in the database counts too
    :param keys: the erasure keys, as for :class:`consumer.postgres.erasures.Erasures`
    :raises ArchiveError: a month cannot be archived now; the months before it are archived
    :raises FileError: a file cannot be written; the months before it are archived, and the next run continues
    :raises Unavailable: users were erased with an erasure key that is not set here
    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as for a conversion
    """
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        shape = await read_shape(db)
        if shape.kind != "p":
            raise ArchiveError("ai_dialogue_log is not partitioned: run `ragledger partition convert` first")
        zones = (await business_zone(db, timezone), timezone)
        months = await _archivable(db, before)
        done = []
        for index, row in enumerate(months):
            on_progress(f"{row['month']:%Y-%m}", index, len(months))
            export = Export(db, row, shape.columns, directory, Screening(db, keys))
            done.append(await _Month(db, row, export).archive(zones))
        return tuple(done)


async def _archivable(db: AdminConnection, before: date) -> Sequence[dict[str, Any]]:
    async with short_transaction(db, 0):
        return await db.rows(load("partition_archivable"), before)


class _Month:
    """Archives one month."""

    def __init__(self, db: AdminConnection, row: dict[str, Any], export: Export) -> None:
        self._db, self._row, self._export = db, row, export
        self._month: date = row["month"]
        self._partition: str = row["partition"]
        self._locks: list[Lock] = []

    async def archive(self, zones: Sequence[str]) -> Archived:
        if self._row["phase"] == "attached":
            await self._detach(zones)
        manifest = await self._exported() or await self._export.run()
        await self._drop()
        return Archived(
            manifest.month,
            self._partition,
            manifest.rows,
            str(self._export.directory / manifest.file),
            manifest.bytes,
            manifest.sha256,
            tuple(self._locks),
        )

    async def _detach(self, zones: Sequence[str]) -> None:
        demand_over(self._month, zones, self._row["now"])
        await demand_computed(self._db, self._month, self._partition, zones[0])

        async def detach() -> None:
            await demand_unmarked(self._db, self._month, zones[0])
            await self._db.rows(load("partition_note_detached"), self._month, self._partition)
            await self._db.execute(f"ALTER TABLE ai_dialogue_log DETACH PARTITION {self._partition}")

        lock = load("partition_archive_lock").format(partition=self._partition)
        self._locks.append(await under_lock(self._db, f"detach {self._month:%Y-%m}", lock, detach))

    async def _exported(self) -> Manifest | None:
        """Return the manifest of an earlier run if its file is here and holds exactly the rows of the table."""
        path = self._export.manifest_path
        if self._row["phase"] != "exported" or not path.is_file():
            return None
        try:
            manifest = Manifest.read(path)
            demand_equal(manifest, path.parent / manifest.file)
        except ArchiveError:
            return None  # the table still holds the rows; the export runs again
        rows = await self._export.count()
        return manifest if (manifest.sha256, manifest.rows) == (self._row["sha256"], rows) else None

    async def _drop(self) -> None:
        async def drop() -> None:
            await self._db.execute(f"DROP TABLE {self._partition}")
            await self._db.rows(load("partition_note_dropped"), self._month)

        lock = f"{load('partition_hold_copies')}; LOCK TABLE {self._partition} IN ACCESS EXCLUSIVE MODE"
        self._locks.append(await under_lock(self._db, f"drop {self._month:%Y-%m}", lock, drop))
