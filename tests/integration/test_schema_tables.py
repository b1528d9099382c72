"""Tests the tables: their comments, and the values they accept and reject."""

from uuid import uuid4

import psycopg
import pytest

from tests.support.psql import (
    APPLICATION_TABLES,
    FILES,
    ONE_DEAD_LETTER,
    ONE_DIALOGUE,
    ONE_LEDGER_ROW,
    ONE_PROVENANCE,
    execute,
    one_file,
    rows,
    run_files,
    value,
)


@pytest.mark.parametrize(
    ("table", "column", "type_"),
    [
        ("ai_dialogue_log", "token_cost_jpy", "numeric(8,2)"),
        ("ai_dialogue_log", "citation_rate", "numeric(5,2)"),
        ("ai_dialogue_log", "relevance_score", "numeric(3,2)"),
        ("ai_dialogue_log", "temperature", "numeric(3,2)"),
        ("rag_metrics_history", "cost_per_answer", "numeric(6,2)"),
        ("rag_metrics_history", "total_cost", "numeric(10,2)"),
    ],
)
def test_precision_and_scale(blank: str, table: str, column: str, type_: str) -> None:
    """0002 gives the numbers the reviewed precision."""
    run_files(blank, one_file("0002"))
    found = value(
        blank,
        f"SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attname = '{column}'",
    )
    assert found == type_


def test_everything_has_a_comment(filled: str) -> None:
    """Every table, column and enum, and our function, state their purpose."""
    bare = rows(
        filled,
        """
        SELECT c.relname, a.attname
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
        LEFT JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = a.attnum AND d.classoid = 'pg_class'::regclass
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND d.description IS NULL
        UNION ALL
        SELECT relname, NULL FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND obj_description(oid, 'pg_class') IS NULL
        UNION ALL
        SELECT typname, NULL FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype = 'e' AND obj_description(oid, 'pg_type') IS NULL
        UNION ALL
        SELECT proname, NULL FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND obj_description(oid, 'pg_proc') IS NULL
        """,
    )
    assert bare == []


def test_comments_keep_their_agreed_text(filled: str) -> None:
    """The four comments that tools may search for are literal."""
    tables = {
        row["name"]: row["comment"]
        for row in rows(
            filled,
            "SELECT relname AS name, obj_description(oid, 'pg_class') AS comment FROM pg_class"
            " WHERE relname IN ('ai_dialogue_log', 'provenance', 'rag_metrics_history')",
        )
    }
    assert tables == {
        "ai_dialogue_log": "RAG dialogue logs with citation tracking and quality metrics",
        "provenance": "Data provenance tracking for compliance and transparency (GDPR, C2PA ready)",
        "rag_metrics_history": "Daily aggregated RAG metrics for dashboard and SLO monitoring",
    }
    citations = value(
        filled,
        "SELECT col_description(attrelid, attnum) FROM pg_attribute"
        " WHERE attrelid = 'ai_dialogue_log'::regclass AND attname = 'citations'",
    )
    assert citations == "JSONB array of citation objects with source, confidence, and timestamp"


@pytest.mark.parametrize(
    ("seed", "statement", "error"),
    [
        (ONE_DIALOGUE, "UPDATE ai_dialogue_log SET user_feedback = 2", psycopg.errors.CheckViolation),
        (ONE_DIALOGUE, "UPDATE ai_dialogue_log SET latency_ms = -1", psycopg.errors.CheckViolation),
        (ONE_DIALOGUE, "UPDATE ai_dialogue_log SET token_cost_jpy = 'NaN'", psycopg.errors.CheckViolation),
        (ONE_DIALOGUE, "UPDATE ai_dialogue_log SET relevance_score = 1.01", psycopg.errors.CheckViolation),
        (ONE_DIALOGUE, "UPDATE ai_dialogue_log SET temperature = 2.01", psycopg.errors.CheckViolation),
        (ONE_DIALOGUE, "UPDATE ai_dialogue_log SET citation_rate = 1000", psycopg.errors.NumericValueOutOfRange),
        (ONE_PROVENANCE, "UPDATE provenance SET retention_years = -1", psycopg.errors.CheckViolation),
        (ONE_PROVENANCE, "UPDATE provenance SET license_type = 'gpl'", psycopg.errors.InvalidTextRepresentation),
        (ONE_LEDGER_ROW, "UPDATE ingest_ledger SET next_offset = 21", psycopg.errors.CheckViolation),
        (ONE_LEDGER_ROW, "UPDATE ingest_ledger SET inserted = 11, gaps = -1", psycopg.errors.CheckViolation),
        (ONE_DEAD_LETTER, ONE_DEAD_LETTER, psycopg.errors.UniqueViolation),
        (
            ONE_DEAD_LETTER,
            "UPDATE dead_letters SET replayed_at = now(), discarded_at = now()",
            psycopg.errors.CheckViolation,
        ),
        (
            "INSERT INTO rag_metrics_history (date) VALUES ('2025-10-29')",
            "INSERT INTO rag_metrics_history (date) VALUES ('2025-10-29 23:59:59')",
            psycopg.errors.UniqueViolation,
        ),
    ],
)
def test_invalid_values_are_rejected(filled: str, seed: str, statement: str, error: type[Exception]) -> None:
    """The database itself rejects values that would make figures or counts wrong."""
    execute(filled, seed)
    with pytest.raises(error):
        execute(filled, statement)


def test_the_limits_of_every_range_are_accepted(filled: str) -> None:
    """The largest and smallest values of the types are stored, and so is a missing flag."""
    execute(
        filled,
        ONE_DIALOGUE,
        "UPDATE ai_dialogue_log SET token_cost_jpy = 999999.99, citation_rate = 999.99, relevance_score = 1,"
        " temperature = 2, latency_ms = 2147483647, total_tokens = 2147483647, user_feedback = -1",
        "UPDATE ai_dialogue_log SET token_cost_jpy = 0, citation_rate = 0, relevance_score = 0, temperature = 0,"
        " latency_ms = 0, total_tokens = 0, user_feedback = NULL",
        ONE_PROVENANCE,
        ONE_LEDGER_ROW,
        ONE_DEAD_LETTER,
    )
    flags = rows(filled, "SELECT permission_flag, external_share_consent, last_verified_at FROM provenance")
    assert flags == [{"permission_flag": None, "external_share_consent": None, "last_verified_at": None}]


def test_a_record_of_a_recreated_topic_is_another_dead_letter(filled: str) -> None:
    """The same offset with another timestamp is another record."""
    execute(filled, ONE_DEAD_LETTER, ONE_DEAD_LETTER.replace("00:00+00", "00:01+00"))
    assert value(filled, "SELECT count(*) FROM dead_letters") == 2


@pytest.mark.parametrize("seed", [ONE_DIALOGUE, ONE_PROVENANCE])
def test_updated_at_is_utc_in_any_session(filled: str, seed: str) -> None:
    """The trigger sets updated_at in UTC, in any time zone of the session."""
    execute(filled, seed)
    table = "ai_dialogue_log" if seed is ONE_DIALOGUE else "provenance"
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.execute(f"UPDATE {table} SET updated_at = '2000-01-01'".encode())
    drift = f"SELECT abs(extract(epoch FROM now() AT TIME ZONE 'UTC' - updated_at)) FROM {table}"
    assert value(filled, drift) < 600


def test_ledger_updates_stay_on_their_page(filled: str) -> None:
    """For any number of partitions, an update makes no new index entry, because every page has room."""
    many = ONE_LEDGER_ROW.replace("VALUES ('g', 't', 0,", "SELECT 'g', 't', n,").rstrip().removesuffix(")")
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(f"{many} FROM generate_series(1, 1000) AS n".encode())
        connection.execute("UPDATE ingest_ledger SET next_offset = next_offset + 1, inserted = inserted + 1")
        connection.execute("SELECT pg_stat_force_next_flush()")
    stats = rows(filled, "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'ingest_ledger'")
    assert stats == [{"n_tup_upd": 1000, "n_tup_hot_upd": 1000}]


def test_days_may_be_marked_several_times(filled: str) -> None:
    """Two writers mark the same day at the same time, and neither waits for the other."""
    mark = "INSERT INTO touched_days (day) VALUES ('2025-10-29')"
    with psycopg.connect(filled) as first, psycopg.connect(filled) as second:
        second.execute("SET lock_timeout = '1s'")
        first.execute(mark)
        second.execute(mark)
    assert value(filled, "SELECT count(*) FROM touched_days") == 2


def test_foreign_keys_follow_their_rules(blank: str) -> None:
    """Each refers to its table with its own rule for deletions, and is valid for every row."""
    execute(blank, *APPLICATION_TABLES)
    run_files(blank, *FILES)
    found = rows(
        blank,
        """
        SELECT conname, conrelid::regclass::text, confrelid::regclass::text, confdeltype::text, convalidated
        FROM pg_constraint
        WHERE contype = 'f' ORDER BY conname
        """,
    )
    assert [tuple(row.values()) for row in found] == [
        ("fk_ai_dialogue_user", "ai_dialogue_log", "users", "c", True),
        ("fk_provenance_acquired_by", "provenance", "users", "n", True),
        ("fk_provenance_content", "provenance", "materials", "r", True),
    ]


def test_an_unknown_user_is_rejected_by_the_foreign_keys(blank: str) -> None:
    """Content with provenance cannot be deleted, and dialogues are deleted with their user."""
    execute(blank, *APPLICATION_TABLES)
    run_files(blank, *FILES)
    user, content = uuid4(), uuid4()
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        execute(blank, ONE_DIALOGUE)
    execute(
        blank,
        f"INSERT INTO users VALUES ('{user}')",
        f"INSERT INTO materials VALUES ('{content}')",
        ONE_DIALOGUE.replace("gen_random_uuid()", f"'{user}'", 1),
        ONE_PROVENANCE.replace("gen_random_uuid()", f"'{content}'", 1),
        f"UPDATE provenance SET acquired_by = '{user}'",
    )
    with pytest.raises(psycopg.IntegrityError, match="fk_provenance_content"):
        execute(blank, "DELETE FROM materials")
    execute(blank, "DELETE FROM users")
    assert value(blank, "SELECT count(*) FROM ai_dialogue_log") == 0
    assert rows(blank, "SELECT acquired_by FROM provenance") == [{"acquired_by": None}]
