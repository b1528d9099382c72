"""Tests operators' commands on a distributed table, as they are run from outside."""

import json
from pathlib import Path

import pytest

from tests.support.citus import DISTRIBUTED, Form, distribute_as, distributed_schema
from tests.support.psql import execute, rows, value
from tests.support.service import Environment

pytestmark = pytest.mark.timeout(180)

USER, OTHER = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
TWO_MONTHS = f"""
INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at, latency_ms)
SELECT gen_random_uuid(), CASE n % 10 WHEN 0 THEN '{USER}' ELSE '{OTHER}' END::uuid, gen_random_uuid(), 'q', 'r', 'm',
       '2026-01-01'::timestamp + n * interval '1 h', n
FROM generate_series(0, 999) AS n
"""
DAYS = ("rollup", "--since", "2026-01-01", "--until", "2026-02-28")


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_a_user_is_erased_on_every_worker(name: str, tmp_path: Path) -> None:
    """The days are computed again without the user, and known ids go too."""
    with distributed_schema(name) as dsn:
        environment = Environment(dsn, "127.0.0.1:9", {})
        keeps_ids = name != "distributed_by_id"
        execute(dsn, TWO_MONTHS)
        if keeps_ids:
            execute(dsn, "INSERT INTO known_ids SELECT id FROM ai_dialogue_log")
        assert environment.run(*DAYS).returncode == 0
        erased = environment.run("erase", "--user", USER, "--receipt", str(tmp_path))
        assert erased.returncode == 0, erased.stderr
        assert rows(dsn, "SELECT DISTINCT user_id::text AS user FROM ai_dialogue_log") == [{"user": OTHER}]
        assert value(dsn, "SELECT sum(total_dialogues)::int FROM rag_metrics_history") == 900
        assert value(dsn, "SELECT count(*) FROM known_ids") == (900 if keeps_ids else 0)


def test_months_are_planned_archived_and_restored(migrated: str, tmp_path: Path) -> None:
    """The plan shows the size of the shards. A month goes to a file and comes back with the same rows."""
    execute(migrated, TWO_MONTHS)
    environment = Environment(migrated, "127.0.0.1:9", {})
    distribute_as(migrated, Form(DISTRIBUTED["distributed_months_by_user"].key, True))
    assert environment.run(*DAYS).returncode == 0
    content = "SELECT sum(hashtextextended(dialogue::text, 0)::numeric) FROM ai_dialogue_log AS dialogue"
    before = value(migrated, content)
    planned = json.loads(environment.run("partition", "plan", "--json").stdout)
    sizes = {one["partition"].rpartition(".")[2]: one["bytes"] for one in planned["partitions"]}
    assert sizes["ai_dialogue_log_2026_01"] > 100_000
    archived = environment.run("partition", "archive", "--before", "2026-02", "--to", str(tmp_path))
    assert archived.returncode == 0, archived.stderr
    assert value(migrated, "SELECT count(*) FROM ai_dialogue_log") == 1000 - 31 * 24
    [manifest] = tmp_path.glob("*.manifest.json")
    restored = environment.run("partition", "archive", "--restore", str(manifest))
    assert restored.returncode == 0, restored.stderr
    assert value(migrated, content) == before


def test_a_distributed_table_is_not_converted(migrated: str) -> None:
    """The reason names the page that says how to go back."""
    distribute_as(migrated, DISTRIBUTED["distributed_by_id"])
    refused = Environment(migrated, "127.0.0.1:9", {}).run("partition", "convert")
    assert refused.returncode == 1
    assert "docs/scaling.md" in refused.stderr
