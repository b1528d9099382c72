"""One curve: one sort of ids, one shape of the table, and what a row costs at each size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.errors import BenchError
from bench.growth.table import FIRST_DAY, ROWS_A_DAY, Cost, GrowingTable
from bench.servers import Servers, started_servers
from consumer.settings.model import variable

SHAPES = ("plain", "partitioned")
_MAKE_MONTHS = """
SELECT make_dialogue_partition(month::date, 0, NULL)
FROM generate_series(%s::timestamp, %s::timestamp, interval '1 month') AS month
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """What was found, smallest table first."""

    ids: str
    shape: str
    costs: Sequence[Cost]


def measure(ids: str, shape: str, sizes: Sequence[int], tell: Callable[[str], None]) -> Curve:
    """Fill and measure, size by size, on a server of its own.

    :raises BenchError: the table cannot be partitioned
    """
    with started_servers(tell) as servers:
        if shape == "partitioned":
            _partition(servers, FIRST_DAY + timedelta(days=max(sizes) // ROWS_A_DAY + 1))
        table, costs = GrowingTable(servers, ids), []
        for size in sizes:
            tell(f"{shape}, {ids}: growing to {size:,} rows")
            table.grow_to(size)
            costs.append(table.measure())
            tell(f"{shape}, {ids}: {costs[-1].postgres_us:.1f} µs of PostgreSQL's CPU for a row")
        return Curve(ids, shape, costs)


def _partition(servers: Servers, last_day: datetime) -> None:
    """As an operator would, with a partition for each month that is going to be filled."""
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "partition", "convert"],
        env={**os.environ, variable("postgres", "dsn"): servers.postgres.dsn},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the table cannot be partitioned (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
    servers.connection.execute(_MAKE_MONTHS, (FIRST_DAY, last_day))
