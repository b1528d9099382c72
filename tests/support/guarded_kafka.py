"""A Kafka with ACLs and automatic topic creation, as many companies run it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.cimpl import NewTopic

from consumer.devstack.kafka import KafkaNode
from consumer.devstack.server import free_ports
from consumer.devstack.workspace import Workspace
from tests.support.stack import QUICK_RESTART, REQUEST_TIMEOUT_S

USER, PASSWORD = "reader", "reader-secret"
_KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}


class GuardedKafka:
    """One broker with two listeners: unencrypted for the superuser, with a password for a user with granted
    rights. Without a password, a client is the superuser.
    """

    def __init__(self, workspace: Workspace) -> None:
        broker, controller, self._guarded = free_ports(3)
        self._node = KafkaNode(workspace, ports=(broker, controller), properties=self._properties(broker, controller))
        self._node.start()
        self.admin = AdminClient({"bootstrap.servers": self.open_servers})

    def _properties(self, broker: int, controller: int) -> Mapping[str, str]:
        listeners = f"PLAINTEXT://127.0.0.1:{broker},SASL://127.0.0.1:{self._guarded}"
        module = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return QUICK_RESTART | {
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{module} user_{USER}="{PASSWORD}";',
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "auto.create.topics.enable": "true",
            "transaction.max.timeout.ms": "3600000",
        }

    @property
    def open_servers(self) -> str:
        """Address for the superuser."""
        return self._node.bootstrap_servers

    @property
    def guarded_servers(self) -> str:
        """Address for the user."""
        return f"127.0.0.1:{self._guarded}"

    @property
    def login(self) -> Mapping[str, str]:
        """Settings of ragledger for the user."""
        return {
            "RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS": self.guarded_servers,
            "RAGLEDGER_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "RAGLEDGER_KAFKA__SASL_MECHANISM": "PLAIN",
            "RAGLEDGER_KAFKA__SASL_USERNAME": USER,
            "RAGLEDGER_KAFKA__SASL_PASSWORD": PASSWORD,
        }

    def create(self, kind: str, partitions: int = 1) -> str:
        """Create a topic with a unique name."""
        name = f"{kind}-{uuid4().hex}"
        self.create_named(name, partitions)
        return name

    def create_named(self, name: str, partitions: int = 1) -> None:
        """Create this topic."""
        self.admin.create_topics([NewTopic(name, partitions, 1)])[name].result(REQUEST_TIMEOUT_S)

    def topics(self) -> set[str]:
        """Return every topic except Kafka's own."""
        return {name for name in self.admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics if not name.startswith("__")}

    def grant(self, kind: str, name: str, *operations: str) -> None:
        """Grant the user a right."""
        for operation in operations:
            for done in self.admin.create_acls([_acl(kind, name, operation)]).values():
                done.result(REQUEST_TIMEOUT_S)

    def revoke(self, kind: str, name: str) -> None:
        """Revoke all rights of the user."""
        anybody: Any = None
        wanted = AclBindingFilter(
            _KINDS[kind],
            name,
            ResourcePatternType.LITERAL,
            anybody,
            anybody,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for done in self.admin.delete_acls([wanted]).values():
            done.result(REQUEST_TIMEOUT_S)

    @contextmanager
    def open_transaction(self, topic: str, values: Sequence[bytes]) -> Iterator[Producer]:
        """Send records in a transaction that is neither committed nor aborted."""
        producer = Producer(
            {
                "bootstrap.servers": self.open_servers,
                "transactional.id": f"open-{uuid4().hex}",
                "transaction.timeout.ms": 600_000,
            }
        )
        producer.init_transactions(REQUEST_TIMEOUT_S)
        producer.begin_transaction()
        for value in values:
            producer.produce(topic, value, partition=0)
        assert producer.flush(REQUEST_TIMEOUT_S) == 0
        yield producer


def _acl(kind: str, name: str, operation: str) -> AclBinding:
    return AclBinding(
        _KINDS[kind],
        name,
        ResourcePatternType.LITERAL,
        f"User:{USER}",
        "*",
        AclOperation[operation.upper()],
        AclPermissionType.ALLOW,
    )
