"""Tests the plans of queries that must stay quick, on the oldest and the newest version."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from consumer.postgres.queries import load
from tests.integration.test_docs_sql import sql_blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DAYS, A_DAY = 40, 500
DIALOGUES = f"""
INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at, citations, latency_ms,
                             token_cost_jpy, ingested_at)
SELECT md5((n % 97)::text)::uuid, gen_random_uuid(), repeat('q', 100), repeat('r', 400), 'm', moment,
       '[{{"source": "s"}}]', n % 5000, 1.5, moment + interval '1 second'
FROM generate_series(1, {DAYS * A_DAY}) AS n,
     LATERAL (SELECT timestamp '2026-01-01' + n * interval '1 day' / {A_DAY} AS moment) AS time
"""
# Ten years of days; one in a hundred missed the objective.
HISTORY = """
INSERT INTO rag_metrics_history (date, total_dialogues, slo_compliance, computed_at)
SELECT timestamp '2016-01-01' + n * interval '1 day', n,
       jsonb_build_object(
         'latency_p95', jsonb_build_object('target', 3000, 'operator', '<=', 'actual', n, 'met', n % 100 <> 0),
         'citation_rate', jsonb_build_object('target', 70, 'operator', '>', 'actual', n, 'met', true)),
       now()
FROM generate_series(1, 3650) AS n
"""
DEAD_LETTERS = """
INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, reason, dead_lettered_at)
SELECT 't', 0, n, now(), 'x', 'not_json', now() - n * interval '1 second' FROM generate_series(1, 20000) AS n
"""


@pytest.fixture
def connection(filled: str) -> Iterator[psycopg.Connection]:
    """Return a database with two months of dialogues, ten years of days, and many dead letters."""
    with psycopg.connect(filled, autocommit=True) as made:
        for statement in (DIALOGUES, HISTORY, DEAD_LETTERS):
            made.execute(statement.encode())
        made.execute("VACUUM ANALYZE")
        yield made


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every node of a plan."""
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def plan_of(connection: psycopg.Connection, query: str, *arguments: object) -> list[dict[str, Any]]:
    """Run a query with $1 and so on. Return the nodes of its plan."""
    connection.execute(f"PREPARE asked AS {query}".encode())
    values = ", ".join(psycopg.sql.Literal(one).as_string(connection) for one in arguments)
    call = f"({values})" if arguments else ""
    row = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked{call}".encode()).fetchone()
    connection.execute("DEALLOCATE asked")
    assert row
    return list(nodes(row[0][0]["Plan"]))


def scans(plan: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """Return the nodes that read a table."""
    return [node for node in plan if node.get("Relation Name") == table]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_day_is_found_by_its_index_and_computed_in_memory(connection: psycopg.Connection, mode: str) -> None:
    """The plan reads the rows of the day once and no others, without a temporary file or a sort of whole rows."""
    connection.execute(f"SET plan_cache_mode = {mode}".encode())
    with connection.transaction():
        connection.execute(load("roll_up_settings").encode())
        plan = plan_of(connection, load("figures_of_day"), "2026-01-20", "2026-01-21")
    read = scans(plan, "ai_dialogue_log")
    assert len(read) == 1
    indexes = {node["Index Name"] for node in plan if "Index Name" in node}
    assert indexes == {"idx_ai_dialogue_created_at"}
    assert all(node["Node Type"] in ("Index Scan", "Bitmap Heap Scan") for node in read)
    assert all(node["Actual Rows"] * node["Actual Loops"] == A_DAY for node in read)
    assert all(node.get("Rows Removed by Filter", 0) == 0 for node in read)
    assert plan[0]["Temp Written Blocks"] == 0
    assert not [node for node in plan if node["Node Type"] == "Sort"]


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_only_marked_buckets_of_a_day_are_read(connection: psycopg.Connection, mode: str) -> None:
    """An index finds the rows of the bucket, and another one tells whether a new user has rows in other buckets."""
    connection.execute(f"SET plan_cache_mode = {mode}".encode())
    day, bucket = ("2026-01-20", "2026-01-20", "2026-01-21"), "2026-01-20 12:00"
    with connection.transaction():
        connection.execute(load("roll_up_settings").encode())
        connection.execute(
            "INSERT INTO rag_metrics_history (date, computed_at) VALUES (%s, now() AT TIME ZONE 'UTC')"
            " ON CONFLICT (date(date)) DO UPDATE SET computed_at = excluded.computed_at",
            (day[0],),
        )
        plan_of(connection, load("update_buckets"), *day)
        connection.execute(
            "UPDATE ai_dialogue_log SET user_id = gen_random_uuid()"
            " WHERE created_at BETWEEN %s AND %s::timestamp + '5 min'",
            (bucket, bucket),
        )
        connection.execute("INSERT INTO touched_days (day, bucket) VALUES (%s, %s)", (day[0], bucket))
        plan = plan_of(connection, load("update_buckets"), *day)
    read = scans(plan, "ai_dialogue_log")
    assert {node["Index Name"] for node in read} == {"idx_ai_dialogue_created_at", "idx_ai_dialogue_user_created"}
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in read) < A_DAY / 10


def test_counting_a_day_reads_no_row(connection: psycopg.Connection) -> None:
    """An index-only scan is sufficient to see whether a day is complete."""
    plan = plan_of(connection, load("count_dialogues"), "2026-01-20", "2026-01-21")
    assert {node["Node Type"] for node in plan} == {"Aggregate", "Index Only Scan"}


def test_queries_on_compliance_use_the_gin_index(connection: psycopg.Connection) -> None:
    """Every query of the documentation that filters by containment, path or member uses it."""
    asking = [query for query in sql_blocks("docs/sql.md") if re.search(r"slo_compliance (@>|@@|@\?|\?)", query)]
    assert len(asking) >= 3
    for query in asking[:2]:
        plan = plan_of(connection, query.rstrip().rstrip(";"))
        assert "idx_rag_metrics_compliance" in {node.get("Index Name") for node in plan}, query
    every = "SELECT date FROM rag_metrics_history WHERE "
    for condition in (
        """slo_compliance @> '{"latency_p95": {"met": false}}'""",
        "slo_compliance @@ '$.*.met == false'",
        "slo_compliance @? '$.latency_p95 ? (@.met == false)'",
        "slo_compliance ? 'no_such_objective'",
        "slo_compliance ?| ARRAY['no_such_objective', 'nor_this']",
        "slo_compliance ?& ARRAY['latency_p95', 'no_such_objective']",
    ):
        plan = plan_of(connection, every + condition)
        assert "idx_rag_metrics_compliance" in {node.get("Index Name") for node in plan}, condition
    taken_out = plan_of(connection, every + "slo_compliance -> 'latency_p95' -> 'met' = 'false'")
    assert "idx_rag_metrics_compliance" not in {node.get("Index Name") for node in taken_out}


def test_the_queries_of_the_page_are_bounded(connection: psycopg.Connection) -> None:
    """For any number of days and dead letters, they read a bounded number of rows, and no dialogue."""
    asked: dict[str, tuple[object, ...]] = {
        "page_days": ("2026-01-31", 30),
        "page_partitions": ("g", 300),
        "page_dead_letters": (1000,),
    }
    limits = {"rag_metrics_history": 30, "ingest_ledger": 300, "dead_letters": 1000}
    for name, arguments in asked.items():
        plan = plan_of(connection, load(name), *arguments)
        assert not scans(plan, "ai_dialogue_log")
        for table, most in limits.items():
            for node in scans(plan, table):
                assert node["Actual Rows"] + node.get("Rows Removed by Filter", 0) <= most, json.dumps(node)
    assert "idx_dead_letters_open" in {node.get("Index Name") for node in plan}


def test_the_page_reads_no_event_text() -> None:
    """No query names a column with text."""
    file = Path(__file__).parents[2] / "consumer" / "postgres" / "queries" / "page.sql"
    texts = {"query", "response", "citations", "value", "headers", "key", "detail"}
    statements = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("--"))
    assert "SELECT" in statements
    assert not texts & set(re.findall(r"\w+", statements))
