"""Checks the database server: version, encoding, whether it accepts writes, and TLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, warning
from consumer.postgres.queries import load
from consumer.settings.dsn_parameters import VERIFIED

OLDEST, NEWEST = 15, 18


def unreachable(problem: str) -> Finding:
    """Return the finding for a failed connection."""
    return error(
        "postgresql",
        problem,
        "start it, or correct RAGLEDGER_POSTGRES__DSN, or the output of RAGLEDGER_POSTGRES__PASSWORD_COMMAND",
    )


async def check_server(context: CheckContext) -> list[Finding]:
    """Check version, encoding, read-only state and TLS."""
    (row,) = await context.db.rows(load("doctor_server"))
    return [*_version(row), *_encoding(row), *_writable(row), *_tls(context)]


def _version(row: dict[str, Any]) -> Iterator[Finding]:
    major = row["version_number"] // 10_000
    found = f"version {row['version']}, database {row['database']}, role {row['role']}"
    if major < OLDEST:
        yield error("postgresql", f"{found}: too old", f"upgrade to PostgreSQL {OLDEST} or newer")
    elif major > NEWEST:
        yield warning("postgresql", f"{found}: not tested with this ragledger", "use a newer ragledger")
    else:
        yield fine("postgresql", found)


def _encoding(row: dict[str, Any]) -> Iterator[Finding]:
    if row["encoding"] != "UTF8":
        found = f"the encoding of the database is {row['encoding']}: it rejects text that it cannot represent"
        fix = "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0, and use it in RAGLEDGER_POSTGRES__DSN"
        yield error("encoding", found, fix)


def _writable(row: dict[str, Any]) -> Iterator[Finding]:
    if row["is_standby"]:
        yield error("read-only", "this server is a standby and accepts no writes", "name the primary in the DSN")
    elif row["is_read_only"]:
        fix = (
            f"ALTER ROLE {row['role']} SET default_transaction_read_only = off (or ALTER DATABASE, if it is set there)"
        )
        yield error("read-only", "transactions are read-only by default", fix)


def _tls(context: CheckContext) -> Iterator[Finding]:
    dsn = context.settings.postgres.parsed
    mode, host = dsn.sslmode or "prefer", dsn.host or "localhost"
    if host.startswith(("127.", "/", "%2F")) or host in ("localhost", "::1"):
        yield fine("postgresql tls", "not needed on the same machine")
    elif mode in VERIFIED:
        yield fine("postgresql tls", f"the server is verified (sslmode={mode})")
    else:
        found = f"the certificate of {host} is not verified (sslmode={mode}): an impostor could receive the password"
        yield warning("postgresql tls", found, "add sslmode=verify-full and sslrootcert=… to RAGLEDGER_POSTGRES__DSN")
