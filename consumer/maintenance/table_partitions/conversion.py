"""`ragledger partition convert`: converts the table to monthly partitions in steps, while writers continue.

made      an empty partitioned table exists beside the old one, with the same definition
mirrored  triggers write every change of the old table to the new one too, in the same transaction
copied    the earlier rows are copied, some blocks at a time
verified  both tables hold the same rows
switched  the new table has the name of the old one
done      the old table has been dropped

Each step stores its name in partition_conversions, in the transaction of its work. If the command is killed, the next
run continues after the last finished step. Until the switch, everything can be undone with --abort.
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

OnProgress = Callable[[str, int, int | None], None]
"""Called with the step, the number of copied blocks of the old table, and the number of its blocks."""


@dataclass(frozen=True, slots=True)
class Converted:
    """The result of a conversion or of an abort. `rows` is the number compared; `seconds` is the time of this run."""

    state: str
    rows: int | None
    locks: tuple[Lock, ...]
    seconds: float


def silent(_step: str, _copied: int, _blocks: int | None) -> None:
    """Ignore progress."""


async def convert(target: Target, *, months_ahead: int, on_progress: OnProgress = silent) -> Converted:
    """Convert ai_dialogue_log, or continue an interrupted run. It uses two connections, as the owner of the table.

    :raises PartitionError: a subclass names the problem, see :mod:`consumer.maintenance.table_partitions.errors`
    :raises MigrationError: a migration or another conversion is running
    :raises DatabaseError: the connection failed, or the database rejected a statement
    """
    started = monotonic()
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        conversion = Conversion(db, months_ahead, on_progress)
        state = await conversion.run()
        return Converted(state, conversion.rows, tuple(conversion.locks), monotonic() - started)


async def abort(target: Target) -> Converted:
    """Undo a conversion that has not switched the tables yet: ai_dialogue_log is as it was before.

    :raises PartitionError: :raises MigrationError: :raises DatabaseError: as :func:`convert`
    """
    started = monotonic()
    async with exclusive(target, OTHER_WAIT_S), connect(target) as db:
        conversion = Conversion(db, 0, silent)
        state = await conversion.abort()
        return Converted(state, None, tuple(conversion.locks), monotonic() - started)


class Conversion:
    """Runs the steps. `rows` counts the rows compared in this run, `locks` lists the locks taken in it."""

    def __init__(self, db: AdminConnection, months_ahead: int, on_progress: OnProgress) -> None:
        """Store the arguments; nothing is read or changed."""
        self.rows: int | None = None
        self.locks: list[Lock] = []
        self._db, self._months_ahead, self._on_progress = db, months_ahead, on_progress
        self._columns: Sequence[str] = ()

    async def run(self) -> str:
        """Run all remaining steps. Return the final state."""
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
        """Drop the copy. Return the final state."""
        await read_shape(self._db)
        phase = await self._phase()
        if phase is None:
            return "no conversion is under way"
        if phase == "switched":
            raise PartitionError(
                "The table has already been replaced; only the old table remains to be dropped:"
                " run `ragledger partition convert` again to finish."
            )
        await self._under_lock("take it back", "LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE", self._drop_copy)
        return "aborted"

    async def _phase(self) -> str | None:
        rows = await self._db.rows(load("partition_conversion"))
        return rows[0]["phase"] if rows else None

    async def _under_lock(self, step: str, lock: str, work: Callable[[], Awaitable[None]]) -> None:
        self._on_progress(step, 0, None)
        self.locks.append(await under_lock(self._db, step, lock, work))

    async def _note(self, phase: str) -> None:
        await self._db.rows(load("partition_note_phase"), phase)

    async def _run_all(self, name: str, *arguments: object) -> None:
        """Run the statements that a query returns."""
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
            lambda copied, blocks: self._on_progress("copy", copied, blocks),
        )
        await self._under_lock("settle deletions", "LOCK TABLE ai_dialogue_log IN SHARE MODE", self._end_copying)

    async def _end_copying(self) -> None:
        """Apply the deletions recorded during the copy. Writers are locked out, so no deleted row can return."""
        await self._db.execute(load("partition_settle"))
        await self._note("copied")

    async def _compare(self) -> None:
        """Compare both tables. If they differ, apply deletions again: an old transaction may have
        deleted rows after their copy.
        """
        self._on_progress("compare", 0, None)
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
            raise NotEqualError(f"the definition of {', '.join(drifted)} was changed after the copy was made")
        await self._db.execute(load("partition_settle"))
        await self._db.execute(load("partition_unmirror"))
        await self._run_all("partition_switch")
        await self._db.rows("SELECT admit_dialogue_writers()")
        await self._note("switched")

    async def _drop(self) -> None:
        lock = f"{load('partition_hold_copies')}; LOCK TABLE ai_dialogue_log_before IN ACCESS EXCLUSIVE MODE"
        await self._under_lock("drop the old table", lock, self._drop_old)

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
