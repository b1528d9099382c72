"""Tests unusual settings of the database or the role: everything works, or the fix is reported."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from consumer.admin import migrate
from consumer.admin.migrate import State
from consumer.maintenance.table_partitions import convert
from tests.support.ingestion import dialogues, environment_on, ids, ingest, send
from tests.support.psql import FILES, ROLLBACKS, catalog, execute, rows, run_files
from tests.support.roles import login
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, fresh_database, with_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

UNUSUAL = {
    "quote_all_identifiers": "on",
    "TimeZone": "Asia/Tokyo",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "default_transaction_isolation": "serializable",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "row_security": "off",
    "check_function_bodies": "off",
    "plpgsql.extra_errors": "all",
    "xmloption": "document",
    "client_encoding": "LATIN1",
    "array_nulls": "off",
    "extra_float_digits": "0",
    "lock_timeout": "4s",
}


def set_all(dsn: str, settings: dict[str, str]) -> None:
    """Set it for every later session of the database."""
    name = urlsplit(dsn).path.removeprefix("/")
    execute(dsn, *(f"ALTER DATABASE {name} SET {setting} = '{value}'" for setting, value in settings.items()))


async def failures(dsn: str) -> dict[str, str]:
    """Return the failed checks of verify."""
    return {check.name: check.detail for check in await migrate.verify(dsn) if not check.ok}


@pytest.fixture
def unusual(blank: str) -> str:
    """Return an empty database with all the unusual settings."""
    set_all(blank, UNUSUAL)
    return blank


async def test_all_unusual_settings_at_once(unusual: str) -> None:
    """The migrations, verify, partitions and all rollbacks work."""
    await migrate.up(unusual)
    assert await failures(unusual) == {}
    await convert(unusual, months_ahead=1)
    assert await failures(unusual) == {}
    await migrate.down(unusual, to=0)


def test_the_files_run_with_psql(unusual: str, request: pytest.FixtureRequest) -> None:
    """They run unchanged, twice; the schema equals that of a usual database."""
    run_files(unusual, *FILES, *FILES)
    name = urlsplit(unusual).path.removeprefix("/")
    execute(unusual, f"ALTER DATABASE {name} RESET ALL")
    made = catalog(unusual)
    with fresh_database(with_database(unusual, "postgres")) as usual:
        run_files(usual, *FILES)
        assert catalog(usual) == made
    set_all(unusual, UNUSUAL)
    run_files(unusual, *ROLLBACKS)


def test_the_service_writes(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """Rows, days and ledger are written, and the commands read them."""
    with environment_on(stack, migrated_template) as environment:
        set_all(environment.dsn, UNUSUAL)
        wanted = dialogues(environment.topics["dialogue"], 50, seed=1)
        send(stack.bootstrap_servers, wanted.values())
        ingest(environment, 50, tmp_path / "log")
        assert ids(environment) == wanted.keys()
        assert environment.run("ledger", "--check", "--caught-up").returncode == 0


async def test_a_read_only_default_is_reported(blank: str) -> None:
    """The message has the fix, and nothing is changed."""
    set_all(blank, {"default_transaction_read_only": "on"})
    with pytest.raises(migrate.ReadOnlyError, match="default_transaction_read_only"):
        await migrate.up(blank)


async def test_an_earlier_version_of_a_file_counts_as_applied(blank: str) -> None:
    """0011 had the same effect before it supported quote_all_identifiers."""
    await migrate.up(blank)
    (file,) = [file for file in FILES if file.name.startswith("0011")]
    (former,) = [line.split()[-1] for line in file.read_text().splitlines() if "ragledger: formerly" in line]
    execute(blank, f"UPDATE schema_migrations SET checksum = '{former}' WHERE version = 11")
    assert {one.state for one in (await migrate.status(blank)).migrations} == {State.APPLIED, State.SKIPPED}
    assert await migrate.up(blank, to=3) == ()


async def test_a_role_without_the_right_to_create_tables_is_reported(blank: str) -> None:
    """No role may in the schema public since PostgreSQL 15; or the search path names no schema."""
    with login(blank) as dsn:
        with pytest.raises(migrate.NoPlaceError, match="GRANT CREATE ON SCHEMA public TO"):
            await migrate.up(dsn)
        with pytest.raises(migrate.NoPlaceError, match="CREATE SCHEMA name AUTHORIZATION"):
            await migrate.up(f"{dsn}?options=-csearch_path%3Dnowhere")


# ── encodings ──


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def encoded(request: pytest.FixtureRequest, stack: Servers) -> Iterator[str]:
    """Return an empty database in another encoding."""
    with fresh_database(stack.dsn) as dsn:
        name = urlsplit(dsn).path.removeprefix("/")
        execute(stack.dsn, f"DROP DATABASE {name}")
        execute(
            stack.dsn,
            f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0",
        )
        yield dsn


async def test_another_encoding_is_refused_before_any_change(encoded: str) -> None:
    """Up names the encoding and the fix; doctor and verify do so for tables that psql has made."""
    with pytest.raises(migrate.EncodingError, match="ENCODING 'UTF8'"):
        await migrate.up(encoded)
    assert rows(encoded, "SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace") == []
    done = Environment(encoded, "127.0.0.1:9", {}).run("doctor", "--json")
    assert '"check": "encoding", "severity": "error"' in done.stdout
    run_files(encoded, *FILES)
    assert "ENCODING 'UTF8'" in (await failures(encoded))["encoding"]


def test_the_service_waits_if_the_database_has_another_encoding(
    encoded: str, bootstrap_servers: str, tmp_path: Path
) -> None:
    """psql has made the tables: no record is read, and /readyz and the log give the reason."""
    run_files(encoded, *FILES)
    environment = Environment(encoded, bootstrap_servers, {})
    with ServiceProcess(environment, tmp_path / "log") as service:
        problem = eventually(lambda: "the encoding of the database is" in service.get("/readyz")[1])
        assert problem
        eventually(lambda: "events are UTF-8" in (tmp_path / "log").read_text())
        assert service.get("/readyz")[0] == 503
        assert service.stop() == 0
