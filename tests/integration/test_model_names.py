"""Tests migration 0020: model names of up to 255 characters, without a rewrite, and with every view unchanged."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from consumer.admin import migrate
from consumer.maintenance.table_partitions import convert
from tests.support.partitions import converted, fill
from tests.support.psql import FILES, ONE_DIALOGUE, catalog, execute, one_file, psql, rows, run_files, value

pytestmark = pytest.mark.slow

UP, DOWN = one_file("0020"), one_file("rollback_0020")
LONG, LONGER = ONE_DIALOGUE.replace("'m'", f"'{'m' * 255}'"), ONE_DIALOGUE.replace("'m'", f"'{'m' * 256}'")
FILES_ON_DISK = (
    "SELECT array_agg(pg_relation_filenode(oid) ORDER BY oid) FROM pg_class WHERE relname ~ '^(idx_)?ai_dialogue'"
)
WIDTHS = """
SELECT DISTINCT format_type(atttypid, atttypmod) AS type FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE attname = 'model_used' AND relkind IN ('r', 'p')
"""
VIEWS = """
SELECT relname, pg_get_viewdef(view.oid), reloptions, pg_get_userbyid(relowner) AS owner, relacl::text,
  array_agg((attname, attacl::text, col_description(view.oid, attnum))::text ORDER BY attnum) AS columns,
  obj_description(view.oid, 'pg_class') AS comment
FROM pg_class AS view JOIN pg_attribute ON attrelid = view.oid AND attnum > 0
WHERE relkind = 'v' AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
GROUP BY view.oid, relname, reloptions, relowner, relacl ORDER BY relname
"""


class Interrupted(Exception):
    """Ends a conversion."""


@pytest.fixture
def before(blank: str) -> str:
    """Return a database as it was before 0020, with a dialogue."""
    run_files(blank, *(file for file in FILES if file.name < "0020"))
    execute(blank, ONE_DIALOGUE)
    return blank


def widths(dsn: str) -> set[str]:
    """Return the types of the column in all tables."""
    return {row["type"] for row in rows(dsn, WIDTHS)}


def test_longer_names_are_stored_without_rewriting_rows(before: str) -> None:
    """No table and no index gets a new file; 256 characters are still too many."""
    with pytest.raises(psycopg.errors.StringDataRightTruncation):
        execute(before, LONG)
    files, views = value(before, FILES_ON_DISK), rows(before, VIEWS)
    run_files(before, UP, UP)
    assert (value(before, FILES_ON_DISK), rows(before, VIEWS)) == (files, views)
    assert widths(before) == {"character varying(255)"}
    execute(before, LONG)
    with pytest.raises(psycopg.errors.StringDataRightTruncation):
        execute(before, LONGER)


def test_a_partitioned_table_is_widened_with_its_partitions(before: str) -> None:
    """So are partitions that are made later."""
    fill(before)
    converted(before)
    files = value(before, FILES_ON_DISK)
    run_files(before, UP, UP)
    assert value(before, FILES_ON_DISK) == files
    assert widths(before) == {"character varying(255)"}
    execute(before, LONG)
    asyncio.run(migrate.up(before))
    assert [check for check in asyncio.run(migrate.verify(before)) if not check.ok] == []


@pytest.mark.parametrize("step", ["copy", "replace the table"])
def test_a_conversion_that_has_begun_can_continue(before: str, step: str) -> None:
    """Its copy is changed with the table; later writes are mirrored, and both tables are equal at the end."""
    fill(before)

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        asyncio.run(convert(before, months_ahead=1, on_progress=on_progress))
    run_files(before, UP)
    execute(before, LONG)
    assert asyncio.run(convert(before, months_ahead=1)).state == "done"
    assert widths(before) == {"character varying(255)"}
    assert value(before, "SELECT count(*) FROM ai_dialogue_log WHERE char_length(model_used) = 255") == 1


OTHERS = (
    "CREATE SCHEMA reports",
    "CREATE VIEW reports.models WITH (security_barrier = true) AS SELECT model_used, count(*) AS answers"
    " FROM ai_dialogue_log GROUP BY model_used",
    'CREATE VIEW reports."Top models" (name) AS SELECT model_used FROM reports.models ORDER BY answers DESC LIMIT 3',
    'CREATE VIEW both_of_them AS SELECT a.model_used, b.name FROM ai_dialogue_log a, reports."Top models" b',
    "CREATE VIEW questions WITH (check_option = local) AS SELECT query FROM ai_dialogue_log",
    "COMMENT ON VIEW reports.models IS 'it''s ours'",
    "COMMENT ON COLUMN reports.\"Top models\".name IS 'the model'",
    "GRANT SELECT ON reports.models TO PUBLIC",
    'GRANT SELECT (name) ON reports."Top models" TO pg_monitor WITH GRANT OPTION',
    "GRANT SELECT, UPDATE ON both_of_them TO pg_monitor WITH GRANT OPTION",
    "ALTER VIEW reports.models OWNER TO pg_monitor",
)


def test_views_of_others_are_created_again_unchanged(before: str) -> None:
    """Views on views too, in other schemas, with options, owner, privileges and comments, up and down."""
    execute(before, *OTHERS)
    views = rows(before, VIEWS)
    run_files(before, UP)
    assert rows(before, VIEWS) == views
    run_files(before, DOWN, DOWN)
    assert rows(before, VIEWS) == views
    assert widths(before) == {"character varying(100)"}


def test_views_of_others_get_no_right_from_default_privileges(before: str) -> None:
    """Otherwise every role could use them with the owner's rights."""
    execute(before, *OTHERS[:2], "ALTER DEFAULT PRIVILEGES GRANT SELECT, UPDATE ON TABLES TO PUBLIC, pg_monitor")
    held = (
        "SELECT has_table_privilege('pg_monitor', 'reports.models', 'SELECT, UPDATE') OR EXISTS"
        " (SELECT FROM pg_class, aclexplode(relacl) WHERE relname = 'models' AND grantee = 0) AS is_open"
    )
    assert value(before, held) is False
    for file in (UP, DOWN):
        run_files(before, file)
        assert value(before, held) is False, file


@pytest.mark.parametrize(
    "special",
    [
        "CREATE MATERIALIZED VIEW kept AS SELECT model_used FROM ai_dialogue_log",
        "CREATE VIEW kept AS SELECT model_used FROM ai_dialogue_log;"
        " CREATE RULE quiet AS ON DELETE TO kept DO INSTEAD NOTHING",
        "CREATE VIEW kept AS SELECT model_used FROM ai_dialogue_log;"
        " ALTER VIEW kept ALTER COLUMN model_used SET DEFAULT 'm'",
    ],
)
def test_an_object_that_cannot_be_created_again_is_refused_by_name(before: str, special: str) -> None:
    """The message has the fix, and nothing is changed."""
    execute(before, *special.split("; "), "CREATE VIEW reader AS SELECT model_used FROM kept")
    schema = catalog(before)
    refused = psql(before, "-f", UP, check=False)
    assert refused.returncode == 3
    assert "kept reads model_used" in refused.stderr
    assert "Drop it, run this file again" in refused.stderr
    assert catalog(before) == schema


def test_the_rollback_refuses_longer_names_and_truncates_nothing(before: str) -> None:
    """A cast to a shorter varchar would silently remove trailing blanks. These are kept too."""
    run_files(before, UP)
    execute(before, ONE_DIALOGUE.replace("'m'", f"'{'m' * 100} '"))
    refused = psql(before, "-f", DOWN, check=False)
    assert refused.returncode == 3
    assert "1 dialogue(s) have a name of more than 100 characters" in refused.stderr
    assert value(before, "SELECT max(char_length(model_used)) FROM ai_dialogue_log") == 101
    execute(before, "DELETE FROM ai_dialogue_log WHERE char_length(model_used) > 100")
    run_files(before, DOWN, UP)
    assert widths(before) == {"character varying(255)"}


def test_the_rollback_does_not_rewrite_a_large_table(before: str) -> None:
    """The table would be locked meanwhile: the column stays wide, and the reason is reported."""
    run_files(before, UP)
    execute(
        before,
        "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'q', repeat('r', 1900), 'm' FROM generate_series(1, 10000)",
    )
    assert "stays VARCHAR(255)" in run_files(before, DOWN)
    assert widths(before) == {"character varying(255)"}
    run_files(before, UP)


def test_a_column_that_is_wide_enough_is_not_changed(before: str) -> None:
    """This applies to a wider column and to text."""
    execute(
        before, "DROP VIEW answers_citing_unusable_sources", "ALTER TABLE ai_dialogue_log ALTER model_used TYPE text"
    )
    run_files(before, UP, DOWN)
    assert widths(before) == {"text"}
