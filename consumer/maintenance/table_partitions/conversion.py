"""`ragledger partition convert`: from one table to monthly partitions, step by step, while others go on writing.

    made      a partitioned table beside the old one, empty, with everything the old one has
    mirrored  what is written to the old table is written to the new one too, in the same transaction
    copied    what was there before is copied, some blocks at a time
    verified  both hold the same rows
    switched  the new table has the old one's name
    done      the old table is gone

Each step ends with its name in partition_conversions, in the transaction of its work. So it may be killed at any point,
and goes on after the last step that was done. Until it is switched, all of it can be taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from consumer.maintenance.table_partitions.copying import copy_blocks
from consumer.maintenance.table_partitions.errors import NotEqualError, ObstacleError, PartitionError
from consumer.maintenance.table_partitions.locks import Lock, short_transaction, under_lock
from consumer.maintenance.table_partitions.shape import read_shape
from consumer.postgres.admin import AdminConnection, Target, connect
from consumer.postgres.queries import load
from consumer.postgres.schema_lock import exclusive

OTHER_WAIT_S = 30.0

Told = Callable[[str, int, int | None], None]
"""Is given the step, how many blocks of the old table are copied, and how many there are."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What a conversion, or taking one back, has come to. `rows` were compared; `seconds` are those of this run."""

    state: str
    rows: int | None
    locks: tuple[Lock, ...]
    seconds: float


def silent(_step: str, _copied: int, _blocks: int | None) -> None:
    """Take progress and say nothing."""


async def convert(target: Target, *, months_ahead: int, told: Told = silent) -> Converted:
    """Convert ai_dialogue_log, or go on where an earlier run was interrupted. Two connections, as the table's owner.

    :raises PartitionError: a subclass says what is wrong, see :mod:`consumer.maintenance.table_partitions.errors`
    :raises MigrationError: a migration, or another conversion, is running
    :raises DatabaseError: the connection failed, or the database refused a statement
    """
    started = monotonic()
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        conversion = Conversion(db, months_ahead, told)
        state = await conversion.run()
        return Converted(state, conversion.rows, tuple(conversion.locks), monotonic() - started)


async def abort(target: Target) -> Converted:
    """Take a conversion back that has not switched yet: ai_dialogue_log is as it was before.

    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as :func:`convert`
    """
    started = monotonic()
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        conversion = Conversion(db, 0, silent)
        state = await conversion.abort()
        return Converted(state, None, tuple(conversion.locks), monotonic() - started)


class Conversion:
    """The steps. `rows` is how many rows were compared, `locks` what was locked, both in this run."""

    def __init__(self, db: AdminConnection, months_ahead: int, told: Told) -> None:
        """Nothing is done yet."""
        self.rows: int | None = None
        self.locks: list[Lock] = []
        self._db, self._months_ahead, self._told = db, months_ahead, told
        self._columns: Sequence[str] = ()

    async def run(self) -> str:
        """Take every step that is left; the state it ends in."""
        shape = await read_shape(self._db)
        self._columns = shape.columns
        phase = await self._phase()
        if phase is None and shape.kind == "p":
            return "already partitioned"
        steps = {
            None: self._make,
            "made": self._mirror,
            "mirrored": self._copy,
            "copied": self._compare,
            "verified": self._switch,
            "switched": self._drop,
        }
        while True:
            await steps[phase]()
            phase = await self._phase()
            if phase is None:
                return "done"

    async def abort(self) -> str:
        """Drop the copy; the state it ends in."""
        await read_shape(self._db)
        phase = await self._phase()
        if phase is None:
            return "no conversion is under way"
        if phase == "switched":
            raise PartitionError(
                "The table has been replaced already, and the old one is only waiting to be dropped:"
                " run `ragledger partition convert` once more to end it."
            )
        await self._under_lock("take it back", "LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE", self._drop_copy)
        return "aborted"

    async def _phase(self) -> str | None:
        rows = await self._db.rows(load("partition_conversion"))
        return rows[0]["phase"] if rows else None

    async def _under_lock(self, step: str, lock: str, work: Callable[[], Awaitable[None]]) -> None:
        self._told(step, 0, None)
        self.locks.append(await under_lock(self._db, step, lock, work))

    async def _note(self, phase: str) -> None:
        await self._db.rows(load("partition_note_phase"), phase)

    async def _run_all(self, name: str, *arguments: object) -> None:
        """Run the statements that a query gives."""
        for row in await self._db.rows(load(name), *arguments):
            await self._db.execute(row["statement"])

    # ── made ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _make(self) -> None:
        await self._under_lock(
            "make the new table", "LOCK TABLE ai_dialogue_log IN ACCESS SHARE MODE", self._make_table
        )

    async def _make_table(self) -> None:
        obstacles = [row["obstacle"] for row in await self._db.rows(load("partition_obstacles"))]
        if obstacles:
            raise ObstacleError(obstacles)
        months = [row["month"] for row in await self._db.rows(load("partition_months"), self._months_ahead)]
        await self._db.execute(load("partition_make_table"))
        await self._run_all("partition_undress_tables")
        await self._run_all("partition_definition")
        await self._run_all("partition_make_partitions", months)
        await self._run_all("partition_foreign_keys")
        await self._db.execute(load("partition_begin_conversion"))

    # ── mirrored ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def _mirror(self) -> None:
        await self._under_lock(
            "mirror what is written", "LOCK TABLE ai_dialogue_log IN SHARE ROW EXCLUSIVE MODE", self._add_mirror
        )

    async def _add_mirror(self) -> None:
        changes = ", ".join(f"{column} = excluded.{column}" for column in self._columns)
        functions = load("partition_mirror_functions").format(columns=", ".join(self._columns), changes=changes)
        await self._db.execute(functions)
        await self._run_all("partition_undress_mirror")
        await self._db.execute(load("partition_mirror_triggers"))

    # ── copied, verified ─────────────────────────────────────────────────────────────────────────────────────────

    async def _copy(self) -> None:
        [conversion] = await self._db.rows(load("partition_conversion"))
        await copy_blocks(
            self._db,
            self._columns,
            (conversion["next_block"], conversion["end_block"]),
            lambda copied, blocks: self._told("copy", copied, blocks),
        )
        await self._under_lock("settle deletions", "LOCK TABLE ai_dialogue_log IN SHARE MODE", self._end_copying)

    async def _end_copying(self) -> None:
        """Look at what was deleted meanwhile. Nobody writes now, so that nothing can come back unseen."""
        await self._db.execute(load("partition_settle"))
        await self._note("copied")

    async def _compare(self) -> None:
        """Hold both tables against each other. A transaction that was old enough may still have deleted unseen rows."""
        self._told("compare", 0, None)
        found = await self._read_both()
        if not _equal(found):
            await self._under_lock("settle deletions", "LOCK TABLE ai_dialogue_log IN SHARE MODE", self._end_copying)
            found = await self._read_both()
        if not _equal(found):
            raise NotEqualError(", ".join(f"{name} {value}" for name, value in found.items()))
        self.rows = found["old_rows"]
        await self._note("verified")

    async def _read_both(self) -> Mapping[str, Any]:
        async with short_transaction(self._db, 0):
            await self._db.execute("ANALYZE ai_dialogue_log_new")
            [found] = await self._db.rows(load("partition_compare").format(columns=", ".join(self._columns)))
        return found

    # ── switched, done ───────────────────────────────────────────────────────────────────────────────────────────

    async def _switch(self) -> None:
        await self._under_lock(
            "replace the table", "LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE", self._replace_table
        )

    async def _replace_table(self) -> None:
        drifted = [row["name"] for row in await self._db.rows(load("partition_column_drift"))]
        if drifted:
            raise NotEqualError(f"somebody has changed {', '.join(drifted)} since it was made")
        await self._db.execute(load("partition_settle"))
        await self._db.execute(load("partition_unmirror"))
        await self._run_all("partition_switch")
        await self._db.rows("SELECT admit_dialogue_writers()")
        await self._note("switched")

    async def _drop(self) -> None:
        await self._under_lock(
            "drop the old table", "LOCK TABLE ai_dialogue_log_before IN ACCESS EXCLUSIVE MODE", self._drop_old
        )

    async def _drop_old(self) -> None:
        await self._db.execute("DROP TABLE ai_dialogue_log_before")
        await self._note("done")

    # ── aborted ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def _drop_copy(self) -> None:
        await self._db.execute(load("partition_unmirror"))
        await self._db.execute("DROP TABLE ai_dialogue_log_new; TRUNCATE known_ids")
        await self._note("aborted")


def _equal(found: Mapping[str, Any]) -> bool:
    return bool(found["same_content"]) and found["old_rows"] == found["new_rows"] == found["ids"]
