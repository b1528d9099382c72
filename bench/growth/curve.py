"""Measures one curve: the cost of a row at each size, for one sort of ids and one shape of the table."""

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
from consumer.settings.sources import variable

SHAPES = ("plain", "partitioned")
_MAKE_MONTHS = """
SELECT make_dialogue_partition(month::date, 0, NULL)
FROM generate_series(%s::timestamp, %s::timestamp, interval '1 month') AS month
"""


@dataclass(frozen=True, slots=True)
class Curve:
    """The results of one curve, smallest table first."""

    ids: str
    shape: str
    costs: Sequence[Cost]


def measure(ids: str, shape: str, sizes: Sequence[int], report: Callable[[str], None]) -> Curve:
    """Fill and measure the table, size by size, on its own server.

    :raises BenchError: the table cannot be partitioned
    """
    with started_servers(report) as servers:
        if shape == "partitioned":
            _partition(servers, FIRST_DAY + timedelta(days=max(sizes) // ROWS_A_DAY + 1))
        table, costs = GrowingTable(servers, ids), []
        for size in sizes:
            report(f"{shape}, {ids}: growing to {size:,} rows")
            table.grow_to(size)
            costs.append(table.measure())
            report(f"{shape}, {ids}: {costs[-1].postgres_us:.1f} µs of PostgreSQL's CPU for a row")
        return Curve(ids, shape, costs)


def _partition(servers: Servers, last_day: datetime) -> None:
    """Convert the table as an operator would, and make a table partition for each month that will be filled."""
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
