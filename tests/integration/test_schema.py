"""Tests the schema files with psql on the oldest and the newest supported PostgreSQL."""

import psycopg
import pytest

from tests.support.psql import (
    APPLICATION_TABLES,
    BASE_COLUMNS,
    BASE_TABLE,
    FILES,
    ONE_DIALOGUE,
    ROLLBACKS,
    catalog,
    execute,
    one_file,
    psql,
    rows,
    run_files,
    value,
)


def test_running_a_file_again_changes_nothing(blank: str) -> None:
    """Each file runs twice, with and without the application's tables, and the second run does nothing."""
    execute(blank, *APPLICATION_TABLES)
    for file in FILES:
        run_files(blank, file)
        before = catalog(blank)
        run_files(blank, file)
        assert catalog(blank) == before, file.name


def test_every_file_runs_again_after_all_others(filled: str) -> None:
    """Later files do not prevent it."""
    before = catalog(filled)
    run_files(filled, *FILES)
    assert catalog(filled) == before


def test_rollbacks_keep_the_base_table_and_its_rows(filled: str) -> None:
    """After two rollbacks each, only ai_dialogue_log is left with its base columns, its key and its rows."""
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
    """Down and up give the schema from before."""
    before = catalog(filled)
    run_files(filled, *ROLLBACKS, *FILES)
    assert catalog(filled) == before


def test_rollbacks_change_nothing_without_our_tables(blank: str) -> None:
    """A rollback that finds nothing succeeds, and changes no table of others."""
    execute(blank, *APPLICATION_TABLES)
    before = catalog(blank)
    run_files(blank, *ROLLBACKS)
    assert catalog(blank) == before


@pytest.mark.parametrize("present", [(), APPLICATION_TABLES[:1], APPLICATION_TABLES[1:]])
def test_foreign_keys_are_skipped_without_their_tables(blank: str, present: tuple[str, ...]) -> None:
    """If users or materials is missing, the file names it and changes nothing; later it works."""
    execute(blank, *present)
    run_files(blank, *FILES)
    said = run_files(blank, one_file("0004"))
    assert "foreign keys skipped" in said
    assert said.count("missing") == 2 - len(present)
    assert value(blank, "SELECT count(*) FROM pg_constraint WHERE contype = 'f'") == 0
    execute(blank, *(table for table in APPLICATION_TABLES if table not in present))
    run_files(blank, one_file("0004"))
    assert value(blank, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == 3


def test_orphans_stop_the_file_until_they_are_corrected(filled: str) -> None:
    """An existing orphan fails the file; after its deletion the file completes its work."""
    execute(filled, ONE_DIALOGUE, *APPLICATION_TABLES)
    failed = psql(filled, "-f", one_file("0004"), check=False)
    assert failed.returncode == 3
    assert "fk_ai_dialogue_user" in failed.stderr
    execute(filled, "DELETE FROM ai_dialogue_log")
    run_files(filled, one_file("0004"))
    assert value(filled, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == 3


def test_daily_costs_are_widened_without_a_rewrite(blank: str) -> None:
    """0006 makes room for the highest cost of a single dialogue, and rewrites no row."""
    run_files(blank, *(file for file in FILES if file.name < "0006"))
    too_much = "INSERT INTO rag_metrics_history (date, cost_per_answer) VALUES ('2025-10-29', 999999.99)"
    with pytest.raises(psycopg.errors.NumericValueOutOfRange):
        execute(blank, too_much)
    before = value(blank, "SELECT pg_relation_filenode('rag_metrics_history')")
    run_files(blank, one_file("0006"))
    execute(blank, too_much)
    assert value(blank, "SELECT pg_relation_filenode('rag_metrics_history')") == before


def test_narrowing_refuses_days_that_do_not_fit(filled: str) -> None:
    """The rollback of 0006 says how many days do not fit and names the first, and leaves the columns wide."""
    execute(filled, "INSERT INTO rag_metrics_history (date, cost_per_answer) VALUES ('2025-10-29', 999999.99)")
    refused = psql(filled, "-f", one_file("rollback_0006"), check=False)
    assert refused.returncode == 3
    assert "1 day(s) do not fit, the first is 2025-10-29" in refused.stderr
    assert value(filled, "SELECT cost_per_answer FROM rag_metrics_history") is not None


def test_earlier_rows_have_no_time_of_storing(blank: str) -> None:
    """0012 rewrites no row and sets no time; later rows get it in UTC in any session."""
    run_files(blank, *(file for file in FILES if file.name < "0012"))
    execute(blank, ONE_DIALOGUE)
    before = value(blank, "SELECT pg_relation_filenode('ai_dialogue_log')")
    run_files(blank, one_file("0012"))
    assert value(blank, "SELECT pg_relation_filenode('ai_dialogue_log')") == before
    assert value(blank, "SELECT ingested_at FROM ai_dialogue_log") is None
    with psycopg.connect(blank, autocommit=True) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.execute(ONE_DIALOGUE.encode())
    drift = "SELECT abs(extract(epoch FROM now() AT TIME ZONE 'UTC' - max(ingested_at))) FROM ai_dialogue_log"
    assert value(blank, drift) < 600


def test_a_second_trigger_of_an_earlier_draft_is_dropped(blank: str) -> None:
    """Each table has one updated_at trigger, even if a draft of the file has made a second one."""
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
    """If the application made ai_dialogue_log, its rows stay, and it becomes equal to a new one."""
    execute(blank, BASE_TABLE, ONE_DIALOGUE)
    before = value(blank, "SELECT pg_relation_filenode('ai_dialogue_log')")
    run_files(blank, *FILES)
    assert value(blank, "SELECT pg_relation_filenode('ai_dialogue_log')") == before
    assert rows(blank, "SELECT query, citations FROM ai_dialogue_log") == [{"query": "q", "citations": None}]


def test_an_applications_own_function_is_kept(blank: str) -> None:
    """An existing trigger function with that name is neither replaced nor dropped."""
    execute(
        blank,
        "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.updated_at := NOW(); RETURN NEW; END'",
        "CREATE TABLE orders (updated_at TIMESTAMP)",
        "CREATE TRIGGER orders_updated_at BEFORE UPDATE ON orders"
        " FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
    )
    before = catalog(blank)
    theirs = "function update_updated_at_column()"
    run_files(blank, *FILES)
    assert [line for line in catalog(blank) if line.startswith(theirs)] == [
        line for line in before if line.startswith(theirs)
    ]
    run_files(blank, *ROLLBACKS)
    assert set(before) <= set(catalog(blank))


def test_an_index_whose_build_failed_is_built_again(blank: str) -> None:
    """A failed concurrent build leaves an invalid index; 0003 replaces it after the cause is removed."""
    run_files(blank, one_file("0002"))
    execute(blank, *["INSERT INTO rag_metrics_history (date) VALUES ('2025-10-29')"] * 2)
    assert "idx_rag_metrics_date_unique" in psql(blank, "-f", one_file("0003"), check=False).stderr
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx_rag_metrics_date_unique'::regclass"
    assert value(blank, valid) is False
    execute(blank, "DELETE FROM rag_metrics_history")
    assert "an earlier build did not finish" in run_files(blank, one_file("0003"))
    assert value(blank, valid) is True


def test_all_files_except_the_concurrent_builds_run_on_a_partitioned_table(blank: str) -> None:
    """If ai_dialogue_log is partitioned, files and rollbacks still run; only 0003 has to run before."""
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
