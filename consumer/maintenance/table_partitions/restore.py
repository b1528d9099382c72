"""`ragledger partition archive --restore` and `--attach`: a month comes back from its file, or from its table.

What comes back is held against the erased users first. It gets into the table at the last step, in which the roll-up
waits; until then the table is as it was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions.archive import OTHER_WAIT_S
from consumer.maintenance.table_partitions.archive_file import Manifest, content, demand_equal
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.locks import Lock, short_transaction, under_lock
from consumer.maintenance.table_partitions.months import business_zone
from consumer.maintenance.table_partitions.screening import Screening
from consumer.maintenance.table_partitions.shape import Shape, read_shape
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import exclusive


@dataclass(frozen=True, slots=True)
class Restored:
    """A month that is back: rows that it has brought, rows that had come for the month since it was archived, and rows
    that stayed away because their users were erased.
    """

    month: str
    partition: str
    rows: int
    moved: int
    erased: int
    lock: Lock


async def restore(target: Target, *, manifest: Path, timezone: str, keys: Sequence[Key] = ()) -> Restored:
    """Bring a month back from its file. The command may be run again.

    :param manifest: the manifest; the file lies beside it
    :param keys: by which erased users are known
    :raises ArchiveError: file and manifest do not agree, or the month cannot come back
    :raises Unavailable: users were erased under a key that is not set here
    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as for a conversion
    """
    described = Manifest.read(manifest)
    demand_equal(described, manifest.parent / described.file)
    async with _return(target, date.fromisoformat(f"{described.month}-01"), keys) as back:
        await back.load(described, manifest.parent / described.file)
        return await back.attach(timezone)


async def attach(target: Target, *, month: date, timezone: str, keys: Sequence[Key] = ()) -> Restored:
    """Put a month back whose archiving was interrupted: its table becomes a partition again. Errors as in `restore`."""
    async with _return(target, month, keys) as back:
        await back.take_up()
        return await back.attach(timezone)


@asynccontextmanager
async def _return(target: Target, month: date, keys: Sequence[Key]) -> AsyncIterator[_Return]:
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        yield _Return(db, await read_shape(db), month, Screening(db, keys))


class _Return:
    """One month on its way back."""

    def __init__(self, db: AdminConnection, shape: Shape, month: date, screening: Screening) -> None:
        self._db, self._shape, self._month, self._screening = db, shape, month, screening
        self._name = f"{month:%Y-%m}"
        self._partition = f"ai_dialogue_log_{month:%Y_%m}"
        self._rows = self._erased = self._moved = 0

    async def load(self, manifest: Manifest, path: Path) -> None:
        """The rows of a file in a table of their own, their ids kept."""
        async with short_transaction(self._db, 0):
            self._demand_columns(manifest.columns)
            await self._demand_away()
            await self._db.execute(load("partition_restore_table").format(**self._places))
            await self._db.execute(load("partition_bound").format(**self._places))
            await self._db.copy_in(self._partition, _unquoted(manifest.columns), content(path))
            self._rows = manifest.rows
            self._erased = await self._screening.clean(self._partition)
            [row] = await self._db.rows(load("partition_restored_twice").format(**self._places))
            if row["doubled"]:
                raise ArchiveError(f"{row['doubled']} ids of {path} are in ai_dialogue_log already")
            await self._db.execute(
                f"INSERT INTO known_ids (id) SELECT id FROM {self._partition} ON CONFLICT (id) DO NOTHING"  # noqa: S608
            )

    async def take_up(self) -> None:
        """The table of a month whose archiving was interrupted."""
        async with short_transaction(self._db, 0):
            self._partition = await self._demand_stuck()
            await self._db.execute(load("partition_bound").format(**self._places))
            [found] = await self._db.rows(load("partition_describe").format(**self._places))
            self._rows = found["rows"]
            self._erased = await self._screening.clean(self._partition)

    async def attach(self, timezone: str) -> Restored:
        """Make the table a partition."""
        zone, screened, erased = await business_zone(self._db, timezone), self._screening.version, 0

        async def attach() -> None:
            nonlocal erased
            if await self._screening.hold() != screened:  # by what is committed: this may be tried more than once
                erased = await self._screening.clean(self._partition)
            [row] = await self._db.rows(load("partition_attach"), self._month, self._partition)
            self._moved = row["moved"]
            await self._db.execute(f"ALTER TABLE {self._partition} DROP CONSTRAINT within_its_month")
            await self._db.rows(load("partition_forget_archive"), self._month, zone)

        lock = await under_lock(self._db, f"attach {self._name}", load("partition_restore_lock"), attach)
        erased += self._erased
        return Restored(self._name, self._partition, self._rows - erased, self._moved, erased, lock)

    @property
    def _places(self) -> dict[str, str]:
        return {"partition": self._partition, "month": self._name}

    async def _demand_away(self) -> None:
        problems = {
            "attached": f"{self._name} is there already",
            "detached": _UNFINISHED.format(month=self._name),
            "exported": _UNFINISHED.format(month=self._name),
            "in the way": f"there is a table {self._partition} that is no partition: move it out of the way",
        }
        for row in await self._db.rows(load("partition_archive_state"), self._month, self._partition):
            if row["phase"] in problems:
                raise ArchiveError(problems[row["phase"]])

    async def _demand_stuck(self) -> str:
        """The table of the month."""
        states = await self._db.rows(load("partition_archive_state"), self._month, self._partition)
        found = {row["phase"]: row["partition"] for row in states}
        if "attached" in found:
            raise ArchiveError(f"{self._name} is there already")
        if "dropped" in found:
            raise ArchiveError(f"{self._name} is in its file: bring it back with --restore")
        stuck: str | None = found.get("detached") or found.get("exported")
        if stuck is None:
            raise ArchiveError(f"{self._name} was not on its way out of the table")
        return stuck

    def _demand_columns(self, columns: Sequence[str]) -> None:
        if self._shape.kind != "p":
            raise ArchiveError(
                "ai_dialogue_log is not partitioned: copy the file into it with psql, as the manual says"
            )
        if missing := set(columns) - set(self._shape.columns):
            raise ArchiveError(f"ai_dialogue_log has no column {', '.join(sorted(missing))}, which the file has")


_UNFINISHED = (
    "archiving {month} is not finished: run `ragledger partition archive --before` again, or put it back with"
    " `ragledger partition archive --attach {month}`"
)


def _unquoted(columns: Sequence[str]) -> list[str]:
    """asyncpg quotes names itself."""
    return [column[1:-1].replace('""', '"') if column.startswith('"') else column for column in columns]
