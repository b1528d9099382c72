"""`ragledger partition archive --restore` and `--attach`: restores a month from its file, or from its detached table.

Rows of erased users are deleted before the month is attached. The last step attaches it while the roll-up waits; until
then the table is unchanged.
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
from consumer.maintenance.table_partitions.places import Place, located
from consumer.maintenance.table_partitions.screening import Screening
from consumer.maintenance.table_partitions.shape import Shape, read_shape, unquoted
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import exclusive


@dataclass(frozen=True, slots=True)
class Restored:
    """A restored month.

    `rows` were restored, `moved` had arrived since the month was archived, `erased` were left out because their users
    were erased.
    """

    month: str
    partition: str
    rows: int
    moved: int
    erased: int
    lock: Lock


async def restore(target: Target, *, manifest: str | Path, timezone: str, keys: Sequence[Key] = ()) -> Restored:
    """Restore a month from its file, whatever its format is. The command may be repeated.

    :param manifest: path or URL of the manifest; the file is beside it
    :param keys: the erasure keys, which identify erased users
    :raises ArchiveError: file and manifest differ, or the month cannot be restored
    :raises Unavailable: users were erased with an erasure key that is not set here
    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as for a conversion
    """
    place, name = located(manifest)
    described = Manifest.read(place, name)
    demand_equal(described, place)
    async with _restoring(target, date.fromisoformat(f"{described.month}-01"), keys) as month:
        await month.load(described, place)
        return await month.attach(timezone)


async def attach(target: Target, *, month: date, timezone: str, keys: Sequence[Key] = ()) -> Restored:
    """Attach the table of a month whose archiving was interrupted. Raises as :func:`restore` does."""
    async with _restoring(target, month, keys) as restoring:
        await restoring.use_detached()
        return await restoring.attach(timezone)


@asynccontextmanager
async def _restoring(target: Target, month: date, keys: Sequence[Key]) -> AsyncIterator[_Month]:
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        yield _Month(db, await read_shape(db), month, Screening(db, keys))


class _Month:
    """Restores one month."""

    def __init__(self, db: AdminConnection, shape: Shape, month: date, screening: Screening) -> None:
        self._db, self._shape, self._month, self._screening = db, shape, month, screening
        self._name = f"{month:%Y-%m}"
        self._partition = f"ai_dialogue_log_{month:%Y_%m}"
        self._rows = self._erased = self._moved = 0

    async def load(self, manifest: Manifest, place: Place) -> None:
        """Load the rows of a file into a new table, without those of erased users, and reserve their ids."""
        self._demand_columns(manifest.columns)
        await under_lock(self._db, f"make room for {self._name}", load("partition_hold_copies"), self._make_room)
        async with short_transaction(self._db, 0):
            await self._db.execute(load("partition_restore_table").format(**self._names))
            await self._db.execute(load("partition_bound").format(**self._names))
            columns = list(map(unquoted, manifest.columns))  # asyncpg adds quotes of its own
            await self._db.copy_in(self._partition, columns, content(manifest, place))
            self._rows = manifest.rows
            self._erased = await self._screening.clean(self._partition)
            # An erasure that started meanwhile has not seen this table.
            if await self._screening.hold() != self._screening.version:
                self._erased += await self._screening.clean(self._partition)
            [row] = await self._db.rows(load("partition_restored_twice").format(**self._names))
            if row["doubled"]:
                address = place.address(manifest.file)
                raise ArchiveError(f"{row['doubled']} ids of {address} are already in ai_dialogue_log")
            await self._db.execute(
                f"INSERT INTO known_ids (id) SELECT id FROM {self._partition} ON CONFLICT (id) DO NOTHING"  # noqa: S608
            )

    async def _make_room(self) -> None:
        """Drop the table of an interrupted run."""
        await self._demand_absent()
        await self._db.execute(f"DROP TABLE IF EXISTS {self._partition}")

    async def use_detached(self) -> None:
        """Prepare the table of a month whose archiving was interrupted."""
        async with short_transaction(self._db, 0):
            self._partition = await self._detached_table()
            await self._db.execute(load("partition_bound").format(**self._names))
            [found] = await self._db.rows(load("partition_describe").format(**self._names))
            self._rows = found["rows"]
            self._erased = await self._screening.clean(self._partition)

    async def attach(self, timezone: str) -> Restored:
        """Attach the table as a partition."""
        zone, screened, erased = await business_zone(self._db, timezone), self._screening.version, 0

        async def attach() -> None:
            nonlocal erased
            if await self._screening.hold() != screened:  # recompute: an earlier try may have been rolled back
                erased = await self._screening.clean(self._partition)
            [row] = await self._db.rows(load("partition_attach"), self._month, self._partition)
            self._moved = row["moved"]
            await self._db.execute(f"ALTER TABLE {self._partition} DROP CONSTRAINT within_its_month")
            await self._db.rows(load("partition_forget_archive"), self._month, zone)

        lock = await under_lock(self._db, f"attach {self._name}", load("partition_restore_lock"), attach)
        erased += self._erased
        return Restored(self._name, self._partition, self._rows - erased, self._moved, erased, lock)

    @property
    def _names(self) -> dict[str, str]:
        return {"partition": self._partition, "month": self._name}

    async def _demand_absent(self) -> None:
        problems = {
            "attached": f"{self._name} is in the table already",
            "detached": _UNFINISHED.format(month=self._name),
            "exported": _UNFINISHED.format(month=self._name),
            "expired": f"retention is removing {self._name}: run `ragledger retention run` first",
            "in the way": f"a table {self._partition} exists that is not a partition: rename or move it",
        }
        for row in await self._db.rows(load("partition_archive_state"), self._month, self._partition):
            if row["phase"] in problems:
                raise ArchiveError(problems[row["phase"]])

    async def _detached_table(self) -> str:
        """Return the name of the detached table of the month."""
        states = await self._db.rows(load("partition_archive_state"), self._month, self._partition)
        found = {row["phase"]: row["partition"] for row in states}
        if "attached" in found:
            raise ArchiveError(f"{self._name} is in the table already")
        if "dropped" in found:
            raise ArchiveError(f"{self._name} is in its file: restore it with --restore")
        table: str | None = found.get("detached") or found.get("exported")
        if table is None:
            raise ArchiveError(f"{self._name} was not being archived")
        return table

    def _demand_columns(self, columns: Sequence[str]) -> None:
        if self._shape.kind != "p":
            raise ArchiveError(
                "ai_dialogue_log is not partitioned: copy a CSV file into it with psql, as the manual says"
            )
        if missing := set(columns) - set(self._shape.columns):
            raise ArchiveError(f"ai_dialogue_log has no column {', '.join(sorted(missing))}, which the file has")


_UNFINISHED = (
    "archiving {month} is not finished: run `ragledger partition archive --before` again, or attach the month"
    " again with `ragledger partition archive --attach {month}`"
)
