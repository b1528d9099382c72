"""Tests the topics and rights of the chart's Strimzi example on a broker that grants nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from consumer.devstack.workspace import Workspace
from consumer.settings.model import Topics
from consumer.settings.servers import Kafka
from tests.integration.test_chart_database import EXAMPLE
from tests.support.chart import documents
from tests.support.guarded_kafka import USER, GuardedKafka
from tests.support.ingestion import dialogues, send, wait_for_records
from tests.support.notices import ALICE, acquired, insert
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import REQUEST_TIMEOUT_S, Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EVENTS = 20
TOPICS = Topics().model_dump(exclude_none=True)
KINDS = {"topic": "TOPIC", "group": "GROUP", "transactionalId": "TRANSACTIONAL_ID"}
PATTERNS = {"prefix": "PREFIXED", "literal": "LITERAL"}
OPERATIONS = {"DescribeConfigs": "DESCRIBE_CONFIGS"}


def objects(kind: str) -> list[dict[str, Any]]:
    """Return the example's objects of a kind."""
    return [one for one in documents(EXAMPLE.read_text("utf-8")) if one["kind"] == kind]


def bindings(rule: Mapping[str, Any]) -> Sequence[AclBinding]:
    """Return the rights of one rule of a KafkaUser as ACLs."""
    resource = rule["resource"]
    return [
        AclBinding(
            ResourceType[KINDS[resource["type"]]],
            resource["name"],
            ResourcePatternType[PATTERNS[resource.get("patternType", "literal")]],
            f"User:{USER}",
            "*",
            AclOperation[OPERATIONS.get(operation, operation.upper())],
            AclPermissionType.ALLOW,
        )
        for operation in rule["operations"]
    ]


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a service with the example's names, and a user with the example's rights."""
    (user,) = objects("KafkaUser")
    rights = [binding for rule in user["spec"]["authorization"]["acls"] for binding in bindings(rule)]
    with Workspace() as workspace, fresh_database(stack.dsn, migrated_template) as dsn:
        guarded = GuardedKafka(workspace)
        for topic in objects("KafkaTopic"):
            guarded.create_named(topic["metadata"]["name"], topic["spec"]["partitions"])
        for done in guarded.admin.create_acls(rights).values():
            done.result(REQUEST_TIMEOUT_S)
        group = {"RAGLEDGER_KAFKA__GROUP_ID": Kafka().group_id}
        made = Environment(dsn, guarded.guarded_servers, TOPICS, **{**guarded.login, **group})
        send(guarded.open_servers, dialogues("rag.dialogue", EVENTS, seed=1).values())
        yield made


def test_the_rights_are_sufficient(environment: Environment, tmp_path: Path) -> None:
    """The service reads every topic, retention publishes its notices, and `doctor` can check everything."""
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, EVENTS)
        eventually(lambda: service.get("/readyz")[0] == 200, message="the replica is ready")
        looked_at = [one for one in environment.run_json("doctor")["findings"] if one["check"].startswith("topic ")]
        assert {one["check"] for one in looked_at} == {f"topic {name}" for name in TOPICS.values()}
        assert [one for one in looked_at if one["severity"] == "error" or "may not" in one["found"]] == []
        assert service.stop() == 0
    insert(environment.dsn, acquired(owner=ALICE))
    assert environment.run_json("retention", "run")["published"] == 1
    assert environment.run("ledger", "--check").returncode == 0
