"""Tests the comparison of policies, roles and grants with the expected ones."""

import re
from dataclasses import replace

import pytest

from consumer.admin.migrate import expected
from consumer.admin.migrate.checks import Check
from consumer.admin.migrate.roles import DASHBOARDS, GRANTS, INGEST, MIGRATOR, ROLES, Grant
from consumer.admin.migrate.security_checks import Policy, SecurityFacts, compare_security
from tests.support.psql import FILES

QUIET = "(user_id = (SELECT current_setting('app.current_user_id'::text, true)))"
GOOD = SecurityFacts(
    secured={"ai_dialogue_log", "provenance", "dialogue_traces"},
    policies={
        (table, name): Policy(command, True, (role,) if role else (), "true" if role else QUIET)
        for name, (table, command, role) in expected.POLICIES.items()
    },
    roles=dict.fromkeys(ROLES, True),
    grants=GRANTS,
    delete_triggers={table: {name} for table, name in expected.DELETE_TRIGGERS.items()},
    tables={*expected.COLUMNS, "schema_migrations"},
)
ISOLATION = ("ai_dialogue_log", "ai_dialogue_user_isolation")


def failed(facts: SecurityFacts) -> list[Check]:
    return [check for check in compare_security(facts) if not check.ok]


def test_a_database_as_it_should_be() -> None:
    """Every check passes."""
    assert failed(GOOD) == []


def test_without_roles_only_the_policies_of_every_role_are_checked() -> None:
    """A database without the roles still has the policies for readers. Each check of a missing role says how to
    make it.
    """
    open_to_all = {place: policy for place, policy in GOOD.policies.items() if not policy.roles}
    facts = replace(GOOD, roles={}, grants={}, policies=open_to_all)
    assert failed(facts) == []
    details = {check.name: check.detail for check in compare_security(facts)}
    assert f"CREATE ROLE {INGEST} NOLOGIN" in details[f"role {INGEST}"]
    assert "0008_add_row_security.sql and every later file" in details[f"role {INGEST}"]
    assert len(failed(replace(facts, policies={}))) == 3


def test_grants_on_missing_tables_are_not_required() -> None:
    """If psql has run the files, schema_migrations does not exist."""
    held = {grant for grant in GRANTS[INGEST] if grant.table != "schema_migrations"}
    assert failed(replace(GOOD, tables=expected.COLUMNS, grants={**GRANTS, INGEST: held})) == []


@pytest.mark.parametrize(
    ("facts", "name", "detail"),
    [
        (replace(GOOD, secured={"provenance"}), "policy ai_dialogue_user_isolation", "ENABLE ROW LEVEL SECURITY"),
        (
            replace(GOOD, policies={**GOOD.policies, ISOLATION: Policy("r", True, (), "(user_id = 'x')")}),
            "policy ai_dialogue_user_isolation",
            "ends queries with an error",
        ),
        (
            replace(GOOD, policies={**GOOD.policies, ISOLATION: Policy("r", False, (), QUIET)}),
            "policy ai_dialogue_user_isolation",
            "the wrong commands or roles",
        ),
        (
            replace(GOOD, policies={key: one for key, one in GOOD.policies.items() if key != ISOLATION}),
            "policy ai_dialogue_user_isolation",
            "missing",
        ),
        (replace(GOOD, roles={**GOOD.roles, MIGRATOR: False}), f"role {MIGRATOR}", "GRANT ragledger_owner TO"),
        (
            replace(GOOD, grants={**GRANTS, INGEST: GRANTS[INGEST] - {Grant("touched_days", "DELETE")}}),
            f"role {INGEST}",
            "lacks DELETE on touched_days: run 0008_add_row_security.sql and every later file again",
        ),
        (
            replace(GOOD, grants={**GRANTS, DASHBOARDS: GRANTS[DASHBOARDS] | {Grant("provenance", "SELECT")}}),
            f"role {DASHBOARDS}",
            "REVOKE SELECT ON provenance FROM ragledger_dashboards",
        ),
        (replace(GOOD, delete_triggers={}), "trigger mark_days_of_deleted_dialogues", "missing or disabled"),
    ],
)
def test_each_defect_is_named(facts: SecurityFacts, name: str, detail: str) -> None:
    """A defect fails its own check, whose detail says what to do."""
    found = {check.name: check.detail for check in failed(facts)}
    assert detail in found[name]


def test_every_function_is_listed_as_public_or_not() -> None:
    """A new function must be added to one of the two lists."""
    made = {name for file in FILES for name in re.findall(r"CREATE (?:OR REPLACE )?FUNCTION (\w+)", file.read_text())}
    assert made == {*expected.CLOSED_FUNCTIONS, *expected.OPEN_FUNCTIONS}
