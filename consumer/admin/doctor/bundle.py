"""One document for a maintainer: settings without secrets, versions, schema, ledger, findings, log lines. It
contains no event text. At the end, every secret of the settings is removed wherever it occurs.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from consumer.admin import migrate
from consumer.admin.doctor.findings import Report
from consumer.admin.doctor.log_lines import LogLines
from consumer.admin.ledger import read_ledger
from consumer.ingest.ports import StoreError
from consumer.postgres.admin import DatabaseError
from consumer.postgres.client import Database
from consumer.postgres.login import Login
from consumer.settings.loading import ignored
from consumer.settings.model import Settings
from consumer.settings.shown import effective, secrets, without

PACKAGES = (
    *("ragledger", "aiohttp", "aiokafka", "asyncpg", "cramjam", "msgspec", "prometheus-client", "pydantic"),
    *("structlog", "tenacity", "uvloop"),
)


async def gather(settings: Settings, database: Database, findings: Report, log: LogLines | None) -> Mapping[str, Any]:
    """Return the document as values that JSON can hold, except dates. If a server does not answer, the problem
    takes the place of its data. The log is None if none was given.
    """
    document = {
        "made_at": datetime.now(UTC),
        "versions": _versions(),
        "settings": {one.variable: _plain(one.value) for one in effective(settings)},
        "ignored_settings": list(ignored(settings)),
        "schema": await _schema(settings),
        "ledger": await _ledger(settings, database),
        "findings": [asdict(finding) for finding in findings.findings],
        "log": None if log is None else {"lines": list(log.lines), "left_out": log.left_out},
    }
    found: Mapping[str, Any] = without(secrets(settings), document)
    return found


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _versions() -> Mapping[str, str]:
    found = {"python": sys.version, "system": platform.platform(), "machine": platform.machine()}
    return found | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


async def _schema(settings: Settings) -> Any:
    try:
        return asdict(await migrate.status(Login(settings.postgres)))
    except (DatabaseError, migrate.MigrationError) as error:
        return {"problem": str(error)}


async def _ledger(settings: Settings, database: Database) -> Any:
    try:
        found = await read_ledger(settings, database)
    except StoreError as error:
        return {"problem": str(error)}
    return {
        "holds": found.holds,
        "caught_up": found.is_caught_up,
        "traces_waiting": found.traces_waiting,
        "kafka_problem": found.kafka_problem,
        "refused": [str(refusal) for refusal in found.refused],
        "partitions": [asdict(line) for line in found.lines],
    }
