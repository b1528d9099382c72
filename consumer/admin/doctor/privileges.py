"""Checks the role of the service: missing privileges, unneeded privileges, and whether it may use COPY."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from consumer.admin.doctor.context import CheckContext
from consumer.admin.doctor.findings import Finding, error, fine, note, warning
from consumer.admin.migrate import expected
from consumer.admin.migrate.roles import GRANTS, INGEST, ROLES, Grant
from consumer.postgres.queries import load

TABLES = sorted({grant.table for grant in GRANTS[INGEST]})
SECURED = ("ai_dialogue_log", "provenance")


async def check_privileges(context: CheckContext) -> list[Finding]:
    """Check missing and unneeded privileges, those of other roles, and whether COPY is accepted from this role."""
    (role,) = await context.db.rows(load("doctor_role"), TABLES)
    held = await context.db.rows(load("doctor_privileges"), TABLES)
    hidden = [table for table in SECURED if (await context.db.rows(load("rows_hidden"), table))[0]["hidden"]]
    active = (await context.db.rows("SELECT row_security_active($1) AS active", SECURED[0]))[0]["active"]
    own = [*_lacking(role, held, context.database), *_beyond(role, held), *_hidden(role, hidden), *_way(role, active)]
    named = [*expected.COLUMNS, *expected.VIEWS]
    strangers = await context.db.rows(load("doctor_strangers"), named, [*ROLES, context.role])
    (schema,) = await context.db.rows(load("doctor_schema_rights"))
    return [*own, *_strangers(strangers), *_schema(schema)]


def _strangers(rows: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for row in rows:
        found = f"{row['role']} has rights on {len(row['tables'])} tables or views, given by default privileges"
        fix = f"REVOKE ALL ON {', '.join(row['tables'])} FROM {row['role']}; do nothing if this is intended"
        yield warning("privileges", found, fix)


def _schema(row: Mapping[str, Any]) -> Iterator[Finding]:
    if row["is_open"]:
        found = f"every role may create tables and functions in the schema {row['name']} of ragledger"
        yield warning("privileges", found, f"REVOKE CREATE ON SCHEMA {row['name']} FROM PUBLIC")


def _lacking(role: Mapping[str, Any], held: Sequence[Mapping[str, Any]], database: str) -> Iterator[Finding]:
    lacking = [grant for grant in sorted(GRANTS[INGEST]) if not _holds(held, grant)]
    if lacking:
        give = _give(role, "; ".join(grant.sql(role["name"]) for grant in lacking))
        yield error("privileges", f"{role['name']} lacks {', '.join(map(str, lacking))}", give)
    if not role["may_stage"]:
        fix = f"GRANT TEMPORARY ON DATABASE {database} TO {role['name']}"
        yield error("privileges", f"{role['name']} may not make temporary tables: duplicates cannot be skipped", fix)


def _give(role: Mapping[str, Any], otherwise: str) -> str:
    """Return the grant of the ingest role, or `otherwise` if that role is already granted or missing."""
    by_role = role["ingest_exists"] and not role["is_ingest"]
    return f"GRANT {INGEST} TO {role['name']}" if by_role else otherwise


def _holds(held: Sequence[Mapping[str, Any]], grant: Grant) -> bool:
    """Whether a right is held on the table or on each of its columns. A missing table counts as granted."""
    of_table = [row for row in held if row["table_name"] == grant.table]
    rights = [row["columns"] for row in of_table if row["privilege"] == grant.privilege]
    if None in rights:
        return True
    return bool(grant.columns) and any(set(columns) >= set(grant.columns) for columns in rights)


def _beyond(role: Mapping[str, Any], held: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    name = role["name"]
    other = f"CREATE ROLE ledger_service LOGIN; GRANT {INGEST} TO ledger_service; and use it in RAGLEDGER_POSTGRES__DSN"
    if role["is_superuser"]:
        yield warning("privileges", f"{name} is a superuser: a stolen password gives access to the whole server", other)
    elif role["owned"]:
        yield warning("privileges", f"{name} owns the tables: it can drop them, and sees every dialogue", other)
    elif role["may_more"]:
        fix = f"ALTER ROLE {name} NOCREATEROLE NOCREATEDB NOREPLICATION"
        yield warning("privileges", f"{name} may create roles or databases, or replicate", fix)
    else:
        yield from _too_much(name, held)


def _too_much(name: str, held: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    whole = {Grant(row["table_name"], row["privilege"]) for row in held if row["columns"] is None}
    beyond = sorted(whole - {grant for grant in GRANTS[INGEST] if not grant.columns})
    if beyond:
        fix = "; ".join(grant.revoke_sql(name) for grant in beyond)
        yield warning("privileges", f"{name} holds unneeded privileges: {', '.join(map(str, beyond))}", fix)


def _hidden(role: Mapping[str, Any], tables: Sequence[str]) -> Iterator[Finding]:
    for table in tables:
        policy = f"CREATE POLICY {role['name']}_reaches_all ON {table} TO {role['name']} USING (true) WITH CHECK (true)"
        found = f"row-level security hides rows of {table} from {role['name']}: it cannot write rows or compute days"
        yield error("row security", found, _give(role, policy))


def _way(role: Mapping[str, Any], secured: bool) -> Iterator[Finding]:
    if secured:
        found = "row-level security applies: rows go through a temporary table, which costs PostgreSQL a little more"
        yield note("copy", found, f"nothing needed; for COPY, as a superuser: ALTER ROLE {role['name']} BYPASSRLS")
    else:
        yield fine("copy", "rows are written with COPY")
