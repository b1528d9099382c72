"""The schema's files, run with psql on the oldest and the newest PostgreSQL that is supported."""

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from tests.psql import FILES, ROLLBACKS, catalog, execute, one_file, psql, rows, run_files, server_dsn, value
from tests.stack import fresh_database

BASE_COLUMNS = {"id", "user_id", "session_id", "query", "response", "model_used", "created_at", "updated_at"}
BASE_TABLE = """
CREATE TABLE ai_dialogue_log (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(), user_id UUID NOT NULL, session_id UUID NOT NULL,
  query TEXT NOT NULL, response TEXT NOT NULL, model_used VARCHAR(100) NOT NULL,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL, updated_at TIMESTAMP DEFAULT NOW() NOT NULL
)
"""
ONE_DIALOGUE = """
INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used)
VALUES (gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm')
"""
ONE_PROVENANCE = """
INSERT INTO provenance (content_id, content_type, source_uri, license_type, acquisition_method, acquired_at)
VALUES (gen_random_uuid(), 'material', 'https://example.org', 'mit', 'api_fetch', '2025-10-29')
"""
ONE_LEDGER_ROW = """
INSERT INTO ingest_ledger (consumer_group, topic, partition, start_offset, next_offset, inserted)
VALUES ('g', 't', 0, 10, 20, 10)
"""
ONE_DEAD_LETTER = """
INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, reason)
VALUES ('t', 0, 1, '2025-10-29 00:00+00', 'not_json')
"""
APPLICATION_TABLES = ("CREATE TABLE users (id UUID PRIMARY KEY)", "CREATE TABLE materials (id UUID PRIMARY KEY)")


@pytest.fixture(params=[15, 18])
def blank(request: pytest.FixtureRequest) -> Iterator[str]:
    """The DSN of an empty database, on either version."""
    with fresh_database(server_dsn(request)) as dsn:
        yield dsn


@pytest.fixture(scope="module", params=[15, 18])
def template(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A server's DSN, on either version, and the name of a database on it in which every file has run."""
    server = server_dsn(request)
    with fresh_database(server) as dsn:
        run_files(dsn, *FILES)
        yield server, urlsplit(dsn).path.removeprefix("/")


@pytest.fixture
def filled(template: tuple[str, str]) -> Iterator[str]:
    """The DSN of a database in which every file has run."""
    with fresh_database(*template) as dsn:
        yield dsn


def test_running_a_file_again_changes_nothing(blank: str) -> None:
    """Each file runs twice in a row, with and without the application's tables, and the second run is idle."""
    execute(blank, *APPLICATION_TABLES)
    for file in FILES:
        run_files(blank, file)
        before = catalog(blank)
        run_files(blank, file)
        assert catalog(blank) == before, file.name


def test_every_file_runs_again_at_the_end(filled: str) -> None:
    """No file minds what the later ones have done."""
    before = catalog(filled)
    run_files(filled, *FILES)
    assert catalog(filled) == before


def test_rollbacks_keep_the_base_table_and_its_rows(filled: str) -> None:
    """Rolled back, twice each, nothing is left but ai_dialogue_log with its base columns, its key and its rows."""
    execute(filled, ONE_DIALOGUE)
    for file in ROLLBACKS:
        run_files(filled, file, file)
    columns = {line for line in catalog(filled) if line.startswith("column ")}
    assert {line.split()[1] for line in columns} == {f"ai_dialogue_log.{name}" for name in BASE_COLUMNS}
    rest = set(catalog(filled)) - columns
    assert [line for line in rest if not line.startswith("comment on")] == [
        line for line in rest if "ai_dialogue_log_pkey" in line
    ]
    assert value(filled, "SELECT count(*) FROM ai_dialogue_log") == 1


def test_applying_after_a_rollback_gives_the_same_schema(filled: str) -> None:
    """Down and up again leads back to where it began."""
    before = catalog(filled)
    run_files(filled, *ROLLBACKS, *FILES)
    assert catalog(filled) == before


def test_rollbacks_do_nothing_to_a_database_without_our_tables(blank: str) -> None:
    """A rollback that finds nothing is content, and touches no table of others."""
    execute(blank, *APPLICATION_TABLES)
    before = catalog(blank)
    run_files(blank, *ROLLBACKS)
    assert catalog(blank) == before


def test_post_migration_queries(filled: str) -> None:
    """The queries an administrator checks a migration with find everything they name."""
    tables = rows(
        filled,
        """
        SELECT table_name
        FROM information_schema.tables
        WHERE table_schema = 'public'
          AND table_name IN ('ai_dialogue_log', 'provenance', 'rag_metrics_history', 'plugin_registry');
        """,
    )
    assert len(tables) == 4
    indexes = rows(
        filled,
        """
        SELECT indexname, tablename
        FROM pg_indexes
        WHERE schemaname = 'public'
          AND tablename LIKE '%dialogue%' OR tablename LIKE '%provenance%';
        """,
    )
    assert {row["indexname"] for row in indexes} == {
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
    }
    enums = rows(
        filled,
        "SELECT typname FROM pg_type WHERE typname IN ('content_type', 'acquisition_method', 'license_type');",
    )
    assert len(enums) == 3


def test_plugin_insert_and_its_cleanup(filled: str) -> None:
    """The trial insert works with nothing but the four columns it states, and can be deleted again."""
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


def test_foreign_keys_query(blank: str) -> None:
    """With users and materials, the three foreign keys are there, hold for every row, and act as they should."""
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


@pytest.mark.parametrize("present", [(), APPLICATION_TABLES[:1], APPLICATION_TABLES[1:]])
def test_foreign_keys_are_skipped_without_their_tables(blank: str, present: tuple[str, ...]) -> None:
    """Where users or materials is missing, the file says which and changes nothing; later it does its work."""
    execute(blank, *present)
    run_files(blank, *FILES)
    said = run_files(blank, one_file("0004"))
    assert "foreign keys skipped" in said
    assert said.count("missing") == 2 - len(present)
    assert value(blank, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 0
    execute(blank, *(table for table in APPLICATION_TABLES if table not in present))
    run_files(blank, one_file("0004"))
    assert value(blank, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == 3


def test_orphans_stop_the_check_and_mending_them_is_enough(filled: str) -> None:
    """An orphan from before fails the file; with it gone the file finishes what it began."""
    execute(filled, ONE_DIALOGUE, *APPLICATION_TABLES)
    failed = psql(filled, "-f", one_file("0004"), check=False)
    assert failed.returncode == 3
    assert "fk_ai_dialogue_user" in failed.stderr
    execute(filled, "DELETE FROM ai_dialogue_log")
    run_files(filled, one_file("0004"))
    assert value(filled, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == 3


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
    """0002 gives the numbers the precision that was reviewed."""
    run_files(blank, one_file("0002"))
    found = value(
        blank,
        f"SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        f" WHERE attrelid = '{table}'::regclass AND attname = '{column}'",
    )
    assert found == type_


def test_daily_costs_are_widened_without_a_rewrite(blank: str) -> None:
    """0006 makes room for the mean of a single dialogue at the highest cost, and rewrites no row."""
    run_files(blank, *FILES[:-1])
    too_much = "INSERT INTO rag_metrics_history (date, cost_per_answer) VALUES ('2025-10-29', 999999.99)"
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        execute(blank, too_much)
    before = value(blank, "SELECT pg_relation_filenode('rag_metrics_history')")
    run_files(blank, one_file("0006"))
    execute(blank, too_much)
    assert value(blank, "SELECT pg_relation_filenode('rag_metrics_history')") == before


def test_narrowing_refuses_days_that_do_not_fit(filled: str) -> None:
    """The rollback of 0006 says how many days do not fit and which is the first, and leaves the columns wide."""
    execute(filled, "INSERT INTO rag_metrics_history (date, cost_per_answer) VALUES ('2025-10-29', 999999.99)")
    refused = psql(filled, "-f", ROLLBACKS[0], check=False)
    assert refused.returncode == 3
    assert "1 day(s) do not fit, the first is 2025-10-29" in refused.stderr
    assert value(filled, "SELECT cost_per_answer FROM rag_metrics_history") is not None


def test_everything_has_a_comment(filled: str) -> None:
    """Every table, every column, every enum and our function say what they are for."""
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


def test_comments_keep_their_agreed_words(filled: str) -> None:
    """The four comments that tools may look for are there word by word."""
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
def test_what_the_tables_refuse(filled: str, seed: str, statement: str, error: type[Exception]) -> None:
    """What would make the figures or the books wrong is refused by the database itself."""
    execute(filled, seed)
    with pytest.raises(error):
        execute(filled, statement)


def test_the_ends_of_every_range_are_taken(filled: str) -> None:
    """The largest and smallest values that the types promise are stored, and so is a flag that was not stated."""
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


def test_a_record_of_a_topic_made_anew_is_another_dead_letter(filled: str) -> None:
    """The same offset with another timestamp is another record."""
    execute(filled, ONE_DEAD_LETTER, ONE_DEAD_LETTER.replace("00:00+00", "00:01+00"))
    assert value(filled, "SELECT count(*) FROM dead_letters") == 2


@pytest.mark.parametrize("seed", [ONE_DIALOGUE, ONE_PROVENANCE])
def test_updated_at_is_utc_in_any_session(filled: str, seed: str) -> None:
    """The trigger sets updated_at in UTC, whatever the time zone of the session is."""
    execute(filled, seed)
    table = "ai_dialogue_log" if seed is ONE_DIALOGUE else "provenance"
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.execute(f"UPDATE {table} SET updated_at = '2000-01-01'".encode())
    drift = f"SELECT abs(extract(epoch FROM now() AT TIME ZONE 'UTC' - updated_at)) FROM {table}"
    assert value(filled, drift) < 600


def test_a_doubled_trigger_of_an_earlier_draft_goes(blank: str) -> None:
    """One updated_at trigger per table, also where the file's first draft had made a second one."""
    run_files(blank, one_file("0002"))
    execute(
        blank,
        "CREATE TRIGGER update_ai_dialogue_log_updated_at BEFORE UPDATE ON ai_dialogue_log"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
    )
    run_files(blank, one_file("0002"))
    found = rows(
        blank, "SELECT tgrelid::regclass::text AS name, tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    )
    assert [tuple(row.values()) for row in found] == [
        ("ai_dialogue_log", "update_ai_dialogue_log_updated_at_base"),
        ("plugin_registry", "update_plugin_registry_updated_at"),
        ("provenance", "update_provenance_updated_at"),
    ]


def test_an_existing_base_table_is_extended_in_place(blank: str) -> None:
    """Where the application made ai_dialogue_log, its rows stay where they are and it ends up like a new one."""
    execute(blank, BASE_TABLE, ONE_DIALOGUE)
    before = value(blank, "SELECT pg_relation_filenode('ai_dialogue_log')")
    run_files(blank, *FILES)
    assert value(blank, "SELECT pg_relation_filenode('ai_dialogue_log')") == before
    assert rows(blank, "SELECT query, citations FROM ai_dialogue_log") == [{"query": "q", "citations": None}]


def test_an_applications_own_function_is_left_alone(blank: str) -> None:
    """A trigger function of that name that was there before is neither replaced nor dropped."""
    execute(
        blank,
        "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.updated_at := NOW(); RETURN NEW; END'",
        "CREATE TABLE orders (updated_at TIMESTAMP)",
        "CREATE TRIGGER orders_updated_at BEFORE UPDATE ON orders"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
    )
    before = catalog(blank)
    run_files(blank, *FILES)
    assert [line for line in catalog(blank) if line.startswith("function")] == [
        line for line in before if line.startswith("function")
    ]
    run_files(blank, *ROLLBACKS)
    assert set(before) <= set(catalog(blank))


def test_an_index_whose_build_failed_is_built_again(blank: str) -> None:
    """A failed concurrent build leaves an invalid index; running 0003 again replaces it once the cause is gone."""
    run_files(blank, one_file("0002"))
    execute(blank, *["INSERT INTO rag_metrics_history (date) VALUES ('2025-10-29')"] * 2)
    assert "idx_rag_metrics_date_unique" in psql(blank, "-f", one_file("0003"), check=False).stderr
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_rag_metrics_date_unique'::regclass"
    assert value(blank, valid) is False
    execute(blank, "DELETE FROM rag_metrics_history")
    assert "an earlier build did not finish" in run_files(blank, one_file("0003"))
    assert value(blank, valid) is True


def test_all_but_the_concurrent_builds_run_on_a_partitioned_table(blank: str) -> None:
    """Where ai_dialogue_log is partitioned already, files and rollbacks still run; only 0003 has to be earlier."""
    partitioned = BASE_TABLE.replace("id UUID PRIMARY KEY", "id UUID").rstrip().removesuffix(")")
    execute(
        blank,
        f"{partitioned}, PRIMARY KEY (id, created_at)) PARTITION BY RANGE (created_at)",
        "CREATE TABLE part PARTITION OF ai_dialogue_log DEFAULT",
        *APPLICATION_TABLES,
    )
    files = [file for file in FILES if not file.name.startswith("0003")]
    run_files(blank, *files, *files)
    key = "SELECT convalidated FROM pg_constraint WHERE conrelid = 'ai_dialogue_log'::regclass AND contype = 'f'"
    assert value(blank, key) is True
    run_files(blank, *ROLLBACKS, *ROLLBACKS)


def test_ledger_updates_stay_on_their_page(filled: str) -> None:
    """However many partitions there are, updating each makes no new index entry: every page has room for it."""
    many = ONE_LEDGER_ROW.replace("VALUES ('g', 't', 0,", "SELECT 'g', 't', n,").rstrip().removesuffix(")")
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute(f"{many} FROM generate_series(1, 1000) AS n".encode())
        connection.execute("UPDATE ingest_ledger SET next_offset = next_offset + 1, inserted = inserted + 1")
        connection.execute("SELECT pg_stat_force_next_flush()")
    stats = rows(filled, "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'ingest_ledger'")
    assert stats == [{"n_tup_upd": 1000, "n_tup_hot_upd": 1000}]


def test_days_may_be_marked_any_number_of_times(filled: str) -> None:
    """Two writers mark the same day at the same time, and neither waits for the other."""
    mark = "INSERT INTO touched_days (day) VALUES ('2025-10-29')"
    with psycopg.connect(filled) as first, psycopg.connect(filled) as second:
        second.execute("SET lock_timeout = '1s'")
        first.execute(mark)
        second.execute(mark)
    assert value(filled, "SELECT count(*) FROM touched_days") == 2


def test_an_unknown_user_is_refused_once_foreign_keys_hold(blank: str) -> None:
    """With the foreign keys, content with provenance cannot be deleted and dialogues go with their user."""
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
