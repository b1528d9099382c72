"""One curve: one sort of ids, one shape of the table, and what a row costs at each size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.errors import BenchError
from bench.growth.table import Cost, GrowingTable
from bench.servers import Servers, started_servers
from consumer.settings import variable

SHAPES = ("plain", "partitioned")


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
            _partition(servers)
        table, costs = GrowingTable(servers, ids), []
        for size in sizes:
            tell(f"{shape}, {ids}: growing to {size:,} rows")
            table.grow_to(size)
            costs.append(table.measure())
            tell(f"{shape}, {ids}: {costs[-1].postgres_us:.1f} µs of PostgreSQL's CPU for a row")
        return Curve(ids, shape, costs)


def _partition(servers: Servers) -> None:
    """As an operator would."""
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
