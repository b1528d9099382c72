"""Tests `ragledger distribute`: its refusals, and its work on empty and on filled tables."""

import asyncio
import json

import psycopg
import pytest

from consumer.admin import distribute, migrate
from consumer.admin.distribute import CannotDistributeError, Key
from tests.support.citus import Form, distribute_as, fresh_schema
from tests.support.psql import execute, rows, value
from tests.support.service import Environment

pytestmark = pytest.mark.timeout(180)

FILL = """
INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at, latency_ms)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm',
       '2026-01-01'::timestamp + n * interval '1 h', n
FROM generate_series(1, 1000) AS n
"""
CONTENT = "SELECT count(*) || ' ' || sum(hashtextextended(dialogue::text, 0)::numeric) FROM ai_dialogue_log AS dialogue"
ALL_POLICIES = "SELECT count(*) FROM pg_policy WHERE polrelid = 'ai_dialogue_log'::regclass"
OBSTACLES = {
    "is unique and does not contain": "CREATE UNIQUE INDEX one_a_session ON ai_dialogue_log (session_id)",
    "has a subquery": "CREATE POLICY mine ON ai_dialogue_log USING (user_id = (SELECT gen_random_uuid()))",
    "is not one of ragledger": "CREATE TRIGGER mine BEFORE INSERT ON ai_dialogue_log FOR EACH ROW"
    " EXECUTE FUNCTION update_updated_at_column()",
    "rule": "CREATE RULE mine AS ON DELETE TO ai_dialogue_log DO INSTEAD NOTHING",
    "refers to it": "CREATE TABLE notes (dialogue UUID REFERENCES ai_dialogue_log (id))",
    "the primary key must be (id)": "ALTER TABLE ai_dialogue_log DROP CONSTRAINT ai_dialogue_log_pkey",
    "Citus holds provenance as a distributed table": "DROP POLICY provenance_read_policy ON provenance;"
    "SELECT create_distributed_table('provenance', 'id', shard_count => 1)",
}


def plan(dsn: str, key: Key | None = None, shards: int | None = None) -> distribute.Plan:
    """Return the plan."""
    return asyncio.run(distribute.plan(dsn, key, shards))


def apply(dsn: str, key: Key | None = None, shards: int | None = None) -> distribute.Applied:
    """Distribute the table."""
    return asyncio.run(distribute.apply(dsn, key, shards, lambda _: None))


def test_a_filled_table_keeps_its_rows(migrated: str) -> None:
    """The coordinator keeps none of them on its disk. A second run changes nothing and says so."""
    execute(migrated, FILL)
    before = value(migrated, CONTENT)
    planned = plan(migrated, shards=3)
    assert (planned.is_distributed, planned.obstacles, planned.shards) == (False, (), 3)
    applied = apply(migrated, shards=3)
    assert (applied.is_changed, applied.key, applied.shards, applied.rows) == (True, Key.ID, 3, 1000)
    assert value(migrated, CONTENT) == before
    assert value(migrated, "SELECT pg_table_size('ai_dialogue_log')") < 100_000
    assert value(migrated, ALL_POLICIES) == 3
    again = apply(migrated)
    assert (again.is_changed, again.shards, again.rows, again.steps) == (False, 3, 1000, ())
    assert all(check.ok for check in asyncio.run(migrate.verify(migrated)))


@pytest.mark.parametrize("form", [Form(Key.USER, False), Form(Key.ID, True), Form(Key.USER, True)])
def test_ids_stay_unique_under_every_key(migrated: str, form: Form) -> None:
    """The primary key cannot be the id alone, so the ids have a table of their own, with those of earlier rows."""
    execute(migrated, FILL)
    before = value(migrated, CONTENT)
    distribute_as(migrated, form)
    assert value(migrated, CONTENT) == before
    kept = rows(migrated, "SELECT id FROM known_ids ORDER BY id")
    assert kept == rows(migrated, "SELECT id FROM ai_dialogue_log ORDER BY id")
    assert all(check.ok for check in asyncio.run(migrate.verify(migrated)))


def test_another_key_or_number_of_shards_is_refused_afterwards(migrated: str) -> None:
    """Moving the rows again is left to Citus."""
    apply(migrated, shards=2)
    for key, shards in ((Key.USER, None), (None, 4)):
        with pytest.raises(CannotDistributeError, match="by id over 2 shards"):
            apply(migrated, key, shards)


@pytest.mark.parametrize("reason", OBSTACLES)
def test_what_a_cluster_cannot_have_is_refused(migrated: str, reason: str) -> None:
    """The plan says why and what to do, apply says the same, and nothing is changed."""
    execute(migrated, *OBSTACLES[reason].split(";"))
    (obstacle,) = plan(migrated).obstacles
    assert reason in obstacle
    with pytest.raises(CannotDistributeError, match="nothing was changed") as refused:
        apply(migrated)
    assert obstacle in str(refused.value)
    assert not rows(migrated, "SELECT FROM pg_dist_partition WHERE logicalrelid = 'ai_dialogue_log'::regclass")


def test_tables_that_are_missing_are_refused() -> None:
    """The advice is to migrate."""
    with fresh_schema() as dsn:
        (obstacle,) = plan(dsn).obstacles
        assert "ragledger migrate up" in obstacle


def test_a_service_that_runs_is_refused(migrated: str) -> None:
    """Its sessions are recognised by their name."""
    with psycopg.connect(migrated, application_name="ragledger"):
        (obstacle,) = plan(migrated).obstacles
    assert "ragledger runs (1 sessions)" in obstacle


def test_a_server_without_citus_is_refused(postgres18: object) -> None:
    """The command exits with 3 for a plan and 1 for an attempt, and names the reason."""
    environment = Environment(postgres18.dsn, "127.0.0.1:9", {})  # type: ignore[attr-defined]
    planned = environment.run("distribute", "plan", "--json")
    assert planned.returncode == 3
    assert "no Citus" in json.loads(planned.stdout)["obstacles"][0]
    applied = environment.run("distribute", "apply")
    assert (applied.returncode, "nothing was changed" in applied.stderr) == (1, True)


def test_a_run_that_is_killed_has_changed_nothing(migrated: str) -> None:
    """All steps are one transaction: after the session is ended in the middle, the next run does all of it."""
    execute(migrated, FILL)

    def end_session(step: str) -> None:
        if step == "count":
            execute(
                migrated,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'ragledger admin' AND datname = current_database()",
            )

    with pytest.raises(Exception, match="lost"):
        asyncio.run(distribute.apply(migrated, None, None, end_session))
    assert not plan(migrated).is_distributed
    assert apply(migrated).rows == 1000
