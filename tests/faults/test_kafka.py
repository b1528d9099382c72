"""Tests Kafka killed, restarted, and its coordinator moved: the service waits, and continues from the ledger."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient

from consumer.devstack import KafkaNode
from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.scene import Scene, let_time_pass

pytestmark = pytest.mark.timeout(400)

OUTAGE_SECONDS = (3, 12)  # within the session timeout, and longer


def test_the_only_broker(lab: Lab, stage: Stage) -> None:
    """SIGKILL and orderly restarts of a single broker: no record can be read or sent meanwhile."""
    (broker,) = lab.brokers
    with stage("Kafka's only broker killed and restarted", lab) as scene:
        for seconds in OUTAGE_SECONDS:
            broker.kill()
            let_time_pass_without_broker(scene, seconds)
            broker.start()
            scene.recover("broker killed")
        broker.restart()
        scene.recover("broker restarted")


def let_time_pass_without_broker(scene: Scene, seconds: float) -> None:
    """Let time pass while every replica answers requests."""
    let_time_pass(seconds)
    for replica in scene.fleet.replicas:
        replica.wait_answering()


def test_each_broker_of_three(cluster: Lab, stage: Stage) -> None:
    """Replication 3: each broker is killed in turn, the group's coordinator too; the others take over."""
    with stage("each of three brokers killed, the group's coordinator first", cluster) as scene:
        for broker in sorted(cluster.brokers, key=lambda one: one is not coordinator(scene)):
            role = "coordinator" if broker is coordinator(scene) else "broker"
            broker.kill()
            killed = time.monotonic()
            scene.recover(f"{role} of three killed", killed)
            broker.start()
            scene.recover("broker of three restarted")


def coordinator(scene: Scene) -> KafkaNode:
    """Return the broker that coordinates the group."""
    admin = AdminClient({"bootstrap.servers": scene.lab.bootstrap_servers})
    group = scene.environment.group
    found = admin.describe_consumer_groups([group])[group].result(30).coordinator
    return next(broker for broker in scene.lab.brokers if broker.port == found.port)
