"""Runs the schema files with psql, as an administrator does."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

SCHEMA = Path(__file__).parents[2] / "schema"
FILES = sorted(SCHEMA.glob("0*.sql"))
ROLLBACKS = sorted(SCHEMA.glob("rollback_*.sql"), reverse=True)

BASE_COLUMNS = {"id", "user_id", "session_id", "query", "response", "model_used", "created_at", "updated_at"}
BASE_TABLE = """
CREATE TABLE ai_dialogue_log (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(), user_id UUID NOT NULL, session_id UUID NOT NULL,
  query TEXT NOT NULL, response TEXT NOT NULL, model_used VARCHAR(100) NOT NULL,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL, updated_at TIMESTAMP DEFAULT NOW() NOT NULL
)
"""
PARTITIONED_TABLE = """
CREATE TABLE ai_dialogue_log (
  id UUID DEFAULT gen_random_uuid(), user_id UUID NOT NULL, session_id UUID NOT NULL,
  query TEXT NOT NULL, response TEXT NOT NULL, model_used VARCHAR(100) NOT NULL,
  created_at TIMESTAMP DEFAULT NOW() NOT NULL, updated_at TIMESTAMP DEFAULT NOW() NOT NULL,
  PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at)
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

# Every property of a schema, one in each line. Column order and oids are left out: they depend on how it was created.
_CATALOG = """
SELECT format('column %s.%s %s%s default %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END, pg_get_expr(d.adbin, d.adrelid)) AS line
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT format('index %s %s', indisvalid, pg_get_indexdef(indexrelid))
FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT format('constraint %s %s %s %s', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid))
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL
SELECT format('policy %s %s on %s to %s: %s %s', polcmd, polname, polrelid::regclass,
              ARRAY(SELECT rolname FROM pg_roles WHERE oid = ANY (polroles)),
              pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
FROM pg_policy
UNION ALL
SELECT format('row security %s', relname) FROM pg_class WHERE relrowsecurity
UNION ALL
SELECT format('grant %s on %s to %s', privilege_type, relname, grantee::regrole)
FROM pg_class, aclexplode(relacl)
WHERE relnamespace = 'public'::regnamespace AND grantee::regrole::text LIKE 'ragledger%' AND grantee <> relowner
UNION ALL
SELECT format('grant %s on %s.%s to %s', privilege_type, attrelid::regclass, attname, grantee::regrole)
FROM pg_attribute, aclexplode(attacl)
WHERE grantee::regrole::text LIKE 'ragledger%' AND NOT attisdropped  -- 15 keeps the grants of columns that are gone
UNION ALL
SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL
SELECT format('enum %s %s', enumtypid::regtype, string_agg(enumlabel, ', ' ORDER BY enumsortorder))
FROM pg_enum GROUP BY enumtypid
UNION ALL
SELECT format('function %s %s%s', p.oid::regprocedure, prosrc, pg_get_function_sqlbody(p.oid))
FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
UNION ALL
SELECT format('view %s %s %s', c.oid::regclass, c.reloptions, pg_get_viewdef(c.oid))
FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace
UNION ALL
SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
FROM pg_description WHERE pg_describe_object(classoid, objoid, objsubid) NOT LIKE '%extension%'
  AND (objoid >= 16384)
ORDER BY line
"""


def psql(dsn: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run psql as the schema's README says; with `check`, fail the test if it fails."""
    client = shutil.which("psql")
    if client is None:
        pytest.skip("the psql client is not installed")
    command = [client, "-X", "-v", "ON_ERROR_STOP=1", *map(str, arguments), dsn]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def run_files(dsn: str, *files: Path) -> str:
    """Run these files in order and return psql's standard error."""
    return psql(dsn, *(option for file in files for option in ("-f", file))).stderr if files else ""


def one_file(number: str) -> Path:
    """Return the file whose name begins like this, such as 0003 or rollback_0003."""
    return next(file for file in (*FILES, *ROLLBACKS) if file.name.startswith(number))


def one_rollback(number: str) -> Path:
    """Return the rollback of the file with this number."""
    return next(file for file in ROLLBACKS if file.name.startswith(f"rollback_{number}"))


def execute(dsn: str, *statements: str) -> None:
    """Run each statement in a transaction of its own."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def rows(dsn: str, statement: str) -> list[dict[str, Any]]:
    """Return the rows of a query, column name to value."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(statement.encode()).fetchall()


def value(dsn: str, statement: str) -> Any:
    """Return the only value of a query."""
    (row,) = rows(dsn, statement)
    (found,) = row.values()
    return found


def catalog(dsn: str) -> list[str]:
    """Return every property of the public schema, one in each line."""
    return [row["line"] for row in rows(dsn, _CATALOG)]


# The oldest supported version and the newest one; what is tested with the oldest one belongs to the slow tests.
VERSIONS = [pytest.param(15, marks=pytest.mark.slow), 18]


def server_dsn(request: pytest.FixtureRequest) -> str:
    """Return the DSN of the server whose major version is the fixture's parameter, 15 or 18."""
    server = request.getfixturevalue("postgres15" if request.param == 15 else "postgres18")
    return str(server.dsn)
