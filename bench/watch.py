"""Finds the times at which the first and the last row become visible."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench import database
from bench.dataset import Rows
from bench.errors import BenchError
from bench.servers import Connection

POLL_S = 0.025
START_TIMEOUT_S = 120.0
# Ten times the time of the slowest peer.
SECONDS_A_ROW = 0.001
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class VisibleTimes:
    """Times of the monotonic clock, and the number of rows at the first poll that found any."""

    first: float
    first_rows: int
    last: float


def watch(
    connection: Connection, rows: Sequence[Rows], each_look: Callable[[], None], is_done: Callable[[], bool]
) -> VisibleTimes:
    """Poll until every row is visible. Counting is expensive, so it starts only when the last rows are visible.

    :param each_look: called at each poll; an exception that it raises ends the watch
    :param is_done: returns whether the work that makes no rows is done; called when all rows are visible
    :raises BenchError: the rows take too long
    """
    tables = [part.table for part in rows]
    total = sum(part.count for part in rows)
    _until(lambda: database.has_rows(connection, tables), each_look, START_TIMEOUT_S, "no row became visible")
    first, first_rows = time.monotonic(), database.count(connection, tables)
    patience = PATIENCE_S + SECONDS_A_ROW * total
    for part in rows:
        _until(
            lambda part=part: _last_rows_are_visible(connection, part),  # type: ignore[misc]
            each_look,
            patience,
            f"{part.table} is not complete",
        )
    _until(
        lambda: database.count(connection, tables) >= total, each_look, patience, f"not all {total} rows are visible"
    )
    _until(is_done, each_look, patience, "not every record is accounted for")
    return VisibleTimes(first, first_rows, time.monotonic())


def _last_rows_are_visible(connection: Connection, part: Rows) -> bool:
    return database.has_all(connection, part.table, part.last_ids)


def _until(is_so: Callable[[], bool], each_look: Callable[[], None], seconds: float, problem: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        each_look()
        if time.monotonic() > deadline:
            raise BenchError(f"{problem} after {seconds:.0f} s: see the log below, or try fewer --events")
        time.sleep(POLL_S)
