"""Checks the migrations: whether all have run, and whether the objects that they made still exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from consumer.admin import migrate
from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, warning
from consumer.admin.migrate.verify import check_objects
from consumer.ingest.erased import Key
from consumer.postgres.login import Login
from consumer.postgres.queries import load

UP = "ragledger migrate up"


async def check_schema(context: CheckContext) -> list[Finding]:
    """Report pending, changed or unknown migrations; if there are none, missing or broken objects; invalid indexes."""
    try:
        status = await migrate.status(Login(context.settings.postgres))
    except migrate.MigrationError as problem:
        return [error("migrations", str(problem), "the message says what to do")]
    found = [*_migrations(status.migrations)]
    keys = [Key(secret) for secret in context.settings.erasure.secrets]
    if all(finding.fix is None for finding in found):
        found += [_check(check) for check in await check_objects(context.db, keys) if not check.ok]
    return [*found, *await _invalid_indexes(context)]


def _migrations(versions: Sequence[migrate.MigrationStatus]) -> Iterator[Finding]:
    pending = [version.name for version in versions if version.state is migrate.State.PENDING]
    if pending:
        yield error("migrations", f"not applied: {', '.join(pending)}", UP)
    for version in versions:
        if version.state is migrate.State.CHANGED:
            fix = "restore the applied file; `ragledger migrate up` shows both checksums and the alternative"
            yield error("migrations", f"{version.name}: {version.reason}", fix)
        if version.state is migrate.State.UNKNOWN:
            yield warning("migrations", f"{version.name}: {version.reason}", "use the newest ragledger everywhere")
    if not pending:
        yield fine("migrations", f"{sum(one.state is migrate.State.APPLIED for one in versions)} applied")


def _check(check: migrate.Check) -> Finding:
    found, _, fix = check.detail.partition(": ")
    return error(check.name, found, fix or "ragledger migrate verify")


async def _invalid_indexes(context: CheckContext) -> list[Finding]:
    rows = await context.db.rows(load("doctor_invalid_indexes"))
    return [
        warning(
            f"index {row['name']}",
            f"invalid: its build did not finish; it slows down every write to {row['table_name']} and no query uses it",
            f"DROP INDEX CONCURRENTLY {row['name']}",
        )
        for row in rows
    ]
