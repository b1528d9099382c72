"""What the partition commands show while they work, and about locks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.progress import Progress, TaskID

from consumer.cli.output import print_table
from consumer.maintenance.table_partitions import Lock


class Bar:
    """A progress bar whose steps have different lengths."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("convert", total=None)

    def copied(self, step: str, done: int, total: int | None) -> None:
        """Show the progress of a step."""
        self._bar.update(self._task, description=step, completed=done, total=total)


def print_locks(locks: Sequence[Lock]) -> None:
    """Print a table of the locks that were taken."""
    rows = [(lock.step, lock.tries, lock.waited_ms, lock.held_ms) for lock in locks]
    print_table("Locks", ("step", "tries", "waited at most ms", "held ms"), rows)
