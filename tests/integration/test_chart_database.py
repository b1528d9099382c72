"""Tests the roles of the CloudNativePG example on a server of their own: owner and service can do their work."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from consumer.admin import migrate
from consumer.devstack import PostgresServer, Workspace
from tests.support.chart import CHART, documents
from tests.support.ingestion import dialogues, ids, on_other_database, send, wait_for_records
from tests.support.psql import execute, rows
from tests.support.roles import as_role
from tests.support.service import Environment, ServiceProcess
from tests.support.stack import Servers, Topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

EVENTS = 50
EXAMPLE = CHART / "examples" / "strimzi-cloudnativepg" / "resources.yaml"


class Place(NamedTuple):
    """The database as the operator creates it: the owner's DSN, and the settings of the service."""

    owner: str
    environment: Environment


def specification() -> dict[str, Any]:
    """Return the example's database section."""
    (cluster,) = [one for one in documents(EXAMPLE.read_text("utf-8")) if one["kind"] == "Cluster"]
    specification: dict[str, Any] = cluster["spec"]
    return specification


@pytest.fixture
def place(stack: Servers) -> Iterator[Place]:
    """Create the roles on a new server, because roles are global. The statements are in the operator's order."""
    wanted, topics = specification(), Topics(stack.bootstrap_servers)
    initial, (role,) = wanted["bootstrap"]["initdb"], wanted["managed"]["roles"]
    with Workspace() as workspace:
        server = PostgresServer(workspace, durable=False)
        server.start()
        execute(server.dsn_of("postgres"), f"CREATE ROLE {initial['owner']} LOGIN")
        execute(server.dsn_of("postgres"), f"ALTER DATABASE {initial['database']} OWNER TO {initial['owner']}")
        execute(server.dsn, *initial["postInitApplicationSQL"])
        execute(server.dsn, f"CREATE ROLE {role['name']} LOGIN IN ROLE {', '.join(role['inRoles'])}")
        names = {"dialogue": topics.create(2, prefix="dialogue"), "expired": topics.create(1, prefix="expired")}
        service = as_role(server.dsn, role["name"])
        yield Place(as_role(server.dsn, initial["owner"]), Environment(service, stack.bootstrap_servers, names))
        topics.delete_all()
        server.stop()


def test_the_owner_migrates_and_the_service_writes(place: Place, tmp_path: Path) -> None:
    """No step needs an administrator: every check of the schema passes, and each login can do its work."""
    asyncio.run(migrate.up(place.owner))
    assert [check for check in asyncio.run(migrate.verify(place.owner)) if not check.ok] == []
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
    assert [row["tableowner"] for row in rows(place.owner, owners)] == ["ragledger_owner"]
    wanted = dialogues(place.environment.topics["dialogue"], EVENTS, seed=1)
    send(place.environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], wanted.values())
    as_owner = on_other_database(place.environment, place.owner)
    with ServiceProcess(place.environment, tmp_path / "log") as service:
        wait_for_records(as_owner, EVENTS)
        service.wait_ready()
        assert service.stop() == 0
    assert ids(as_owner) == wanted.keys()
    assert as_owner.run("retention", "run").returncode == 0
    assert place.environment.run("ledger", "--check").returncode == 0
