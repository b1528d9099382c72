"""Tests the queries by which an administrator checks a migration, literally."""

import psycopg
import pytest

from tests.support.psql import (
    APPLICATION_TABLES,
    FILES,
    ROLLBACKS,
    execute,
    rows,
    run_files,
    value,
)


def test_all_tables_exist(filled: str) -> None:
    """The first query finds four tables."""
    found = rows(
        filled,
        """
        SELECT table_name
        FROM information_schema.tables
        WHERE table_schema = 'public'
          AND table_name IN ('ai_dialogue_log', 'provenance', 'rag_metrics_history', 'plugin_registry');
        """,
    )
    assert len(found) == 4


def test_all_indexes_exist(filled: str) -> None:
    """The second query finds the expected indexes besides the primary keys."""
    found = rows(
        filled,
        """
        SELECT indexname, tablename
        FROM pg_indexes
        WHERE schemaname = 'public'
          AND tablename LIKE '%dialogue%' OR tablename LIKE '%provenance%';
        """,
    )
    assert {row["indexname"] for row in found} == {
        "ai_dialogue_log_pkey",
        "idx_ai_dialogue_user",
        "idx_ai_dialogue_session",
        "idx_ai_dialogue_created_at",
        "idx_ai_dialogue_citation_rate",
        "idx_ai_dialogue_user_created",
        "provenance_pkey",
        "idx_provenance_content",
        "idx_provenance_source",
        "idx_provenance_license",
        "idx_provenance_retention",
        "idx_provenance_expiring",
        "dialogue_costs_pkey",
        "dialogue_retention_pkey",
        "dialogue_traces_pkey",
        "idx_dialogue_costs_open",
        "idx_dialogue_traces_user",
    }


def test_all_enums_exist(filled: str) -> None:
    """The third query finds three."""
    found = rows(
        filled,
        "SELECT typname FROM pg_type WHERE typname IN ('content_type', 'acquisition_method', 'license_type');",
    )
    assert len(found) == 3


def test_the_plugin_insert_and_its_cleanup(filled: str) -> None:
    """The trial insert works with its four columns alone, and can be deleted."""
    (plugin,) = rows(
        filled,
        """
        INSERT INTO plugin_registry (name, source, capabilities, version)
        VALUES ('Test Plugin', 'test', '{"list": true}'::jsonb, '1.0.0')
        RETURNING *;
        """,
    )
    assert plugin["enabled"] is True
    assert plugin["health_status"] == "unknown"
    assert plugin["capabilities"] == {"list": True}
    execute(filled, "DELETE FROM plugin_registry WHERE name = 'Test Plugin';")
    assert value(filled, "SELECT count(*) FROM plugin_registry") == 0


def test_foreign_keys_of_dialogues(blank: str) -> None:
    """The fourth query finds the foreign key to users after users exists."""
    execute(blank, *APPLICATION_TABLES)
    run_files(blank, *FILES)
    found = rows(
        blank,
        """
        SELECT conname, conrelid::regclass::text, confrelid::regclass::text
        FROM pg_constraint
        WHERE contype = 'f' AND conrelid::regclass::text LIKE '%dialogue%';
        """,
    )
    assert [tuple(row.values()) for row in found] == [("fk_ai_dialogue_user", "ai_dialogue_log", "users")]


def test_after_the_rollback(filled: str) -> None:
    """The dialogues can still be counted; the provenance is gone."""
    run_files(filled, *ROLLBACKS)
    assert value(filled, "SELECT COUNT(*) FROM ai_dialogue_log;") == 0
    with pytest.raises(psycopg.errors.UndefinedTable):
        execute(filled, "SELECT COUNT(*) FROM provenance;")
