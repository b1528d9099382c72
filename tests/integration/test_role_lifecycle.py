"""Tests creating the roles, sharing them between databases of one server, and removing them."""

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from consumer.admin import migrate
from consumer.admin.migrate import expected
from consumer.admin.migrate.roles import INGEST, MIGRATOR, OWNER, READER, ROLES
from consumer.devstack import EmbeddedError, PostgresServer, Workspace
from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    dialogues,
    environment_on,
    log_lines,
    send,
    wait_for_records,
)
from tests.support.producers import provenance
from tests.support.psql import (
    APPLICATION_TABLES,
    FILES,
    ROLLBACKS,
    VERSIONS,
    catalog,
    execute,
    one_file,
    psql,
    rows,
    run_files,
    value,
)
from tests.support.roles import as_role, login, name_of
from tests.support.service import Environment, ServiceProcess
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.slow

ROLLBACK = one_file("0008").with_name("rollback_0008_add_row_security.sql")
EARLIER = [file for file in FILES if file.name < "0008"]
WITH_ROLES = FILES[len(EARLIER) :]
ROLLBACKS_TO_7 = ROLLBACKS[: len(WITH_ROLES)]
OURS = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'ragledger\\_%' ORDER BY 1"
OWNERS = """
SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a PostgreSQL of its own for this file, because roles are global."""
    with Workspace() as workspace:
        try:
            own = PostgresServer(workspace, version=request.param, durable=False)
        except EmbeddedError as error:
            pytest.skip(str(error))
        own.start()
        yield own.dsn
        own.stop()


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """Return an empty database; afterwards the server has none of the roles."""
    with fresh_database(server) as dsn:
        yield dsn
    for role in names(server):
        execute(server, f"DROP ROLE {role}")


@contextmanager
def owned_by(server: str, role: str) -> Iterator[str]:
    """Return an empty database that belongs to a role, for that role."""
    with fresh_database(server) as dsn:
        execute(server, f"ALTER DATABASE {urlsplit(dsn).path.removeprefix('/')} OWNER TO {role}")
        yield as_role(dsn, role)


@contextmanager
def person(server: str, attributes: str = "") -> Iterator[str]:
    """Return the name of a role that may log in, and owns nothing yet."""
    with login(server, attributes=attributes) as dsn:
        yield name_of(dsn)


def names(dsn: str) -> list[str]:
    """Return our roles on the server."""
    return [row["rolname"] for row in rows(dsn, OURS)]


def owners(dsn: str) -> set[str]:
    """Return the owners of the tables."""
    return {row["owner"] for row in rows(dsn, OWNERS)}


async def failures(dsn: str) -> dict[str, str]:
    return {check.name: check.detail for check in await migrate.verify(dsn) if not check.ok}


async def test_a_superuser_makes_everything(database: str) -> None:
    """All roles exist, the owner owns all tables, and verify finds no defect; a second run changes nothing."""
    await migrate.up(database)
    assert names(database) == sorted(ROLES)
    assert owners(database) == {OWNER}
    assert await failures(database) == {}
    before = catalog(database)
    run_files(database, *FILES)
    assert catalog(database) == before
    assert await failures(database) == {}


async def test_rolling_back_removes_everything(database: str) -> None:
    """Policies, trigger, grants, owner and roles are gone; up gives the same again."""
    await migrate.up(database, to=6)
    before = catalog(database)
    await migrate.up(database)
    after = catalog(database)
    await migrate.down(database, to=6)
    assert catalog(database) == before
    assert owners(database) == {"postgres"}
    assert names(database) == []
    await migrate.up(database)
    assert catalog(database) == after


async def test_without_the_right_to_create_roles_policies_are_made(server: str, database: str) -> None:
    """A warning has the statements for an administrator. After them, the file completes the work."""
    with person(server) as owner, owned_by(server, owner) as dsn:
        (warned,) = [step.warnings for step in await migrate.up(dsn) if step.version == 8]
        assert f"{owner} may not make all the roles" in warned[0]
        statements = [f"CREATE ROLE {role} NOLOGIN" for role in ROLES]
        assert all(statement in warned[0] for statement in statements)
        assert await failures(dsn) == {}
        assert "as an administrator" in {c.name: c.detail for c in await migrate.verify(dsn)}[f"role {INGEST}"]
        made = rows(dsn, "SELECT policyname FROM pg_policies ORDER BY 1")
        assert [row["policyname"] for row in made] == [
            "ai_dialogue_user_isolation",
            "dialogue_traces_user_isolation",
            "provenance_read_policy",
        ]
        execute(server, *statements, f"GRANT {OWNER} TO {MIGRATOR}")
        assert "lacks INSERT on ai_dialogue_log" in (await failures(dsn))[f"role {INGEST}"]
        assert "the tables stay with" in run_files(dsn, *WITH_ROLES)
        assert await failures(dsn) == {}
        assert owners(dsn) == {owner}


async def test_a_database_owner_who_may_create_roles(server: str, database: str) -> None:
    """No superuser is needed: everything is made, the migrating role keeps its rights, and can roll everything back."""
    with person(server, "CREATEROLE") as owner, owned_by(server, owner) as dsn:
        assert [step.warnings for step in await migrate.up(dsn) if step.warnings] == []
        assert owners(dsn) == {OWNER}
        assert await failures(dsn) == {}
        await migrate.down(dsn, to=2)
        assert owners(dsn) == {owner}
        assert names(dsn) == []
        await migrate.up(dsn)
        await migrate.down(dsn, to=0)


def test_the_command_shows_the_warnings_of_the_database(server: str, database: str) -> None:
    """They are on standard error for people, and in the JSON for scripts."""
    with person(server) as owner, owned_by(server, owner) as dsn:
        environment = Environment(dsn, "127.0.0.1:9", {})
        done = environment.run("migrate", "up")
        assert done.returncode == 0
        assert "0008_add_row_security" in done.stderr
        assert f"As an administrator: CREATE ROLE {OWNER} NOLOGIN;" in done.stderr.replace("\n", " ")
        environment.run("migrate", "down", "--to", "6")
        steps = json.loads(environment.run("migrate", "up", "--json").stdout)
        assert [len(step["warnings"]) for step in steps if step["version"] == 8] == [1]


async def test_two_databases_share_the_roles(server: str, database: str) -> None:
    """After a rollback in one database, the roles keep their rights in the other. The last rollback drops them."""
    with fresh_database(server) as other:
        await migrate.up(database)
        await migrate.up(other)
        await migrate.down(database, to=6)
        assert names(server) == sorted(ROLES)
        assert await failures(other) == {}
        with login(other, INGEST) as service:
            assert value(service, "SELECT count(*) FROM touched_days") == 0
        await migrate.down(other, to=6)
        assert names(server) == []


async def test_two_databases_migrate_at_the_same_time(server: str, database: str) -> None:
    """The second one waits for the roles of the first and uses them."""
    with ExitStack() as made:
        dsns = [made.enter_context(fresh_database(server)) for _ in range(4)]
        await asyncio.gather(*(migrate.up(dsn, to=6) for dsn in dsns))
        await asyncio.gather(*(migrate.up(dsn) for dsn in dsns))
        for dsn in dsns:
            assert await failures(dsn) == {}
        for dsn in dsns:
            await migrate.down(dsn, to=6)
    assert names(server) == []


async def test_waiting_for_another_database_succeeds(server: str, database: str) -> None:
    """The other one has created a role without committing: this one waits, finds the role, and continues."""
    await migrate.up(database, to=6)
    with psycopg.connect(server) as other:
        other.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(OWNER)))
        waiting = asyncio.create_task(migrate.up(database))
        while not await asyncio.to_thread(is_waiting, server):
            assert not waiting.done()
            await asyncio.sleep(0.05)
        other.commit()
        await waiting
    assert await failures(database) == {}


def is_waiting(server: str) -> bool:
    """Return whether a session waits for the transaction of another one."""
    return bool(value(server, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"))


async def test_a_role_in_use_is_not_dropped(server: str, database: str) -> None:
    """A role with members or with other grants stays; this is reported, and its rights are kept."""
    await migrate.up(database)
    with fresh_database(server) as other, login(database, READER) as reader:
        execute(other, "CREATE TABLE mine ()", f"GRANT SELECT ON mine TO {INGEST}")
        said = run_files(database, *ROLLBACKS_TO_7)
        assert f"role {READER} stays: it has members" in said
        assert f"role {INGEST} stays: it is in use elsewhere" in said
        assert names(server) == [INGEST, READER]
        assert value(other, f"SELECT has_table_privilege('{INGEST}', 'mine', 'SELECT')") is True
        assert value(server, f"SELECT pg_has_role('{name_of(reader)}', '{READER}', 'MEMBER')") is True
        run_files(database, ROLLBACK, *WITH_ROLES)
        assert (await failures(database)) == {}
    await migrate.down(database, to=6)


async def test_tables_of_the_application_keep_their_owner(server: str, database: str) -> None:
    """Only tables of the migrating role get the new owner."""
    with person(server) as application:
        execute(
            database,
            "CREATE TABLE ai_dialogue_log (id UUID PRIMARY KEY DEFAULT gen_random_uuid(), user_id UUID NOT NULL,"
            " session_id UUID NOT NULL, query TEXT NOT NULL, response TEXT NOT NULL, model_used VARCHAR(100) NOT NULL,"
            " created_at TIMESTAMP DEFAULT NOW() NOT NULL, updated_at TIMESTAMP DEFAULT NOW() NOT NULL)",
            f"ALTER TABLE ai_dialogue_log OWNER TO {application}",
        )
        await migrate.up(database)
        assert owners(database) == {OWNER, application}
        assert await failures(database) == {}
        await migrate.down(database, to=0)
        assert owners(database) == {application}
        execute(database, "DROP TABLE ai_dialogue_log")


async def test_a_migrator_can_migrate(server: str, database: str) -> None:
    """The role ragledger_migrator alone is sufficient for down, up and verify."""
    await migrate.up(database)
    with login(database, MIGRATOR) as migrator:
        await migrate.down(migrator, to=6)
        await migrate.up(migrator)
        assert await failures(migrator) == {}
        execute(migrator, "ALTER TABLE touched_days ADD note TEXT", "ALTER TABLE touched_days DROP note")
        execute(database, f"REASSIGN OWNED BY {name_of(migrator)} TO postgres")
    await migrate.down(database, to=6)


async def test_objects_of_a_migrator_can_belong_to_the_owner(server: str, database: str) -> None:
    """With the role set at login, the next migrator may change them too."""
    await migrate.up(database)
    with login(database, MIGRATOR) as first, login(database, MIGRATOR) as second:
        execute(database, f"ALTER ROLE {name_of(first)} SET role = '{OWNER}'")
        execute(first, "CREATE TABLE more ()")
        execute(second, "DROP TABLE more")
    await migrate.down(database, to=6)


async def test_it_works_in_another_schema(server: str, database: str) -> None:
    """The search path decides; the trigger finds its tables there for every deleting role."""
    execute(database, "CREATE SCHEMA ragledger")
    own = f"{database}?options=-csearch_path%3Dragledger"
    await migrate.up(own)
    assert await failures(own) == {}
    execute(
        database,
        "INSERT INTO ragledger.rag_metrics_history (date) VALUES ('2025-10-29')",
        "INSERT INTO ragledger.ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm', '2025-10-29')",
        "DELETE FROM ragledger.ai_dialogue_log",
    )
    assert value(database, "SELECT string_agg(day::text, ' ') FROM ragledger.touched_days") == "2025-10-29"
    await migrate.down(own, to=0)


async def test_a_database_from_psql_is_taken_over(server: str, database: str) -> None:
    """schema_migrations is created after the roles, and still gets its grants and its owner."""
    run_files(database, *FILES)
    await migrate.up(database)
    assert owners(database) == {OWNER}
    assert await failures(database) == {}


def test_foreign_keys_can_be_applied_after_the_roles(server: str, database: str) -> None:
    """0004 runs after 0008 has changed the owner of the tables."""
    run_files(database, *FILES)
    execute(database, *APPLICATION_TABLES)
    run_files(database, one_file("0004"))
    assert value(database, "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated") == 3


def test_rolling_back_an_empty_database_does_nothing(server: str, database: str) -> None:
    """Twice, on an empty database and on one with the earlier files."""
    run_files(database, ROLLBACK, ROLLBACK)
    run_files(database, *EARLIER, ROLLBACK)
    assert psql(database, "-Atc", "SELECT count(*) FROM pg_policies").stdout.strip() == "0"


@pytest.mark.timeout(120)
def test_it_runs_while_rows_are_written_and_days_computed(
    stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """It runs repeatedly under load with everything to do: never a deadlock, and no session waits long."""
    with environment_on(stack, migrated_template, RAGLEDGER_ROLLUP__INTERVAL_S="0.1") as environment:
        environment.variables |= {"RAGLEDGER_BATCH__MAX_ROWS": "20", "RAGLEDGER_BATCH__MAX_DELAY_MS": "20"}
        published = 0
        with ServiceProcess(environment, tmp_path / "log") as service:
            for seed in range(6):
                both = [*dialogues(environment.topics["dialogue"], 100, seed).values(), *pieces(environment, seed)]
                send(stack.bootstrap_servers, both)
                published += len(both)
                execute(environment.dsn, *TAKEN_BACK)
                run_files(environment.dsn, one_file("0008"))
            wait_for_records(environment, published)
            assert service.stop() == 0
        assert counts(environment) == {"inserted": published, "duplicates": 0, "dead": 0}
        assert owners(environment.dsn) == {OWNER}
        assert log_lines(tmp_path / "log", "database_unavailable") == []


def made_before_the_roles(table: str) -> bool:
    """Return whether 0008 changes the owner; later files do so for their own tables."""
    return any(f"CREATE TABLE IF NOT EXISTS {table} " in file.read_text() for file in EARLIER)


TAKEN_BACK = [
    *(f"ALTER TABLE {table} OWNER TO CURRENT_USER" for table in expected.COLUMNS if made_before_the_roles(table)),
    "ALTER TABLE ai_dialogue_log DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE provenance DISABLE ROW LEVEL SECURITY",
]


def pieces(environment: Environment, seed: int) -> list[Outgoing]:
    """Return provenance."""
    chance = random.Random(seed)
    return [Outgoing(environment.topics["provenance"], as_json(provenance(chance))) for _ in range(100)]
