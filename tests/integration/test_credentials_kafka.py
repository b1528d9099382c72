"""Tests Kafka credentials that change while the service reads: it uses the new ones, and no record is lost or
duplicated.

The broker ends connections that have not logged in again for some seconds, so each mechanism logs in many times. Wrong
credentials are reported once, and the problem ends when they are correct.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from consumer.devstack import Workspace
from tests.support.certificates import Authority
from tests.support.ingestion import environment_on, log_lines, wait_for_records
from tests.support.load import Load
from tests.support.login_kafka import LoginKafka, write_secret
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Database, SharedServers
from tests.support.token_endpoint import CLIENT_ID, SCOPE, TokenEndpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SMALL_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "20", "RAGLEDGER_BATCH__MAX_DELAY_MS": "50"}
WITHIN_S = 60.0
FIRST, SECOND, WRONG = "Zq7K-first", "Zq7K-second", "Zq7K-wrong"
USERS = {"one": FIRST, "two": SECOND}
PASSWORD, USERNAME = "RAGLEDGER_KAFKA__SASL_PASSWORD", "RAGLEDGER_KAFKA__SASL_USERNAME"
CLIENT_SECRET = "RAGLEDGER_KAFKA__SASL_OAUTH_CLIENT_SECRET"


class Place(NamedTuple):
    """The broker, the endpoint that issues its tokens, and the authorities that sign certificates."""

    kafka: LoginKafka
    endpoint: TokenEndpoint
    authority: Authority
    unknown_authority: Authority


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Return a broker that all tests of this file share."""
    with ExitStack() as made:
        workspace = made.enter_context(Workspace())
        endpoint = made.enter_context(TokenEndpoint(workspace.directory, FIRST))
        authority, unknown_authority = (
            Authority(workspace.directory, name) for name in ("authority", "unknown_authority")
        )
        yield Place(LoginKafka(workspace, endpoint, authority, USERS), endpoint, authority, unknown_authority)


@pytest.fixture
def environment(place: Place, postgres18: Database, migrated_template: str, tmp_path: Path) -> Iterator[Environment]:
    """Return the environment of the tests and the commands, without encryption; the service also gets its login."""
    servers = SharedServers(place.kafka.open_servers, postgres18.dsn)
    with environment_on(servers, migrated_template, partitions=2, kinds=["dialogue"], **SMALL_BATCHES) as made:
        yield made


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Return a secrets directory."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    return directory


def login(servers: str, secrets: Path, mechanism: str, **settings: str) -> dict[str, str]:
    """Return the settings of a service that logs in with this mechanism."""
    named = {f"RAGLEDGER_KAFKA__{name}": value for name, value in settings.items()}
    return {
        "RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS": servers,
        "RAGLEDGER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "RAGLEDGER_KAFKA__SASL_MECHANISM": mechanism,
        "RAGLEDGER_SECRETS_DIR": str(secrets),
        **named,
    }


def wait_ready_again(service: ServiceProcess) -> None:
    """Wait until /readyz is green again."""
    eventually(lambda: service.get("/readyz")[0] == 200, timeout=WITHIN_S, message=f"ready again: {service.checks()}")


def assert_named_once(log: Path, *words: str) -> None:
    """Assert that one log line names the credentials, and that no line contains a secret."""
    reports = [line["problem"] for line in log_lines(log, "kafka_unavailable")]
    assert len([problem for problem in reports if all(word in problem for word in words)]) == 1, reports
    assert len(reports) <= 2  # the connections that ended, and the credentials
    text = log.read_text()
    assert "Zq7K" not in text
    assert len(text.splitlines()) < 100


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_scram_password_changes_under_load(
    place: Place, environment: Environment, secrets: Path, tmp_path: Path, mechanism: str
) -> None:
    """It changes at the broker first, and later in the file."""
    place.kafka.set_scram("ledger", FIRST)
    write_secret(secrets, PASSWORD, FIRST)
    load, log = Load(environment), tmp_path / "log"
    load.publish(600)
    settings = login(place.kafka.sasl_servers, secrets, mechanism, SASL_USERNAME="ledger")
    with ServiceProcess(environment, log, **settings) as service:
        wait_for_records(environment, 100)
        place.kafka.set_scram("ledger", SECOND)
        load.publish(600)
        service.wait_check("kafka", "refuses the connection", "nvalid credentials", timeout=60)
        assert service.get("/healthz")[0] == 200
        write_secret(secrets, PASSWORD, SECOND)
        wait_ready_again(service)
        load.publish(100)
        load.assert_exact(service)
        assert service.stop() == 0
    assert_named_once(log, "nvalid credentials")


def test_another_user_of_plain_takes_over(
    place: Place, environment: Environment, secrets: Path, tmp_path: Path
) -> None:
    """The new user exists before the old one is deleted, as with API keys. Meanwhile the user and the password do not
    match.
    """
    write_secret(secrets, USERNAME, "one")
    write_secret(secrets, PASSWORD, FIRST)
    load, log = Load(environment), tmp_path / "log"
    load.publish(300)
    with ServiceProcess(environment, log, **login(place.kafka.sasl_servers, secrets, "PLAIN")) as service:
        wait_for_records(environment, 100)
        write_secret(secrets, USERNAME, "two")
        load.publish(300)
        service.wait_check("kafka", "refuses the connection", "Invalid username or password", timeout=60)
        write_secret(secrets, PASSWORD, SECOND)
        wait_ready_again(service)
        load.publish(100)
        load.assert_exact(service)
        assert service.stop() == 0
    assert_named_once(log, "Invalid username or password")


def test_a_client_secret_changes_under_load(
    place: Place, environment: Environment, secrets: Path, tmp_path: Path
) -> None:
    """Tokens of client credentials are valid for some seconds. They are requested again, but not by each connection."""
    place.endpoint.secret, place.endpoint.lifetime_s = FIRST, 8.0
    write_secret(secrets, CLIENT_SECRET, FIRST)
    load, log = Load(environment), tmp_path / "log"
    load.publish(300)
    given = len(place.endpoint.tokens)
    settings = login(
        place.kafka.oauth_servers,
        secrets,
        "OAUTHBEARER",
        SASL_OAUTH_TOKEN_URL=place.endpoint.url,
        SASL_OAUTH_CLIENT_ID=CLIENT_ID,
        SASL_OAUTH_SCOPE=SCOPE,
    )
    with ServiceProcess(environment, log, **settings) as service:
        wait_for_records(environment, 100)
        service.wait_ready()
        place.endpoint.secret = SECOND
        load.publish(300)
        url = "RAGLEDGER_KAFKA__SASL_OAUTH_TOKEN_URL"
        service.wait_check("kafka", url, "HTTP 401, invalid_client", timeout=60)
        refusals = place.endpoint.refusals
        write_secret(secrets, CLIENT_SECRET, SECOND)
        wait_ready_again(service)
        load.publish(100)
        load.assert_exact(service)
        assert service.stop() == 0
    assert_named_once(log, "invalid_client")
    assert refusals < 20
    assert len(place.endpoint.tokens) - given < 20


def test_a_program_prints_tokens(place: Place, environment: Environment, secrets: Path, tmp_path: Path) -> None:
    """The broker rejects the first token. Its reason is shown, and the program is run again without a restart."""
    place.endpoint.lifetime_s = 3600.0
    token, load, log = tmp_path / "token", Load(environment), tmp_path / "log"
    token.write_text(place.endpoint.token(aud="Zq7K"))
    command = shlex.join([sys.executable, "-c", f"print(open({str(token)!r}).read())"])
    load.publish(300)
    settings = login(place.kafka.oauth_servers, secrets, "OAUTHBEARER", SASL_OAUTH_TOKEN_COMMAND=command)
    tools = Environment(environment.dsn, "", environment.topics)
    tools.variables = environment.variables | settings
    with ServiceProcess(environment, log, **settings) as service:
        service.wait_check("kafka", "refuses the connection", "invalid_token", timeout=60)
        assert "refuses the connection" in tools.run("ledger", "--caught-up").stderr
        token.write_text(place.endpoint.token())
        wait_ready_again(service)
        load.publish(100)
        load.assert_exact(service)
        tools.assert_caught_up()
        assert service.stop() == 0
    assert_named_once(log, "refuses the connection")


def test_certificates_are_replaced(place: Place, environment: Environment, secrets: Path, tmp_path: Path) -> None:
    """Another authority signs the broker's certificate and ours. The problem ends when the files are replaced."""
    files = {name: tmp_path / f"{name}.pem" for name in ("cafile", "certfile", "keyfile")}
    copy_login(place.authority, files)
    load, log = Load(environment), tmp_path / "log"
    load.publish(300)
    settings = {
        "RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS": place.kafka.tls_servers,
        "RAGLEDGER_KAFKA__SECURITY_PROTOCOL": "SSL",
        **{f"RAGLEDGER_KAFKA__SSL_{name.upper()}": str(path) for name, path in files.items()},
    }
    with ServiceProcess(environment, log, **settings) as service:
        wait_for_records(environment, 100)
        place.kafka.sign(place.unknown_authority)
        place.kafka.node.kill()
        place.kafka.node.restart()
        load.publish(300)
        service.wait_check("kafka", "refuses the connection", "CERTIFICATE_VERIFY_FAILED", timeout=90)
        copy_login(place.unknown_authority, files)
        wait_ready_again(service)
        load.publish(100)
        load.assert_exact(service)
        assert service.stop() == 0
    assert "Zq7K" not in log.read_text()


def copy_login(authority: Authority, files: dict[str, Path]) -> None:
    """Replace our certificate, its key and its authority, one after the other."""
    certificate, key = authority.issue("ledger")
    for name, source in {"cafile": authority.certificate, "certfile": certificate, "keyfile": key}.items():
        files[name].write_bytes(source.read_bytes())
