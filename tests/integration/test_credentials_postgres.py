"""Tests PostgreSQL credentials that change while the service writes: it uses the new ones, and no record is lost or
duplicated. Wrong credentials are reported once, and the problem ends when they are correct.
"""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode, urlsplit

import psycopg
import pytest

from consumer.devstack import PostgresServer, Workspace
from tests.integration.test_tls import CLIENT, encrypted
from tests.support.certificates import hand_over
from tests.support.ingestion import log_lines, wait_for_records
from tests.support.load import Load
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GUARDED = """
local all all                   trust
host  all postgres 127.0.0.1/32 trust
host  all all      127.0.0.1/32 scram-sha-256
"""
SMALL_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "20", "RAGLEDGER_BATCH__MAX_DELAY_MS": "50"}
WITHIN_S = 60.0
ROLE = "rotating"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """Return a server that requires a password of every user except the tests."""
    with Workspace() as workspace:
        made = PostgresServer(workspace, durable=False)
        made.start()
        with psycopg.connect(made.dsn, autocommit=True) as connection:
            (made.data / "pg_hba.conf").write_text(GUARDED)
            connection.execute("SELECT pg_reload_conf()")
        yield made
        made.stop()


@contextmanager
def environment_on(dsn: str, stack: Servers) -> Iterator[Environment]:
    """Create a migrated database and a topic; the variables have no DSN."""
    topics = Topics(stack.bootstrap_servers)
    with fresh_database(dsn) as fresh:
        environment = Environment(
            fresh, stack.bootstrap_servers, {"dialogue": topics.create(2, prefix="dialogue")}, **SMALL_BATCHES
        )
        assert environment.run("migrate", "up").returncode == 0
        del environment.variables["RAGLEDGER_POSTGRES__DSN"]
        yield environment
    topics.delete_all()


@pytest.fixture
def environment(server: PostgresServer, stack: Servers) -> Iterator[Environment]:
    """Return an environment on the server that requires a password; the role has the first password."""
    execute(server.dsn, f"DROP ROLE IF EXISTS {ROLE}", f"CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD 'Zq7K-first'")
    with environment_on(server.dsn, stack) as made:
        yield made


def as_user(dsn: str, login: str, **parameters: str) -> str:
    """Return the DSN with `user` or `user:password`."""
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{login}@127.0.0.1:{parts.port}", query=urlencode(parameters)).geturl()


def cut_sessions(environment: Environment, *statements: str) -> None:
    """Run statements, and end every session of the service."""
    ours = "application_name LIKE 'ragledger%' AND datname = current_database()"
    execute(environment.dsn, *statements, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")


Write: TypeAlias = Callable[[str], None]


def in_secrets_directory(environment: Environment, directory: Path) -> Write:
    """Put the DSN into a file of a secrets directory. Return a function that replaces it as Kubernetes does."""
    environment.variables["RAGLEDGER_SECRETS_DIR"] = str(directory)

    def write(password: str) -> None:
        new = directory / "new"
        new.write_text(as_user(environment.dsn, f"{ROLE}:{password}"))
        new.rename(directory / "RAGLEDGER_POSTGRES__DSN")

    return write


def in_env_file(environment: Environment, directory: Path) -> Write:
    """Put the DSN into the env file. Return a function that replaces it."""
    file = directory / "env"
    environment.variables["RAGLEDGER_ENV_FILE"] = str(file)
    return lambda password: _write(file, f"RAGLEDGER_POSTGRES__DSN={as_user(environment.dsn, f'{ROLE}:{password}')}\n")


def in_password_file(environment: Environment, directory: Path) -> Write:
    """Use a password file that the DSN names, as clients of libpq do. Return a function that replaces it."""
    file = directory / "pgpass"
    environment.variables["RAGLEDGER_POSTGRES__DSN"] = as_user(environment.dsn, ROLE, passfile=str(file))
    return lambda password: _write(file, f"*:*:*:{ROLE}:{password}\n")


def _write(file: Path, text: str) -> None:
    file.touch(0o600)
    file.write_text(text)


@pytest.mark.parametrize("place", [in_secrets_directory, in_env_file, in_password_file])
def test_a_password_changes_under_load(
    environment: Environment, tmp_path: Path, place: Callable[[Environment, Path], Write]
) -> None:
    """It changes in the database first and later in the file. Meanwhile one line reports it and /readyz is red; then
    the service continues by itself.
    """
    write, load, log = place(environment, tmp_path), Load(environment), tmp_path / "log"
    write("Zq7K-first")
    load.publish(600)
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 100)
        cut_sessions(environment, f"ALTER ROLE {ROLE} PASSWORD 'Zq7K-second'")
        load.publish(600)
        service.wait_check("database", "password authentication failed", ROLE, "RAGLEDGER_POSTGRES__DSN", timeout=60)
        service.wait_check("writes", "password authentication failed", timeout=60)
        assert service.get("/healthz")[0] == 200
        write("Zq7K-second")
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=WITHIN_S, message="the replica is ready again")
        load.publish(100)
        load.assert_exact(service)
        assert service.stop() == 0
    reports = log_lines(log, "database_unavailable")
    assert [line["cause"] for line in reports if "authentication" in line["problem"]] == ["privilege"]
    assert len(reports) <= 2  # the sessions that ended, and the password
    assert "Zq7K" not in log.read_text()


def test_another_user_takes_over(environment: Environment, tmp_path: Path) -> None:
    """Vault creates a new user with each password. The old user can no longer log in."""
    file = tmp_path / "RAGLEDGER_POSTGRES__DSN"
    environment.variables["RAGLEDGER_SECRETS_DIR"] = str(tmp_path)
    file.write_text(as_user(environment.dsn, f"{ROLE}:Zq7K-first"))
    load = Load(environment)
    load.publish(300)
    execute(environment.dsn, f"DROP ROLE IF EXISTS {ROLE}_2", f"CREATE ROLE {ROLE}_2 LOGIN SUPERUSER PASSWORD 'x'")
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 50)
        file.write_text(as_user(environment.dsn, f"{ROLE}_2:x"))
        cut_sessions(environment, f"ALTER ROLE {ROLE} NOLOGIN")
        load.publish(300)
        load.assert_exact(service)
        users = "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name = 'ragledger'"
        assert [row["usename"] for row in environment.query(users)] == [f"{ROLE}_2"]
        assert service.stop() == 0


def test_a_secret_that_is_gone_is_named(environment: Environment, tmp_path: Path) -> None:
    """The service must not use the default instead, which is another database."""
    write, load = in_secrets_directory(environment, tmp_path), Load(environment)
    write("Zq7K-first")
    load.publish(100)
    with ServiceProcess(environment, tmp_path / "log") as service:
        load.assert_exact(service)
        (tmp_path / "RAGLEDGER_POSTGRES__DSN").unlink()
        cut_sessions(environment)
        service.wait_check("database", "RAGLEDGER_POSTGRES__DSN: was set when the process started", timeout=60)
        write("Zq7K-first")
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=WITHIN_S, message="the replica is ready again")
        load.publish(100)
        load.assert_exact(service)
        assert service.stop() == 0


# ── a program that prints the password ──


class Program:
    """A program that prints the content of a file, and records each run."""

    def __init__(self, directory: Path) -> None:
        self.password, self._runs = directory / "password", directory / "runs"
        script = directory / "print_password.py"
        script.write_text(
            "import pathlib, sys\n"
            f"pathlib.Path({str(self._runs)!r}).open('a').write('run\\n')\n"
            f"password = pathlib.Path({str(self.password)!r}).read_text()\n"
            "print(password)\n"
            "sys.exit(password == 'Zq7K-broken')\n"
        )
        self.command = shlex.join([sys.executable, str(script)])

    @property
    def runs(self) -> int:
        """Return how often it was run."""
        return len(self._runs.read_text().splitlines())


def test_a_program_prints_the_password(environment: Environment, tmp_path: Path) -> None:
    """The service and every command use it. It is run again if the server rejects the password, not for each
    connection.
    """
    program, load, log = Program(tmp_path), Load(environment), tmp_path / "log"
    program.password.write_text("Zq7K-first")
    environment.variables |= {
        "RAGLEDGER_POSTGRES__DSN": as_user(environment.dsn, ROLE),
        "RAGLEDGER_POSTGRES__PASSWORD_COMMAND": program.command,
    }
    for command in (["config", "check"], ["migrate", "status"], ["ledger"], ["partition", "plan"]):
        assert environment.run(*command).returncode == 0, command
    assert "cannot connect" not in environment.run("doctor").stdout
    load.publish(300)
    with ServiceProcess(environment, log) as service:
        wait_for_records(environment, 50)
        before = program.runs
        program.password.write_text("Zq7K-broken")
        cut_sessions(environment, f"ALTER ROLE {ROLE} PASSWORD 'Zq7K-second'")
        service.wait_check("database", "RAGLEDGER_POSTGRES__PASSWORD_COMMAND", "exit code 1", timeout=60)
        program.password.write_text("Zq7K-second")
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=WITHIN_S, message="the replica is ready again")
        load.publish(300)
        load.assert_exact(service)
        assert program.runs - before < 20
        assert service.stop() == 0
    reports = log_lines(log, "database_unavailable")
    assert [line["cause"] for line in reports].count("credentials") == 1
    assert "Zq7K" not in log.read_text()


# ── certificates ──


@pytest.mark.timeout(240)
def test_certificates_are_replaced(stack: Servers, tmp_path: Path) -> None:
    """Another authority signs the server's certificate, and then ours. Each problem ends with the new files."""
    with ExitStack() as made:
        place = encrypted(made, "IP:127.0.0.1")
        files = {name: tmp_path / f"{name}.pem" for name in ("sslrootcert", "sslcert", "sslkey")}
        ours = dict(zip(("sslcert", "sslkey"), place.authority.issue(CLIENT), strict=True))
        replace(files, sslrootcert=place.authority.certificate, **ours)
        trusting = f"{place.server.dsn}?sslmode=require"
        with environment_on(trusting, stack) as environment:
            parameters = {"sslmode": "verify-full", **{name: str(path) for name, path in files.items()}}
            environment.variables["RAGLEDGER_POSTGRES__DSN"] = as_user(environment.dsn, CLIENT, **parameters)
            load = Load(environment)
            load.publish(200)
            with ServiceProcess(environment, tmp_path / "log") as service:
                wait_for_records(environment, 50)
                certificate, key = place.unknown_authority.issue("server", "IP:127.0.0.1")
                hand_over(certificate, key)
                cut_sessions(
                    environment,
                    f"ALTER SYSTEM SET ssl_cert_file = '{certificate}'",
                    f"ALTER SYSTEM SET ssl_key_file = '{key}'",
                    f"ALTER SYSTEM SET ssl_ca_file = '{place.unknown_authority.certificate}'",
                    "SELECT pg_reload_conf()",
                )
                load.publish(200)
                service.wait_check("database", "certificate is not accepted", timeout=60)
                ours = dict(zip(("sslcert", "sslkey"), place.unknown_authority.issue(CLIENT), strict=True))
                replace(files, sslrootcert=place.unknown_authority.certificate, **ours)
                eventually(
                    lambda: service.get("/readyz")[0] == 200, timeout=WITHIN_S, message="the replica is ready again"
                )
                load.assert_exact(service)
                assert service.stop() == 0


def replace(files: dict[str, Path], **sources: Path) -> None:
    """Replace these files, one after the other."""
    for name, source in sources.items():
        files[name].write_bytes(source.read_bytes())
        files[name].chmod(0o600)
