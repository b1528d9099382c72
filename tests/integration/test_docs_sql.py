"""Tests that every SQL statement of the documentation runs, on a database with samples of everything."""

import re
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.pages import every_block

QUERIES = ("README.md", "docs/costs.md", "docs/opentelemetry.md", "docs/sql.md")
"""Pages whose SQL only reads, and finds something in the samples. That of every other page runs as it stands."""
STATEMENTS = sorted({block.page for block in every_block() if block.language == "sql"} - {*QUERIES})

# One sample for each query, with the ids that the pages use.
SAMPLES = """
INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at, citations, latency_ms,
                             token_cost_jpy, user_feedback)
SELECT '5018c5a3-91f3-46af-94ff-2f9d15565fb4', '7a3e82ac-64d6-4078-838d-481268345b63', 'q', 'r', 'm',
       now() AT TIME ZONE 'UTC' + shift, citations::jsonb, 840, 0.89, 1
FROM (VALUES
  (interval '-1 hour', '[{"source": "https://handbook.example/leave"}, {"source": "https://elsewhere.example"}]'),
  (interval '-1 hour', '[]'), (interval '-1 hour', NULL), (interval '2 days', NULL)
) AS dialogue (shift, citations);

INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)
VALUES ('d8774770-01ea-5244-8bf2-2f9d90a9254f', gen_random_uuid(), 'q', 'r', 'm', now() AT TIME ZONE 'UTC');
INSERT INTO dialogue_costs (dialogue_id, created_at, source, price_version)
SELECT id, created_at, 'unpriced', 'v' FROM ai_dialogue_log WHERE user_id = 'd8774770-01ea-5244-8bf2-2f9d90a9254f';

INSERT INTO provenance (content_id, content_type, source_uri, license_type, acquisition_method, acquired_at,
                        retention_years, permission_flag)
SELECT gen_random_uuid(), 'material', 'https://handbook.example/leave', 'cc_by', 'api_fetch',
       now() AT TIME ZONE 'UTC' + shift, years, false
FROM (VALUES
  (interval '-2 years', 1), (interval '-1 year 10 days', 1), (interval '-1 year', 2147483647),
  (interval '10 days' - interval '3 years', 3), (interval '-1 day', NULL)
) AS acquired (shift, years);

INSERT INTO ingest_ledger (consumer_group, topic, partition, start_offset, next_offset, inserted, dead_lettered, gaps)
VALUES ('ragledger', 'rag.dialogue', 0, 10, 16, 4, 1, 1), ('ragledger', 'rag.provenance', 0, 0, 5, 5, 0, 0);

INSERT INTO ledger_decisions (consumer_group, topic, partition, decided_by, from_offset, to_offset, begins_anew,
                              start_offset, inserted, duplicates, amended, dead_lettered, gaps)
VALUES ('ragledger', 'rag.dialogue', 0, 'me', 40, 10, true, 0, 39, 0, 0, 0, 1);

INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, value, headers, reason, detail)
VALUES ('rag.dialogue', 0, 14, now(), '\\x00ff' || '{"user_id": "5018c5a3-91f3-46af-94ff-2f9d15565fb4"}'::bytea,
        '[{"key": "ce_id", "value": "YS0x"}]', 'not_json',
        '{"message": "not UTF-8", "faults": [{"path": "", "problem": "not UTF-8"}]}');

INSERT INTO rag_metrics_history (date, total_dialogues, slo_compliance)
VALUES (current_date, 3, '{"latency_p95": {"target": 3000, "operator": "<=", "actual": 4000, "met": false},
                           "citation_rate": {"target": 70, "operator": ">", "actual": null, "met": null}}');

INSERT INTO touched_days (day) VALUES (current_date), (current_date);

INSERT INTO rollup_basis (time_zone, objectives, adopted_at, adopted_by) VALUES ('Asia/Tokyo', '[]', now(), 'host:1');
INSERT INTO computed_days (day, basis_id) SELECT current_date, id FROM rollup_basis;
INSERT INTO retention_runs (id) VALUES ('0197c9a2-6f3e-7b1a-9c4d-5e6f70819203');
INSERT INTO retention_archive (id, run_id, retention_ended_at, provenance)
SELECT gen_random_uuid(), '0197c9a2-6f3e-7b1a-9c4d-5e6f70819203', now(),
       to_jsonb(p) || '{"content_id": "43c243ee-0945-46ce-9f76-663f8330df68"}'
FROM provenance AS p LIMIT 1;
INSERT INTO retention_notices (run_id, notice) VALUES ('0197c9a2-6f3e-7b1a-9c4d-5e6f70819203', '{"total": 1}');
INSERT INTO dialogue_traces (trace_id, dialogue_id, user_id, created_at, spans, model_calls, retrievals, tool_calls,
                             embeddings, errors, mapping, content_hash)
SELECT '4bf92f3577b34da6a3ce929d0e0e4736', id, user_id, created_at, 3, 1, 1, 0, 0, 0, 1, '\\x00'
FROM ai_dialogue_log LIMIT 1;
CREATE TABLE my_table (id bigint);
INSERT INTO erasures (user_hash, key_id, requested_by) VALUES ('\\x00', 'k', 'somebody');
"""


def sql_blocks(*pages: str) -> list[str]:
    """Return the SQL of these pages."""
    return [block.content for block in every_block() if block.page in pages and block.language == "sql"]


@pytest.fixture
def samples(database: str) -> str:
    """Return the DSN of a database with samples."""
    with psycopg.connect(database) as connection:
        connection.execute(SAMPLES.encode())
    return database


def test_the_pages_contain_sql() -> None:
    """Without this, the tests below could pass without a statement."""
    assert len(sql_blocks(*QUERIES)) > 20
    assert len(sql_blocks(*STATEMENTS)) > 5


def test_every_query_reads_and_returns_rows(samples: str) -> None:
    """Each query runs in a read-only transaction and returns rows."""
    with psycopg.connect(samples, autocommit=True) as connection:
        connection.read_only = True
        empty = [query for query in sql_blocks(*QUERIES) if not connection.execute(query.encode()).fetchall()]
    assert empty == []


def test_the_proof_of_the_readme_holds(samples: str) -> None:
    """Its query says for each partition that it adds up."""
    (proof,) = sql_blocks("README.md")
    with psycopg.connect(samples) as connection:
        cursor = connection.execute(proof.encode())
        assert cursor.description
        assert cursor.description[-1].name == "adds_up"
        assert [row[-1] for row in cursor.fetchall()] == [True, True]


def test_closed_and_open_books_all_add_up(samples: str) -> None:
    """The runbook's query has a line for each set of books of each partition, and each line adds up."""
    (statement,) = [block for block in sql_blocks(*STATEMENTS) if "begins_anew" in block]
    counts = ("inserted", "duplicates", "amended", "dead_lettered", "gaps")
    with psycopg.connect(samples, autocommit=True, row_factory=dict_row) as connection:
        found = connection.execute(statement.encode()).fetchall()
    assert [(row["topic"], row["start_offset"]) for row in found] == [
        ("rag.dialogue", 0),
        ("rag.dialogue", 10),
        ("rag.provenance", 0),
    ]
    for row in found:
        assert row["next_offset"] - row["start_offset"] == sum(row[name] for name in counts)


@pytest.mark.parametrize("page", STATEMENTS)
def test_the_statements_of_a_page_run_in_order(samples: str, page: str) -> None:
    """They run from the top of the page on the same database, and are undone afterwards."""
    name = urlsplit(samples).path.removeprefix("/")
    with psycopg.connect(samples) as connection:
        for block in sql_blocks(page):
            statements = block.replace("DATABASE ragledger", f"DATABASE {name}")
            connection.execute(re.sub(r"^(BEGIN|COMMIT);$", "", statements, flags=re.MULTILINE).encode())
        connection.rollback()
