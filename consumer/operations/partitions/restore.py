"""`ragledger partition archive --restore`: a month comes back from its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from consumer.adapters.admin import AdminConnection, connect
from consumer.operations.migrate import history
from consumer.operations.partitions.archive import OTHER_WAIT_S
from consumer.operations.partitions.archive_file import Manifest, content, demand_equal
from consumer.operations.partitions.errors import ArchiveError
from consumer.operations.partitions.locks import Lock, short_transaction, under_lock
from consumer.operations.partitions.shape import Shape, read_shape
from consumer.operations.queries import query


@dataclass(frozen=True, slots=True)
class Restored:
    """A month that is back: rows out of the file, and rows that had come for the month since it was archived."""

    month: str
    partition: str
    rows: int
    moved: int
    lock: Lock


async def restore(dsn: str, *, manifest: Path, timezone: str) -> Restored:
    """Bring a month back. Until the last step the table is as it was, and the command may be run again.

    :param manifest: the manifest; the file lies beside it
    :raises ArchiveError: file and manifest do not agree, or the month cannot come back
    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as for a conversion
    """
    described = Manifest.read(manifest)
    demand_equal(described, manifest.parent / described.file)
    async with history.exclusive(dsn, OTHER_WAIT_S), connect(dsn) as db:
        job = _Restore(db, await read_shape(db), described, manifest.parent / described.file)
        return await job.run(timezone)


class _Restore:
    def __init__(self, db: AdminConnection, shape: Shape, manifest: Manifest, path: Path) -> None:
        self._db, self._shape, self._manifest, self._path = db, shape, manifest, path
        self._month = date.fromisoformat(f"{manifest.month}-01")
        self._partition = f"ai_dialogue_log_{self._month:%Y_%m}"
        self._moved = 0

    async def run(self, timezone: str) -> Restored:
        await self._load()

        async def attach() -> None:
            [row] = await self._db.rows(query("partition_attach"), self._month, self._partition)
            self._moved = row["moved"]
            await self._db.execute(f"ALTER TABLE {self._partition} DROP CONSTRAINT within_its_month")
            await self._db.rows(query("partition_forget_archive"), self._month, timezone)

        lock = await under_lock(self._db, f"attach {self._manifest.month}", query("partition_restore_lock"), attach)
        return Restored(self._manifest.month, self._partition, self._manifest.rows, self._moved, lock)

    async def _load(self) -> None:
        """The rows in a table of their own, their ids kept."""
        async with short_transaction(self._db, 0):
            self._demand_fitting(await self._db.rows(query("partition_archive_state"), self._month, self._partition))
            places = {"partition": self._partition, "month": self._manifest.month}
            await self._db.execute(query("partition_restore_table").format(**places))
            await self._db.copy_in(self._partition, _unquoted(self._manifest.columns), content(self._path))
            [row] = await self._db.rows(query("partition_restored_twice").format(**places))
            if row["doubled"]:
                raise ArchiveError(f"{row['doubled']} ids of {self._path} are in ai_dialogue_log already")
            await self._db.execute(
                f"INSERT INTO known_ids (id) SELECT id FROM {self._partition} ON CONFLICT (id) DO NOTHING"  # noqa: S608
            )

    def _demand_fitting(self, states: Sequence[dict[str, str]]) -> None:
        if self._shape.kind != "p":
            raise ArchiveError(
                "ai_dialogue_log is not partitioned: copy the file into it with psql, as the manual says"
            )
        if missing := set(self._manifest.columns) - set(self._shape.columns):
            raise ArchiveError(f"ai_dialogue_log has no column {', '.join(sorted(missing))}, which the file has")
        month = self._manifest.month
        problems = {
            "attached": f"{month} is there already",
            "detached": f"archiving {month} is not finished: run `ragledger partition archive --before` again",
            "exported": f"archiving {month} is not finished: run `ragledger partition archive --before` again",
            "in the way": f"there is a table {self._partition} that is no partition: move it out of the way",
        }
        for state in states:
            if state["phase"] in problems:
                raise ArchiveError(problems[state["phase"]])


def _unquoted(columns: Sequence[str]) -> list[str]:
    """asyncpg quotes names itself."""
    return [column[1:-1].replace('""', '"') if column.startswith('"') else column for column in columns]
