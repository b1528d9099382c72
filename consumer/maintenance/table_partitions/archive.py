"""`ragledger partition archive`: whole months leave the table for files.

    detached  the month is a table of its own; its days are not rolled up any more
    exported  its rows are in a file, which was read back and found to hold them
    dropped   its table is gone

Each step ends with its name in partition_archives. So it may be killed at any point, and goes on after the last step
that was done. PostgreSQL detaches CONCURRENTLY only where there is no default partition; a short lock does it too.

Users who are erased meanwhile are in none of it: their rows are taken out of the table that is written to the file, and
where somebody is erased while it is written, it is written again.
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


async def archive(
    target: Target, *, before: date, directory: Path, timezone: str, told: Told, keys: Sequence[Key] = ()
) -> tuple[Archived, ...]:
    """Archive every month before the one that begins at `before`, or go on where an earlier run was interrupted.

    :param timezone: our business time zone; where a service has put another one in force, that one counts too
    :param keys: by which erased users are known, as for :class:`consumer.postgres.erasures.Erasures`
    :raises ArchiveError: a month cannot be archived now; the ones before it are
    :raises FileError: its file cannot be written; the ones before it are archived, and it goes on with the next run
    :raises Unavailable: users were erased under a key that is not set here
    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as for a conversion
    """
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        shape = await read_shape(db)
        if shape.kind != "p":
            raise ArchiveError("ai_dialogue_log is not partitioned: run `ragledger partition convert` first")
        zones = (await business_zone(db, timezone), timezone)
        months = await _archivable(db, before)
        done = []
        for place, row in enumerate(months):
            told(f"{row['month']:%Y-%m}", place, len(months))
            export = Export(db, row, shape.columns, directory, Screening(db, keys))
            done.append(await _Month(db, row, export).archive(zones))
        return tuple(done)


async def _archivable(db: AdminConnection, before: date) -> Sequence[dict[str, Any]]:
    async with short_transaction(db, 0):
        return await db.rows(load("partition_archivable"), before)


class _Month:
    """One month on its way out."""

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
        """The file of an earlier run, if it is here and holds what the table does: who was erased is in neither."""
        path = self._export.manifest_path
        if self._row["phase"] != "exported" or not path.is_file():
            return None
        try:
            manifest = Manifest.read(path)
            demand_equal(manifest, path.parent / manifest.file)
        except ArchiveError:
            return None  # the table is still there to be written again
        rows = await self._export.count()
        return manifest if (manifest.sha256, manifest.rows) == (self._row["sha256"], rows) else None

    async def _drop(self) -> None:
        async def drop() -> None:
            await self._db.execute(f"DROP TABLE {self._partition}")
            await self._db.rows(load("partition_note_dropped"), self._month)

        lock = f"LOCK TABLE {self._partition} IN ACCESS EXCLUSIVE MODE"
        self._locks.append(await under_lock(self._db, f"drop {self._month:%Y-%m}", lock, drop))
