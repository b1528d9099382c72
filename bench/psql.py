"""Runs psql, the reference: `\\copy` of ready rows, in one transaction for each table."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bench.errors import BenchError
from bench.events import COLUMNS
from bench.servers import Servers
from consumer.devstack import EmbeddedError, find_binaries

TIMEOUT_S = 1800.0


def copy_in(servers: Servers, files: Mapping[str, Path], file_format: str) -> None:
    """Copy each file into its table.

    :raises BenchError: psql is not there, or fails
    """
    _run(
        servers,
        [
            f"\\copy {table} ({', '.join(COLUMNS[table])}) FROM '{file}' (FORMAT {file_format})"
            for table, file in files.items()
        ],
    )


def copy_out(servers: Servers, table: str, file: Path) -> None:
    """Write a table's rows in the order of their ids to a file in binary COPY format.

    :raises BenchError: psql is not there, or fails
    """
    query = f"SELECT {', '.join(COLUMNS[table])} FROM {table} ORDER BY id"
    _run(servers, [f"\\copy ({query}) TO '{file}' (FORMAT binary)"])


def _run(servers: Servers, commands: list[str]) -> None:
    log = servers.workspace.directory / "psql.log"
    options = [part for command in commands for part in ("-c", command)]
    process = servers.workspace.spawn(
        [find_psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", *options, servers.postgres.dsn], log=log
    )
    try:
        code = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise BenchError(f"psql did not end within {TIMEOUT_S:.0f} s: try fewer --events.") from None
    if code:
        raise BenchError(f"psql failed with exit code {code}:\n{log.read_text(errors='replace')[-2000:]}")


def find_psql() -> Path:
    """Return the psql of the embedded server, or else the psql of the system.

    :raises BenchError: psql is not installed
    """
    try:
        bundled = find_binaries(18) / "psql"
    except EmbeddedError as error:
        raise BenchError(str(error)) from error
    if bundled.is_file():
        return bundled
    found = shutil.which("psql")
    if found is None:
        raise BenchError("the psql client is missing. Install it (on Debian: apt-get install postgresql-client).")
    return Path(found)
