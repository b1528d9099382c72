"""Tests leaders: one that was not in sync truncates the log, and a partition may have none."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.faults.lab import Lab, delete_topics
from tests.support.ingestion import Outgoing, dialogues, ids, log_lines, send
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import REQUEST_TIMEOUT_S

pytestmark = pytest.mark.timeout(400)

KEPT, CUT, NEW = 80, 20, 40
UNCLEAN = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
STALL = {"RAGLEDGER_WATCHDOG__STALL_S": "10"}


@pytest.fixture
def environment(cluster: Lab) -> Iterator[Environment]:
    """Topics on three brokers; a frozen member stays in the group for long."""
    settings = {"RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "120000", "RAGLEDGER_KAFKA__MAX_POLL_INTERVAL_MS": "300000"}
    with cluster.environment(1, **settings) as made:
        yield made
        cluster.heal()
        eventually(lambda: set(leaders(cluster, made.topics["provenance"])) == {0}, message="the brokers answer")


def admin_of(lab: Lab) -> AdminClient:
    """Return an admin client of the running brokers."""
    return AdminClient({"bootstrap.servers": ",".join(one.bootstrap_servers for one in lab.brokers if one.is_running)})


def recreate_topic(lab: Lab, topic: str, replicas: Sequence[Sequence[int]]) -> None:
    """Recreate the topic with the replicas of each partition on these brokers, counted from 0; the first one leads."""
    admin = admin_of(lab)
    delete_topics(admin, [topic])
    eventually(lambda: topic not in admin.list_topics(timeout=30).topics, message="the topic is gone")
    assignment = [[number + 1 for number in copies] for copies in replicas]
    made = admin.create_topics([NewTopic(topic, len(assignment), replica_assignment=assignment, config=UNCLEAN)])
    made[topic].result(REQUEST_TIMEOUT_S)


def leaders(lab: Lab, topic: str) -> Mapping[int, int]:
    """Return the leader of each partition that has one, counted from 0."""
    found = admin_of(lab).list_topics(topic, timeout=30).topics[topic].partitions
    return {number: one.leader - 1 for number, one in found.items() if one.leader > 0}


def in_sync(lab: Lab, topic: str) -> set[int]:
    """Return the brokers that are in sync with partition 0, counted from 0."""
    return {number - 1 for number in admin_of(lab).list_topics(topic, timeout=30).topics[topic].partitions[0].isrs}


def to_partition(records: Mapping[Any, Outgoing], number: int) -> list[Outgoing]:
    """Return these records for one partition."""
    return [record._replace(partition=number) for record in records.values()]


def publish(lab: Lab, records: Mapping[Any, Outgoing], number: int = 0) -> None:
    """Send records, and wait until the running brokers have acknowledged them."""
    servers = ",".join(one.bootstrap_servers for one in lab.brokers if one.is_running)
    send(servers, to_partition(records, number), **{"message.timeout.ms": 120_000, "acks": "all", "log_level": 2})


def fall_behind(lab: Lab, topic: str, records: Mapping[Any, Outgoing]) -> None:
    """Let the second replica of partition 0 miss these records."""
    lab.brokers[1].kill()
    eventually(lambda: in_sync(lab, topic) == {0}, message="the second copy is not in sync any more")
    publish(lab, records)


def elect_uncleanly(lab: Lab, topic: str) -> None:
    """Elect the replica that misses records, because the other one is down."""
    lab.brokers[0].kill()
    lab.brokers[1].start()
    eventually(lambda: leaders(lab, topic).get(0) == 1, message="the copy without the records leads")


def assert_stopped(environment: Environment, service: ServiceProcess, log: Path) -> None:
    """Assert that the stop is reported everywhere with both offsets, and that no later record was read."""
    topic = environment.topics["dialogue"]
    eventually(
        lambda: service.metric("rag_stopped_partitions", topic=topic) == 1,
        timeout=90,
        message="the partition has stopped",
    )
    status, body = service.get("/readyz")
    said = log_lines(log, "partition_stopped")[-1]
    shown = environment.run("ledger", "--check", "--caught-up")
    assert (status, shown.returncode) == (503, 3)
    for report in (json.loads(body)["checks"]["stopped"], said["problem"], shown.stderr.replace("\n", " ")):
        assert f"up to offset {KEPT + CUT}" in report
        assert f"only up to offset {KEPT}" in report
    assert said["settle"].endswith(f"--topic {topic} --partition 0 --from {KEPT}")
    assert len(ids(environment)) == KEPT + CUT


def resume(environment: Environment, where: str) -> Any:
    """Store the advised decision, or another one."""
    topic = environment.topics["dialogue"]
    return environment.run("ledger", "resume", "--topic", topic, "--partition", "0", "--from", where, "--json")


def assert_settled(lab: Lab, environment: Environment, expected: set[Any]) -> None:
    """Assert that a decision with a loss is refused, and that the advised one reads every record of the present log."""
    for where in ("here", "latest"):
        refused = resume(environment, where)
        assert (refused.returncode, f"--from {KEPT}" in refused.stderr) == (1, True), refused.stderr
    decided = json.loads(resume(environment, str(KEPT)).stdout)
    assert (decided["to_offset"], decided["begins_anew"], decided["given_up"]) == (KEPT, True, 0)
    eventually(lambda: ids(environment) == expected, message="all records are read")
    lab.brokers[0].start()
    environment.assert_caught_up()


def test_an_unclean_election_between_two_runs(cluster: Lab, environment: Environment, tmp_path: Path) -> None:
    """The log is truncated and grows beyond the ledger before any replica reads: the next claim detects it."""
    topic, log = environment.topics["dialogue"], tmp_path / "after.log"
    recreate_topic(cluster, topic, [[0, 1]])
    kept, cut, new = dialogues(topic, KEPT, 1), dialogues(topic, CUT, 2), dialogues(topic, NEW, 3)
    with ServiceProcess(environment, tmp_path / "before.log") as service:
        publish(cluster, kept)
        fall_behind(cluster, topic, cut)
        eventually(lambda: len(ids(environment)) == KEPT + CUT, message="all records are read")
        assert service.stop() == 0
    elect_uncleanly(cluster, topic)
    publish(cluster, new)
    before = environment.run("ledger", "--check", "--caught-up")
    assert (before.returncode, f"only up to offset {KEPT}" in before.stderr) == (3, True)
    assert f"only up to offset {KEPT}" in environment.run("doctor", "--json").stdout
    with ServiceProcess(environment, log) as service:
        assert_stopped(environment, service, log)
        assert_settled(cluster, environment, kept.keys() | cut.keys() | new.keys())


def test_an_unclean_election_while_a_replica_is_frozen(cluster: Lab, environment: Environment, tmp_path: Path) -> None:
    """The same while the replica is frozen: it keeps its partitions, so no claim can detect it."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    recreate_topic(cluster, topic, [[0, 1]])
    kept, cut, new = dialogues(topic, KEPT, 1), dialogues(topic, CUT, 2), dialogues(topic, NEW, 3)
    with ServiceProcess(environment, log) as service:
        publish(cluster, kept)
        fall_behind(cluster, topic, cut)
        eventually(lambda: len(ids(environment)) == KEPT + CUT, message="all records are read")
        (epoch,) = environment.query("SELECT epoch FROM ingest_ledger WHERE topic = %s", topic)
        service.send(signal.SIGSTOP)
        elect_uncleanly(cluster, topic)
        publish(cluster, new)
        service.send(signal.SIGCONT)
        assert_stopped(environment, service, log)
        assert environment.query("SELECT epoch FROM ingest_ledger WHERE topic = %s", topic) == [epoch], "no new claim"
        assert_settled(cluster, environment, kept.keys() | cut.keys() | new.keys())


def test_leaders_that_move_without_a_loss(cluster: Lab, environment: Environment, tmp_path: Path) -> None:
    """Each election is clean, so it is compared and nothing is reported; the ledger follows the epochs."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    recreate_topic(cluster, topic, [[0, 1, 2]])
    sent = dialogues(topic, KEPT, 1)
    with ServiceProcess(environment, log) as service:
        publish(cluster, sent)
        eventually(lambda: len(ids(environment)) == KEPT, message="all records are read")
        noted = environment.value("SELECT leader_epoch FROM ingest_ledger WHERE topic = %s", topic)
        for seed, broker in enumerate(cluster.brokers, start=2):
            broker.restart()
            eventually(lambda: in_sync(cluster, topic) == {0, 1, 2}, timeout=90, message="all copies are in sync")
            more = dialogues(topic, CUT, seed)
            sent |= more
            publish(cluster, more)
            wait_read(environment, sent.keys(), 90)
        assert environment.value("SELECT leader_epoch FROM ingest_ledger WHERE topic = %s", topic) > noted
        eventually(lambda: service.get("/readyz")[0] == 200, message="the replica is ready")
        assert log_lines(log, "partition_stopped") == []
        environment.assert_caught_up()
        assert service.stop() == 0


def test_a_partition_without_a_leader_blocks_no_other(cluster: Lab, environment: Environment, tmp_path: Path) -> None:
    """After a restart the others are read at once, the partition without a leader is named, and no process ends."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    recreate_topic(cluster, topic, [[0], [1], [2]])
    leaderless = f"{topic}/0"
    sent = {number: dialogues(topic, 10, number) for number in range(3)}
    for number, records in sent.items():
        publish(cluster, records, number)
    cluster.brokers[0].kill()
    eventually(lambda: set(leaders(cluster, topic)) == {1, 2}, message="partition 0 has no leader")
    with ServiceProcess(environment, log, **STALL) as service:
        healthy = sent[1].keys() | sent[2].keys()
        eventually(lambda: ids(environment) == healthy, timeout=30, message="the other partitions are read")
        eventually(lambda: "no leader" in service.get("/readyz")[1], message="the partition is named")
        assert json.loads(service.get("/readyz")[1])["checks"]["leaders"] == f"{leaderless}: it has no leader"
        assert {line["partition"] for line in log_lines(log, "partition_without_leader")} == {leaderless}
        assert service.metric("rag_leaderless_partitions", topic=topic, partition="0") == 1
        assert f"{leaderless} cannot be read: it has no leader" in environment.run("doctor", "--json").stdout
        shown = environment.run("ledger", "--check", "--caught-up")
        assert (shown.returncode, f"{leaderless}: it has no leader" in shown.stderr) == (3, True)
        assert_continues(cluster, environment, service, topic, healthy)
        cluster.brokers[0].start()
        eventually(lambda: sent[0].keys() <= ids(environment), message="the partition is read when it has a leader")
        eventually(lambda: service.get("/readyz")[0] == 200, message="the replica is ready")
        assert service.metric("rag_leaderless_partitions") == 0
        environment.assert_caught_up()
        assert service.stop() == 0


def assert_continues(lab: Lab, environment: Environment, service: ServiceProcess, topic: str, read: set[Any]) -> None:
    """Assert progress for much longer than the watchdog's limit, with new records all the time."""
    until = time.monotonic() + 3 * float(STALL["RAGLEDGER_WATCHDOG__STALL_S"])
    for seed in itertools.count(10):
        more = dialogues(topic, 1, seed)
        publish(lab, more, 1 + seed % 2)
        read |= more.keys()
        wait_read(environment, read, 30)
        assert service.running.poll() is None, "the process has ended"
        assert service.get("/healthz")[0] == 200
        if time.monotonic() > until:
            return


def wait_read(environment: Environment, expected: Collection[Any], seconds: float) -> None:
    """Wait until exactly these records are in the tables."""
    eventually(lambda: ids(environment) == expected, timeout=seconds, message="all records are read")
