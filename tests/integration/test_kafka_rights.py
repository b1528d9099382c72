"""Tests missing rights, missing topics, foreign group members and open transactions. One broker with an
authorizer and auto-creation of topics serves all tests.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer
from pydantic import SecretStr

from consumer.devstack.workspace import Workspace
from consumer.ingest.ports import SourceError
from consumer.kafka.transactions import TransactionalTopic
from consumer.settings.servers import Kafka, SecurityProtocol
from tests.support.guarded_kafka import PASSWORD, USER, GuardedKafka
from tests.support.ingestion import Outgoing, as_json, dialogues, ids, log_lines, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KINDS = ("dialogue", "provenance", "feedback", "verification", "plugin")
QUICK = {"RAGLEDGER_KAFKA__METADATA_MAX_AGE_MS": "1000", "RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "6000"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[GuardedKafka]:
    """Return the broker."""
    with Workspace() as workspace:
        yield GuardedKafka(workspace)


@contextmanager
def open_environment(guarded: GuardedKafka, stack: Servers, template: str, **settings: str) -> Iterator[Environment]:
    """Return settings of the superuser, without any topic, and a database."""
    with fresh_database(stack.dsn, template) as dsn:
        yield Environment(dsn, guarded.open_servers, {}, **QUICK, **settings)


@contextmanager
def user_environment(guarded: GuardedKafka, stack: Servers, template: str) -> Iterator[Environment]:
    """Return settings of a user who may read every topic except `dialogue`, and join the group."""
    names = {kind: guarded.create(kind) for kind in KINDS}
    with fresh_database(stack.dsn, template) as dsn:
        environment = Environment(dsn, guarded.guarded_servers, names, **QUICK, **guarded.login)
        for kind in KINDS[1:]:
            guarded.grant("topic", names[kind], "Read")
        guarded.grant("group", environment.group, "Read")
        yield environment


def findings(environment: Environment) -> dict[str, dict[str, Any]]:
    """Return the worst problem of each check of `doctor`."""
    found = environment.run_json("doctor")["findings"]
    return {one["check"]: one for one in reversed(found) if one["severity"] in ("error", "warning")}


def wait_for_access(service: ServiceProcess, *words: str) -> None:
    """Wait until /readyz is red and names these."""
    service.wait_check("access", *words, timeout=60)


def wait_until_clean(service: ServiceProcess) -> None:
    """Wait until /readyz is green again."""
    eventually(lambda: service.get("/readyz")[0] == 200, timeout=90, message=f"ready: {service.checks()}")


def wait_for_line(log: Path, event: str, resource: str) -> None:
    """Wait until the log has this line for a topic or the group."""
    eventually(
        lambda: any(line["resource"] == resource for line in log_lines(log, event)),
        message=f"{event} is logged for {resource}",
    )


def publish_dialogues(guarded: GuardedKafka, topic: str, count: int, seed: int) -> set[Any]:
    """Publish valid dialogues as the superuser."""
    wanted = dialogues(topic, count, seed)
    send(guarded.open_servers, wanted.values())
    return set(wanted)


# ── missing topics ──


def test_no_command_creates_a_topic(
    guarded: GuardedKafka, stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """The broker would create one for run, doctor, ledger and publish. A topic created later is read without a
    restart.
    """
    event = tmp_path / "event.json"
    event.write_bytes(as_json(small_dialogue(Random(1))))
    with open_environment(guarded, stack, migrated_template) as environment:
        before = guarded.topics()
        topic = environment.variables["RAGLEDGER_TOPICS__DIALOGUE"]
        with ServiceProcess(environment, tmp_path / "log") as service:
            eventually(lambda: log_lines(tmp_path / "log", "topics_missing"))
            service.wait_ready()
            assert environment.run("doctor").returncode == 3
            assert "Kafka shows no topic" in environment.run("ledger", "--check", "--caught-up").stderr
            refused = environment.run("publish", str(event), "--topic", topic)
            assert (refused.returncode, f"there is no topic {topic}" in refused.stderr) == (1, True)
            assert environment.run("dead-letters", "list").returncode == 0
            assert "the topic is missing" in findings(environment)[f"topic {topic}"]["found"]
            assert guarded.topics() == before
            guarded.create_named(topic)
            assert environment.run("publish", str(event), "--topic", topic).returncode == 0
            wait_for_records(environment, 1)
            assert service.stop() == 0
        assert guarded.topics() == before | {topic}


# ── rights ──


@pytest.mark.parametrize("granted", [(), ("Describe",)], ids=["nothing", "describe"])
def test_an_unauthorized_topic_is_not_reported_as_missing(
    guarded: GuardedKafka, stack: Servers, migrated_template: str, tmp_path: Path, granted: tuple[str, ...]
) -> None:
    """The right to grant is named, the other topics are read meanwhile, and this one after the grant."""
    with user_environment(guarded, stack, migrated_template) as environment:
        topic, plugin = environment.topics["dialogue"], environment.topics["plugin"]
        guarded.grant("topic", topic, *granted)
        wanted = publish_dialogues(guarded, topic, 20, seed=3)
        grant = f"--operation Read --topic '{topic}'"
        with ServiceProcess(environment, tmp_path / "log") as service:
            wait_for_access(service, topic, "not authorized", grant)
            send(guarded.open_servers, [Outgoing(plugin, b"not json")])
            wait_for_records(environment, 1)
            eventually(lambda: log_lines(tmp_path / "log", "kafka_refuses"))
            assert not log_lines(tmp_path / "log", "topics_missing")
            found = findings(environment)[f"topic {topic}"]
            assert (found["severity"], grant in found["fix"], "--create" in found["fix"]) == ("error", True, False)
            caught_up = environment.run("ledger", "--check", "--caught-up")
            assert (caught_up.returncode, topic in caught_up.stderr) == (3, True)
            service.wait_metric("rag_kafka_refused", 1, resource=topic)
            guarded.grant("topic", topic, "Read")
            wait_for_records(environment, 21)
            wait_until_clean(service)
            environment.assert_caught_up()
            assert service.stop() == 0
        assert ids(environment) == wanted


def test_a_right_revoked_while_running_is_reported(
    guarded: GuardedKafka, stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """First of the topic, then of the group: the process stays, names it, causes no load, and continues after the
    grant.
    """
    with user_environment(guarded, stack, migrated_template) as environment:
        topic, group = environment.topics["dialogue"], environment.group
        guarded.grant("topic", topic, "Read")
        log = tmp_path / "log"
        with ServiceProcess(environment, log, RAGLEDGER_WATCHDOG__STALL_S="3") as service:
            wanted = publish_dialogues(guarded, topic, 10, seed=4)
            wait_for_records(environment, 10)
            for kind, name, seed in (("topic", topic, 5), ("group", group, 6)):
                guarded.revoke(kind, name)
                wait_for_access(service, kind, name, f"--operation Read --{kind} '{name}'")
                wait_for_line(log, "kafka_refuses", kind)
                wanted |= publish_dialogues(guarded, topic, 10, seed=seed)
                guarded.grant(kind, name, "Read")
                wait_for_records(environment, len(wanted))
                wait_until_clean(service)
                wait_for_line(log, "kafka_permits", kind)
            assert service.stop() == 0
        assert ids(environment) == wanted


def test_a_group_without_the_right_to_join_is_named(
    guarded: GuardedKafka, stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """The process waits longer than the watchdog's limit, without load, and reads after the grant."""
    with user_environment(guarded, stack, migrated_template) as environment:
        topic, group = environment.topics["dialogue"], environment.group
        guarded.grant("topic", topic, "Read")
        guarded.revoke("group", group)
        wanted = publish_dialogues(guarded, topic, 10, seed=7)
        quick = {"RAGLEDGER_WATCHDOG__STALL_S": "2", "RAGLEDGER_KAFKA__REBALANCE_TIMEOUT_MS": "3000"}
        with ServiceProcess(environment, tmp_path / "log", **quick) as service:
            wait_for_access(service, group, "not authorized", f"--group '{group}'")
            assert f"--group '{group}'" in findings(environment)[f"group {group}"]["fix"]
            begun, cpu = time.monotonic(), _cpu_seconds(service)
            eventually(lambda: time.monotonic() - begun > 8)
            assert _cpu_seconds(service) - cpu < 4
            service.wait_page("/healthz", 200)
            assert service.running.poll() is None
            guarded.grant("group", group, "Read")
            wait_for_records(environment, 10)
            wait_until_clean(service)
            assert service.stop() == 0
        assert ids(environment) == wanted


def _cpu_seconds(service: ServiceProcess) -> float:
    fields = Path(f"/proc/{service.running.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_a_rejected_password_is_not_reported_as_an_outage(
    guarded: GuardedKafka, stack: Servers, migrated_template: str
) -> None:
    """The message contains the broker's own words."""
    with user_environment(guarded, stack, migrated_template) as environment:
        environment.variables["RAGLEDGER_KAFKA__SASL_PASSWORD"] = "another-secret"
        found = findings(environment)["kafka"]["found"]
        assert "Authentication failed" in found
        assert "another-secret" not in found
        refused = environment.run("ledger", "--caught-up")
        assert (refused.returncode, "Authentication failed" in refused.stderr) == (3, True)


def test_publishing_without_the_right_is_reported(
    guarded: GuardedKafka, stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """The right to read is not enough; and a topic that the user may not describe is not reported as missing."""
    event = tmp_path / "event.json"
    event.write_bytes(as_json(small_dialogue(Random(2))))
    with user_environment(guarded, stack, migrated_template) as environment:
        topic = environment.topics["dialogue"]
        for operations in ((), ("Read",)):
            guarded.grant("topic", topic, *operations)
            refused = environment.run("publish", str(event), "--topic", topic)
            assert refused.returncode == 1
            assert f"--operation Write --topic '{topic}'" in refused.stderr
        guarded.grant("topic", topic, "Write")
        assert environment.run("publish", str(event), "--topic", topic).returncode == 0


# ── foreign group members ──


@pytest.mark.parametrize(
    ("protocol", "config"),
    [
        ("consumer", {"group.protocol": "consumer"}),
        ("classic", {"group.protocol": "classic", "partition.assignment.strategy": "range"}),
    ],
)
def test_a_foreign_member_of_the_group_is_named(
    guarded: GuardedKafka,
    stack: Servers,
    migrated_template: str,
    tmp_path: Path,
    protocol: str,
    config: dict[str, str],
) -> None:
    """With either protocol: by doctor, and /readyz is red while it may get partitions; after it leaves,
    everything is read.
    """
    with user_environment(guarded, stack, migrated_template) as environment:
        topic, group = environment.topics["dialogue"], environment.group
        guarded.grant("topic", topic, "Read")
        foreign_member = Consumer(
            {"bootstrap.servers": guarded.open_servers, "group.id": group, "client.id": "somebody-else"}
            | {"auto.offset.reset": "latest", **config}
        )
        try:
            foreign_member.subscribe([topic])
            eventually(lambda: foreign_member.poll(0.1) or foreign_member.assignment())
            wanted = publish_dialogues(guarded, topic, 10, seed=8)
            named = findings(environment)[f"group {group}"]
            assert named["severity"] == {"consumer": "error", "classic": "warning"}[protocol]
            assert "somebody-else" in named["found"]
            assert f"protocol {protocol}" in named["found"]
            with ServiceProcess(environment, tmp_path / "log") as service:
                eventually(
                    lambda: (
                        foreign_member.poll(0.1) is not None or "somebody-else" in service.checks().get("access", "")
                    ),
                    message=str(service.checks()),
                )
                wait_for_access(service, "somebody-else")
                foreign_member.close()
                wait_for_records(environment, 10)
                wait_until_clean(service)
                assert service.stop() == 0
        finally:
            foreign_member.close()
        assert ids(environment) == wanted


# ── open transactions ──


def test_records_behind_an_open_transaction_wait(
    guarded: GuardedKafka, stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """Every command counts them as lag; the lag is 0 when the last offset is the marker of a transaction."""
    with open_environment(guarded, stack, migrated_template, RAGLEDGER_WATCHDOG__STALL_S="3") as environment:
        topic = environment.variables["RAGLEDGER_TOPICS__DIALOGUE"]
        guarded.create_named(topic)
        chance = Random(uuid4().int)
        first = publish_dialogues(guarded, topic, 5, seed=9)
        with ServiceProcess(environment, tmp_path / "log") as service:
            wait_for_records(environment, 5)
            environment.assert_caught_up()
            inside = [as_json(small_dialogue(chance)) for _ in range(3)]
            with guarded.open_transaction(topic, inside) as producer:
                behind = publish_dialogues(guarded, topic, 40, seed=10)
                caught_up = environment.run("ledger", "--check", "--caught-up")
                assert (caught_up.returncode, "43 of them behind an open transaction" in caught_up.stdout) == (3, True)
                ledger = environment.run_json("ledger")
                [line] = ledger["partitions"]
                assert (ledger["caught_up"], line["lag"], line["held_back"]) == (False, 43, 43)
                eventually(lambda: service.metric("rag_consumer_lag_records", topic=topic) == 43)
                eventually(lambda: service.metric("rag_open_transaction_records", topic=topic) == 43)
                eventually(lambda: service.metric("rag_open_transaction_seconds", topic=topic) > 5)
                assert service.running.poll() is None
                found = [
                    one for one in environment.run_json("doctor")["findings"] if "open transaction" in one["found"]
                ]
                assert "43 records" in found[0]["found"]
                assert "kafka-transactions.sh" in found[0]["fix"]
                producer.commit_transaction(30)
            wait_for_records(environment, 48)
            environment.assert_caught_up()
            eventually(lambda: service.metric("rag_consumer_lag_records", topic=topic) == 0)
            service.wait_metric("rag_open_transaction_seconds", 0, topic=topic)
            assert service.stop() == 0
        assert first | behind < ids(environment)


async def test_a_missing_right_to_a_transactional_id_is_named(guarded: GuardedKafka) -> None:
    """The command that grants it is named, as for a topic."""
    settings = Kafka(
        bootstrap_servers=guarded.guarded_servers,
        security_protocol=SecurityProtocol.SASL_PLAINTEXT,
        sasl_mechanism="PLAIN",
        sasl_username=USER,
        sasl_password=SecretStr(PASSWORD),
    )
    with pytest.raises(SourceError, match="--operation Write --transactional-id 'own-retention'"):
        async with TransactionalTopic(settings, guarded.create("notices"), "own-retention"):
            raise AssertionError("it was let in")
