"""Compares policies, roles and grants with the expected ones. Pure: :mod:`verify` reads the facts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from consumer.admin.migrate import expected
from consumer.admin.migrate.checks import Check
from consumer.admin.migrate.roles import MIGRATOR, OWNER, ROLES, Grant, differences

_FILE = "0008_add_row_security.sql"
_FILES = {"dialogue_traces": "0021_add_traces.sql"}
_AGAIN = f"run {_FILE} again with psql"
# Each file grants rights on the objects it makes, and only to roles that exist.
_ALL_AGAIN = f"run {_FILE} and every later file again with psql"
_NO_TRIGGER = "a distributed table has none: run `ragledger rollup` for the days of rows that you delete"
_QUIET = "current_setting('app.current_user_id'::text, true)"


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy: its command as in pg_policy, its roles (none means every role), and its condition."""

    command: str
    permissive: bool
    roles: tuple[str, ...]
    condition: str | None


@dataclass(frozen=True, slots=True)
class SecurityFacts:
    """The security objects of ragledger in the database.

    `secured`: tables with row-level security. `policies`: (table, name) to policy. `roles`: name to whether it may act
    as the owner. `grants`: role to its grants. `delete_triggers`: table to its triggers. `tables`: existing tables.
    `is_distributed`: whether ai_dialogue_log is distributed over a Citus cluster.
    """

    secured: Collection[str]
    policies: Mapping[tuple[str, str], Policy]
    roles: Mapping[str, bool]
    grants: Mapping[str, Collection[Grant]]
    delete_triggers: Mapping[str, Collection[str]]
    tables: Collection[str]
    is_distributed: bool = False


def compare_security(facts: SecurityFacts) -> Iterator[Check]:
    """Check policies, roles, grants, and the trigger that marks the days of deleted rows."""
    yield from (_policy(facts, name) for name in expected.POLICIES)
    yield from (_role(facts, role) for role in ROLES)
    yield from (_delete_trigger(facts, table, name) for table, name in expected.DELETE_TRIGGERS.items())


def _policy(facts: SecurityFacts, name: str) -> Check:
    table, command, role = expected.POLICIES[name]
    if role is not None and role not in facts.roles:
        return Check(f"policy {name}", ok=True, detail=f"not made: the role {role} does not exist")
    problem = _policy_problem(facts, name, table, Policy(command, True, (role,) if role else (), None))
    return Check(f"policy {name}", not problem, problem or f"in force on {table}")


def _policy_problem(facts: SecurityFacts, name: str, table: str, wanted: Policy) -> str:
    found = facts.policies.get((table, name))
    if found is None:
        return f"missing: {_again(table)}"
    if table not in facts.secured:
        return f"not in force: ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
    if (found.command, found.permissive, found.roles) != (wanted.command, wanted.permissive, wanted.roles):
        return f"applies to the wrong commands or roles: {_again(table)}"
    if not wanted.roles and _QUIET not in (found.condition or ""):
        return f"ends queries with an error if app.current_user_id is not set: {_again(table)}"
    return ""


def _again(table: str) -> str:
    return _AGAIN.replace(_FILE, _FILES.get(table, _FILE))


def _role(facts: SecurityFacts, role: str) -> Check:
    name = f"role {role}"
    if role not in facts.roles:
        make = f"CREATE ROLE {role} NOLOGIN as an administrator"
        return Check(name, ok=True, detail=f"does not exist: {make}, then {_ALL_AGAIN}")
    if role == OWNER:
        return Check(name, ok=True, detail="exists")
    problem = _migrator_problem(facts) if role == MIGRATOR else _grants_problem(facts, role)
    return Check(name, not problem, problem or "has exactly the expected rights")


def _migrator_problem(facts: SecurityFacts) -> str:
    is_needed = OWNER in facts.roles and not facts.roles[MIGRATOR]
    return f"may not act as the owner: GRANT {OWNER} TO {MIGRATOR}" if is_needed else ""


def _grants_problem(facts: SecurityFacts, role: str) -> str:
    lacking, beyond = differences(role, facts.grants.get(role, ()), facts.tables)
    problems = [f"lacks {', '.join(map(str, lacking))}: {_ALL_AGAIN}"] if lacking else []
    if beyond:
        revoke = "; ".join(grant.revoke_sql(role) for grant in beyond)
        problems.append(f"has unexpected rights: {revoke}, or create a role of your own for them")
    return "; ".join(problems)


def _delete_trigger(facts: SecurityFacts, table: str, name: str) -> Check:
    there = name in facts.delete_triggers.get(table, ())
    if facts.is_distributed and not there:
        return Check(f"trigger {name}", ok=True, detail=_NO_TRIGGER)
    detail = "marks the days of deleted rows" if there else f"missing or disabled: {_AGAIN}"
    return Check(f"trigger {name}", there, detail)
