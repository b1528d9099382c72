"""Tests which rows a role sees: the two policies, with every state of the settings they use."""

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest

from consumer.admin import migrate
from consumer.admin.migrate.roles import COMPLIANCE, INGEST, READER
from tests.support.psql import FILES, ONE_DIALOGUE, VERSIONS, execute, one_file, rows, run_files, server_dsn, value
from tests.support.roles import login, name_of
from tests.support.stack import fresh_database

ANNA, BEN = UUID("5018c5a3-91f3-46af-94ff-2f9d15565fb4"), UUID("11111111-1111-4111-8111-111111111111")
SAMPLES = (
    "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)"
    f" SELECT unnest(ARRAY['{ANNA}', '{ANNA}', '{BEN}']::uuid[]), gen_random_uuid(), 'q', 'r', 'm', '2025-10-29'",
    "INSERT INTO provenance (content_id, content_type, source_uri, license_type, acquisition_method, acquired_at,"
    f" acquired_by) SELECT gen_random_uuid(), 'material', 'https://example.org', 'mit', 'api_fetch', '2025-10-29',"
    f" unnest(ARRAY['{ANNA}', '{BEN}', '{BEN}', NULL]::uuid[])",
)
POLICIES_AS_REVIEWED = """
-- Enable RLS on sensitive tables
ALTER TABLE ai_dialogue_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE provenance ENABLE ROW LEVEL SECURITY;

-- Policy: Users can only see their own dialogue logs
CREATE POLICY ai_dialogue_user_isolation ON ai_dialogue_log
  FOR SELECT
  USING (user_id = current_setting('app.current_user_id')::UUID);

-- Policy: Provenance is readable by content owners and admins
CREATE POLICY provenance_read_policy ON provenance
  FOR SELECT
  USING (
    acquired_by = current_setting('app.current_user_id')::UUID
    OR current_setting('app.user_role') = 'admin'
  );
"""


@pytest.fixture(scope="module", params=VERSIONS)
def samples(request: pytest.FixtureRequest) -> Iterator[str]:
    """Insert two dialogues of Anna and one of Ben; provenance: one of Anna, two of Ben, one without a user."""
    with fresh_database(server_dsn(request)) as dsn:
        run_files(dsn, *FILES)
        execute(dsn, *SAMPLES)
        yield dsn


@pytest.fixture(scope="module")
def reader(samples: str) -> Iterator[str]:
    """Return a login with ragledger_reader."""
    with login(samples, READER) as dsn:
        yield dsn


def seen(dsn: str, *settings: str) -> tuple[int, int]:
    """Return how many dialogues and pieces of provenance are visible with these settings."""
    with psycopg.connect(dsn) as connection:
        for setting in settings:
            connection.execute(setting.encode())
        counts = connection.execute(b"SELECT (SELECT count(*) FROM ai_dialogue_log), (SELECT count(*) FROM provenance)")
        found: tuple[int, int] = counts.fetchone() or (-1, -1)
        return found


def user(text: object) -> str:
    return f"SET app.current_user_id = '{text}'"


ADMIN = "SET app.user_role = 'admin'"


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ([], (0, 0)),
        ([user("")], (0, 0)),
        ([user(ANNA), "RESET app.current_user_id"], (0, 0)),
        ([user("anna")], (0, 0)),
        ([user(f"{ANNA}' OR 'a' = 'a".replace("'", "''"))], (0, 0)),
        ([user(str(ANNA)[:-1])], (0, 0)),
        ([user(f"{ANNA}0")], (0, 0)),
        ([user(ANNA)], (2, 1)),
        ([user(str(ANNA).upper())], (2, 1)),
        ([user(ANNA.hex)], (2, 1)),
        ([user(BEN)], (1, 2)),
        ([user("22222222-2222-4222-8222-222222222222")], (0, 0)),
        ([ADMIN], (0, 4)),
        ([ADMIN, user("")], (0, 4)),
        ([ADMIN, user("anna")], (0, 4)),
        ([ADMIN, user(ANNA)], (2, 4)),
        (["SET app.user_role = ''", user(ANNA)], (2, 1)),
        (["SET app.user_role = 'Admin'"], (0, 0)),
    ],
)
def test_a_reader_sees_the_rows_of_the_settings(reader: str, settings: list[str], wanted: tuple[int, int]) -> None:
    """Unset, empty, reset, no UUID: no rows and no error, for an administrator too; else the rows of that user."""
    assert seen(reader, *settings) == wanted


def test_a_setting_of_a_transaction_ends_with_it(reader: str) -> None:
    """A pooler hands the session to the next client, who sees no row."""
    with psycopg.connect(reader, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('app.current_user_id', %s, true)", [str(ANNA)])
            assert connection.execute("SELECT count(*) FROM ai_dialogue_log").fetchone() == (2,)
        assert connection.execute("SELECT count(*) FROM ai_dialogue_log").fetchone() == (0,)


def test_a_reader_cannot_bypass_the_policies(reader: str) -> None:
    """row_security = off is an error, COPY shows the same as SELECT, and no row can be locked."""
    with psycopg.connect(reader, autocommit=True) as connection:
        connection.execute("SET row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            connection.execute("SELECT count(*) FROM ai_dialogue_log")
        connection.execute("RESET row_security")
        connection.execute(user(BEN).encode())
        with connection.cursor().copy("COPY ai_dialogue_log (user_id) TO STDOUT") as lines:
            assert [bytes(line).decode().strip() for line in lines] == [str(BEN)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM ai_dialogue_log FOR UPDATE")


def test_a_login_can_be_restricted_to_one_user(samples: str) -> None:
    """The application sets the user; a restrictive policy restricts a person with SQL access to one user."""
    with login(samples, READER) as anna:
        execute(
            samples,
            f"CREATE POLICY only_anna ON ai_dialogue_log AS RESTRICTIVE FOR SELECT TO {name_of(anna)}"
            f" USING (user_id = '{ANNA}')",
        )
        try:
            assert seen(anna, user(BEN))[0] == 0
            assert seen(anna, user(ANNA))[0] == 2
        finally:
            execute(samples, "DROP POLICY only_anna ON ai_dialogue_log")


def test_auditors_see_everything_with_any_settings(samples: str) -> None:
    """They see the texts too."""
    with login(samples, COMPLIANCE) as auditor:
        assert seen(auditor) == (3, 4)
        assert seen(auditor, user(BEN)) == (3, 4)
        assert value(auditor, "SELECT count(query) FROM ai_dialogue_log") == 3


def test_a_role_that_is_not_a_member_sees_nothing(samples: str) -> None:
    """Rights that an administrator grants by hand are subject to the policies too."""
    with login(samples) as stranger:
        execute(samples, f"GRANT SELECT, INSERT ON ai_dialogue_log, provenance TO {name_of(stranger)}")
        assert seen(stranger) == (0, 0)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            execute(stranger, ONE_DIALOGUE)


def test_the_owner_sees_everything(samples: str) -> None:
    """Row security is not forced: indexes, foreign keys, backups and the roll-up of an owner read all rows."""
    assert seen(samples) == (3, 4)
    forced = "SELECT bool_or(relforcerowsecurity) FROM pg_class WHERE relname IN ('ai_dialogue_log', 'provenance')"
    assert value(samples, forced) is False


def test_a_users_rows_are_found_by_index(blank: str) -> None:
    """The condition of the policy uses the index."""
    run_files(blank, *FILES)
    execute(
        blank,
        "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm' FROM generate_series(1, 5000)",
        "ANALYZE ai_dialogue_log",
    )
    with login(blank, READER) as reader, psycopg.connect(reader) as connection:
        connection.execute(user(ANNA).encode())
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN SELECT query FROM ai_dialogue_log").fetchall())
    assert "idx_ai_dialogue_user" in plan
    assert "Seq Scan" not in plan


def test_the_service_sees_everything_except_texts(samples: str) -> None:
    """It needs every row to compute a day, but no question and no answer."""
    with login(samples, INGEST) as service:
        assert value(service, "SELECT count(user_id) FROM ai_dialogue_log") == 3
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            value(service, "SELECT count(response) FROM ai_dialogue_log")


async def test_the_reviewed_statements_run_and_are_corrected(blank: str) -> None:
    """Run literally, they fail if a setting is unset; 0008 gives the same policies another condition."""
    await migrate.up(blank, to=6)
    execute(blank, *POLICIES_AS_REVIEWED.split(";\n")[:-1], *SAMPLES)
    with login(blank) as stranger:
        execute(blank, f"GRANT SELECT ON ai_dialogue_log, provenance TO {name_of(stranger)}")
        assert seen(stranger, user(ANNA), "SET app.user_role = ''") == (2, 1)
        with pytest.raises(psycopg.errors.UndefinedObject):
            seen(stranger)
        assert (
            "current_user_id is not set"
            in {c.name: c.detail for c in await migrate.verify(blank)}["policy ai_dialogue_user_isolation"]
        )
        run_files(blank, one_file("0008"))
        assert seen(stranger) == (0, 0)
        assert seen(stranger, user(ANNA)) == (2, 1)
    named = rows(blank, "SELECT policyname FROM pg_policies WHERE cmd = 'SELECT' AND roles = '{public}' ORDER BY 1")
    assert [row["policyname"] for row in named] == ["ai_dialogue_user_isolation", "provenance_read_policy"]
