"""Tests the network between the service and its servers: cut, slow, half-open, reset."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.proxy import BOTH, Direction, Proxy
from tests.faults.scene import Scene, let_time_pass

pytestmark = pytest.mark.timeout(400)

SHORT_LIMITS = {"postgres__statement_timeout_s": "4", "postgres__connect_timeout_s": "3"}
HELD_SECONDS = 9.0  # longer than the session and the statement timeout
SLOW = 20_000.0  # bytes a second on each connection


def database_links(scene: Scene) -> list[Proxy]:
    """Return the links of all replicas to PostgreSQL."""
    return [replica.postgres for replica in scene.fleet.replicas]


def kafka_links(scene: Scene) -> list[Proxy]:
    """Return the links to all brokers."""
    return list(scene.lab.broker_proxies)


@pytest.mark.parametrize(
    ("links", "server"), [(database_links, "PostgreSQL"), (kafka_links, "Kafka")], ids=["postgresql", "kafka"]
)
def test_network_faults(lab: Lab, stage: Stage, links: Callable[[Scene], list[Proxy]], server: str) -> None:
    """The network is cut, reset, half-open in each direction or in both, or slow. Each fault lasts a while and then
    ends.
    """
    network_faults: dict[str, Callable[[Proxy], None]] = {
        "cut": Proxy.cut,
        "half-open, no request arrives": lambda proxy: proxy.hold([Direction.TO_SERVER]),
        "half-open, no answer arrives": lambda proxy: proxy.hold([Direction.TO_CLIENT]),
        "half-open in both directions": lambda proxy: proxy.hold(BOTH),
        "slow": lambda proxy: proxy.slow(SLOW),
    }
    with stage(f"network to {server} cut, half-open, slow or reset", lab, **SHORT_LIMITS) as scene:
        for name, make in network_faults.items():
            for proxy in links(scene):
                make(proxy)
            let_time_pass(HELD_SECONDS)
            for proxy in links(scene):
                proxy.heal()
            scene.recover(f"network to {server} {name}")
        for _ in range(5):
            for proxy in links(scene):
                proxy.reset()
            scene.recover(f"network to {server} reset")


@pytest.mark.parametrize(
    ("links", "server"), [(database_links, "PostgreSQL"), (kafka_links, "Kafka")], ids=["postgresql", "kafka"]
)
def test_dead_connections(lab: Lab, stage: Stage, links: Callable[[Scene], list[Proxy]], server: str) -> None:
    """The machine at the other end has disappeared without closing them. Only new connections work."""
    with stage(f"connections to {server} dead but not closed", lab, **SHORT_LIMITS) as scene:
        for proxy in links(scene):
            proxy.hold_present()
        scene.recover(f"connections to {server} dead")


def test_one_replica_cut_off_from_kafka(lab: Lab, stage: Stage) -> None:
    """It still reaches PostgreSQL, and writes its records until another replica has claimed its partitions."""
    with stage("one replica cut off from Kafka", lab) as scene:
        isolated, other = scene.fleet.replicas
        for proxy in kafka_links(scene):
            proxy.hold(pid=isolated.pid)
        scene.recover("one replica cut off from Kafka", time.monotonic())
        let_time_pass(HELD_SECONDS)
        owners = {row["owner"].rpartition(":")[2] for row in scene.environment.query("SELECT owner FROM ingest_ledger")}
        assert owners == {str(other.pid)}
        for proxy in kafka_links(scene):
            proxy.heal()
        scene.recover("the replica reconnected")


def test_one_replica_cut_off_from_postgresql(lab: Lab, stage: Stage) -> None:
    """It is still a member of the group and keeps its partitions: they wait, the others continue."""
    with stage("one replica cut off from PostgreSQL", lab) as scene:
        isolated, _ = scene.fleet.replicas
        isolated.postgres.cut()
        let_time_pass(HELD_SECONDS)
        isolated.service.wait_page("/readyz", 503)
        isolated.postgres.heal()
        scene.recover("one replica cut off from PostgreSQL")
