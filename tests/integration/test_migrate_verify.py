"""Tests `ragledger migrate verify`: it passes on a correct schema, and names each defect."""

import pytest

from consumer.admin import migrate
from tests.support.expected_schema import FILE, describe, text_of
from tests.support.psql import APPLICATION_TABLES, FILES, execute, run_files, value

pytestmark = pytest.mark.slow


async def failures(dsn: str) -> dict[str, str]:
    return {check.name: check.detail for check in await migrate.verify(dsn) if not check.ok}


async def test_verify_passes_after_up_and_after_psql(blank: str) -> None:
    """Every check passes, and the trial insert leaves no row."""
    run_files(blank, *FILES)
    assert await failures(blank) == {}
    await migrate.up(blank)
    assert await failures(blank) == {}
    assert value(blank, "SELECT count(*) FROM plugin_registry") == 0


async def test_the_expected_schema_is_that_of_the_migrations(blank: str) -> None:
    """A change of the schema writes expected.json again."""
    await migrate.up(blank)
    assert text_of(await describe(blank)) == FILE.read_text()


@pytest.mark.parametrize(
    ("damage", "check", "detail"),
    [
        ("DROP TABLE touched_days", "table touched_days", "missing"),
        ("DROP INDEX idx_plugin_enabled", "index idx_plugin_enabled", "missing"),
        ("ALTER TABLE ai_dialogue_log DROP temperature", "columns of ai_dialogue_log", "temperature is missing"),
        (
            "ALTER VIEW source_usability SET (security_invoker = false)",
            "view source_usability",
            "runs with the rights of its owner",
        ),
        ("DROP VIEW answers_citing_unusable_sources", "view answers_citing_unusable_sources", "missing"),
        (
            "ALTER TABLE ai_dialogue_log ALTER token_cost_jpy TYPE numeric(9,2)",
            "columns of ai_dialogue_log",
            "token_cost_jpy is numeric(9,2) instead of numeric(8,2)",
        ),
        ("COMMENT ON COLUMN provenance.id IS NULL", "comments of provenance", "none on id"),
        ("COMMENT ON TABLE dead_letters IS NULL", "comments of dead_letters", "none on the table itself"),
        ("ALTER TYPE content_type ADD VALUE 'more'", "enum content_type", "more instead of"),
        (
            "ALTER TABLE provenance DISABLE TRIGGER update_provenance_updated_at",
            "trigger on provenance",
            "none instead of only update_provenance_updated_at",
        ),
        (
            "CREATE TRIGGER again BEFORE UPDATE ON provenance FOR EACH ROW EXECUTE FUNCTION update_updated_at_column()",
            "trigger on provenance",
            "again, update_provenance_updated_at",
        ),
        (
            "ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced",
            "constraint ingest_ledger_balanced",
            "missing",
        ),
        (
            "ALTER TABLE plugin_registry ALTER health_status DROP DEFAULT",
            "insert into plugin_registry",
            "null value in column",
        ),
        (
            "ALTER TABLE ai_dialogue_log DROP CONSTRAINT fk_ai_dialogue_user",
            "foreign key fk_ai_dialogue_user",
            "missing",
        ),
        (
            "ALTER TABLE provenance DISABLE ROW LEVEL SECURITY",
            "policy provenance_read_policy",
            "ALTER TABLE provenance ENABLE ROW LEVEL SECURITY",
        ),
        ("DROP POLICY ai_dialogue_ingest ON ai_dialogue_log", "policy ai_dialogue_ingest", "missing"),
        (
            "ALTER POLICY ai_dialogue_user_isolation ON ai_dialogue_log"
            " USING (user_id = current_setting('app.current_user_id')::uuid)",
            "policy ai_dialogue_user_isolation",
            "ends queries with an error if app.current_user_id is not set",
        ),
        (
            "REVOKE INSERT ON dead_letters FROM ragledger_ingest",
            "role ragledger_ingest",
            "lacks INSERT on dead_letters",
        ),
        (
            "GRANT SELECT (query) ON ai_dialogue_log TO ragledger_dashboards",
            "role ragledger_dashboards",
            "REVOKE SELECT (query) ON ai_dialogue_log FROM ragledger_dashboards",
        ),
        (
            "ALTER TABLE ai_dialogue_log DISABLE TRIGGER mark_days_of_deleted_dialogues",
            "trigger mark_days_of_deleted_dialogues",
            "missing or disabled",
        ),
    ],
)
async def test_verify_names_each_defect(blank: str, damage: str, check: str, detail: str) -> None:
    """One object is damaged, and its check fails with that defect."""
    execute(blank, *APPLICATION_TABLES)
    await migrate.up(blank)
    assert await failures(blank) == {}
    execute(blank, damage)
    found = await failures(blank)
    assert detail in found[check]
    assert len(found) <= 4  # a column has rights and a constraint too
