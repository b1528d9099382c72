"""Tests PostgreSQL over TLS: the server is verified with a test authority, and otherwise refused with a reason."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import psycopg
import pytest

from consumer.devstack import EmbeddedError, PostgresServer, Workspace
from tests.support.certificates import Authority, hand_over
from tests.support.ingestion import counts, dialogues, ids, log_lines, send, wait_for_records
from tests.support.psql import execute, value
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics, fresh_database

pytestmark = pytest.mark.timeout(120)

CLIENT = "ledger_service"
ONLY_ENCRYPTED = """
hostssl all postgres 127.0.0.1/32 trust
hostssl all all      127.0.0.1/32 cert
"""


class Encrypted(NamedTuple):
    """A server that accepts only TLS, its authority, and an unknown authority."""

    server: PostgresServer
    authority: Authority
    unknown_authority: Authority


def encrypted(made: ExitStack, *names: str) -> Encrypted:
    """Start a server with a certificate for these names: Debian's, because the embedded one has no TLS."""
    workspace = made.enter_context(Workspace())
    directory = workspace.directory / "tls"
    directory.mkdir(mode=0o755)
    authority, unknown_authority = Authority(directory, "authority"), Authority(directory, "unknown-authority")
    certificate, key = authority.issue("server", *names)
    hand_over(certificate, key)
    settings = {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
    settings["ssl_ca_file"] = str(authority.certificate)
    try:
        server = PostgresServer(workspace, version=15, durable=False, settings=settings)
        server.start()
    except EmbeddedError as error:
        pytest.skip(str(error))
    made.callback(server.stop)
    with psycopg.connect(f"{server.dsn}?sslmode=require", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {CLIENT} LOGIN SUPERUSER".encode())
        (server.data / "pg_hba.conf").write_text(ONLY_ENCRYPTED)
        connection.execute("SELECT pg_reload_conf()")
    return Encrypted(server, authority, unknown_authority)


@pytest.fixture(scope="module")
def here() -> Iterator[Encrypted]:
    """Return a server whose certificate is for 127.0.0.1."""
    with ExitStack() as made:
        yield encrypted(made, "IP:127.0.0.1")


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Encrypted]:
    """Return a server whose certificate is for another machine."""
    with ExitStack() as made:
        yield encrypted(made, "DNS:db.example")


def verified(place: Encrypted, **changes: str | Path) -> str:
    """Return a DSN that verifies the server."""
    options = {"sslmode": "verify-full", "sslrootcert": place.authority.certificate, **changes}
    return f"{place.server.dsn}?{urlencode({name: str(value) for name, value in options.items()})}"


def offline(dsn: str, **settings: str) -> Environment:
    """Return a database without Kafka."""
    return Environment(dsn, "127.0.0.1:9", {}, **settings)


def test_the_service_and_its_commands_verify_the_server(here: Encrypted, stack: Servers, tmp_path: Path) -> None:
    """Migrations, ingestion and checks use TLS; the server counts only encrypted sessions of ours."""
    topics = Topics(stack.bootstrap_servers)
    names = {kind: topics.create(1, prefix=kind) for kind in ("dialogue", "provenance")}
    with fresh_database(verified(here)) as dsn:
        environment = Environment(dsn, stack.bootstrap_servers, names)
        assert environment.run("migrate", "up").returncode == 0
        wanted = dialogues(names["dialogue"], 50, seed=1)
        send(stack.bootstrap_servers, wanted.values())
        with ServiceProcess(environment, tmp_path / "log") as service:
            wait_for_records(environment, 50)
            ours = "FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'ragledger'"
            assert value(dsn, f"SELECT bool_and(ssl) {ours}") is True
            assert service.stop() == 0
        assert environment.run("ledger", "--check", "--caught-up").returncode == 0
        assert counts(environment) == {"inserted": 50, "duplicates": 0, "dead": 0}
        assert ids(environment) == wanted.keys()
    topics.delete_all()


def test_authorities_can_be_set(here: Encrypted) -> None:
    """RAGLEDGER_POSTGRES__SSL_ROOT_CERT turns on verification in every command."""
    ours, theirs = (str(authority.certificate) for authority in (here.authority, here.unknown_authority))
    good = offline(here.server.dsn, RAGLEDGER_POSTGRES__SSL_ROOT_CERT=ours)
    bad = offline(here.server.dsn, RAGLEDGER_POSTGRES__SSL_ROOT_CERT=theirs)
    for command in (["migrate", "status"], ["dead-letters", "list"]):
        assert "certificate" not in good.run(*command).stderr
        refused = bad.run(*command)
        assert refused.returncode == 1
        assert "the server's certificate is not accepted" in refused.stderr


def test_the_system_s_authorities_can_be_trusted(here: Encrypted, elsewhere: Encrypted) -> None:
    """sslrootcert=system, as in libpq 16: OpenSSL's authorities, and the name has to match."""
    for place, wanted in ((here, 0), (elsewhere, 1)):
        known = offline(f"{place.server.dsn}?sslrootcert=system", SSL_CERT_FILE=str(place.authority.certificate))
        unknown = offline(
            f"{place.server.dsn}?sslrootcert=system", SSL_CERT_FILE=str(place.unknown_authority.certificate)
        )
        for command in (["migrate", "status"], ["dead-letters", "list"]):
            assert ("certificate is not accepted" in known.run(*command).stderr) == bool(wanted)
            assert "certificate is not accepted" in unknown.run(*command).stderr


def test_an_unknown_authority_is_refused(here: Encrypted) -> None:
    """One line names the problem and the setting."""
    for command in (["migrate", "status"], ["ledger"]):
        refused = offline(verified(here, sslrootcert=here.unknown_authority.certificate)).run(*command)
        assert refused.returncode == 1
        assert "the server's certificate is not accepted" in refused.stderr
        assert "name the authority that signed it with sslrootcert=" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_certificate_for_another_machine_is_refused(elsewhere: Encrypted) -> None:
    """The certificate is valid, but not for the requested name; with verify-ca the name does not matter."""
    refused = offline(verified(elsewhere)).run("migrate", "status")
    assert refused.returncode == 1
    assert "mismatch" in refused.stderr
    assert "connect by a name that is in the certificate" in refused.stderr
    assert offline(verified(elsewhere, sslmode="verify-ca")).run("migrate", "status").returncode == 0


def test_a_server_without_tls_is_refused(here: Encrypted, stack: Servers) -> None:
    """If verification is required, nothing is sent unencrypted."""
    asked = f"{stack.dsn}?sslmode=verify-full&sslrootcert={here.authority.certificate}"
    refused = offline(asked).run("migrate", "status")
    assert refused.returncode == 1
    assert "rejected SSL upgrade" in refused.stderr


def test_missing_files_are_named(here: Encrypted) -> None:
    """Authorities, certificate or key: every command fails with the path."""
    for option in ("sslrootcert", "sslcert", "sslkey"):
        refused = offline(verified(here, **{option: "/nowhere.pem"})).run("config", "check")
        assert refused.returncode == 1
        assert f"names {option}=/nowhere.pem, and there is no such file" in refused.stderr


def test_the_service_waits_for_an_acceptable_certificate(elsewhere: Encrypted, stack: Servers, tmp_path: Path) -> None:
    """It logs the problem once, is not ready, sends nothing, and stops in order on a signal."""
    environment = Environment(verified(elsewhere), stack.bootstrap_servers, {})
    log = tmp_path / "log"
    with ServiceProcess(environment, log) as service:
        (said,) = eventually(lambda: log_lines(log, "database_unavailable"))
        assert said["cause"] == "tls"
        assert "connect by a name that is in the certificate" in said["problem"]
        service.wait_check("database", "certificate")
        assert service.stop() == 0


def test_client_certificates(here: Encrypted) -> None:
    """The certificate gives the role; without one the server refuses, and its reason is shown."""
    certificate, key = here.authority.issue(CLIENT)
    mine = verified(here, sslcert=certificate, sslkey=key).replace("postgres@", f"{CLIENT}@")
    assert offline(mine).run("migrate", "status").returncode == 0
    execute(mine, "SELECT 1")
    for command in (["migrate", "status"], ["dead-letters", "list"]):
        refused = offline(verified(here).replace("postgres@", f"{CLIENT}@")).run(*command)
        assert refused.returncode == 1
        assert "requires a valid client certificate" in refused.stderr
