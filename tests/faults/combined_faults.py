"""Faults that can be combined: each begins, lasts while another one may happen, and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

from confluent_kafka.admin import AdminClient

from tests.faults.fleet import Replica
from tests.faults.lab import Lab
from tests.faults.postgres_wire import Step
from tests.faults.proxy import BOTH, Direction, Proxy
from tests.faults.scene import Scene, let_time_pass
from tests.support.service import eventually

Fault = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def chosen(scene: Scene) -> Iterator[Replica]:
    """Choose a replica that has no fault."""
    replica = scene.chance.choice([one for one in scene.fleet.replicas if one.name not in scene.busy])
    scene.busy.add(replica.name)
    try:
        yield replica
    finally:
        scene.busy.discard(replica.name)


@contextmanager
def kill(scene: Scene) -> Iterator[None]:
    """SIGKILL at a step of a flush or at any time; another process replaces it at once."""
    with chosen(scene) as replica:
        trap = replica.postgres.set_trap(scene.chance.choice(list(Step)), scene.chance.randint(1, 5))
        if scene.chance.random() < 0.7:
            with suppress(TimeoutError):  # it may have no partitions now
                trap.wait(5)
        replica.kill()
        trap.drop()
        replica.start()
        yield


@contextmanager
def freeze(scene: Scene) -> Iterator[None]:
    """Send SIGSTOP for longer than the session timeout."""
    with chosen(scene) as replica:
        replica.freeze()
        yield
        let_time_pass(scene.chance.uniform(7, 11))
        replica.thaw()


@contextmanager
def restart_database(scene: Scene) -> Iterator[None]:
    """Kill or stop the database, and start it after a while."""
    postgres = scene.lab.postgres
    postgres.kill() if scene.chance.random() < 0.6 else postgres.stop()
    yield
    let_time_pass(scene.chance.uniform(0, 4))
    postgres.start()


@contextmanager
def restart_broker(scene: Scene) -> Iterator[None]:
    """Kill or stop one of three brokers, and start it after a while."""
    broker = scene.chance.choice(scene.lab.brokers)
    broker.kill() if scene.chance.random() < 0.7 else broker.stop()
    yield
    let_time_pass(scene.chance.uniform(0, 8))
    broker.start()
    eventually(lambda: all_in_sync(scene.lab), timeout=90, message="every partition has all its copies again")


@contextmanager
def network_fault(scene: Scene) -> Iterator[None]:
    """Cut, reset, hold or slow one link: that of a replica to PostgreSQL, or all links to one broker."""
    proxy = scene.chance.choice([*scene.lab.broker_proxies, *(one.postgres for one in scene.fleet.replicas)])
    scene.chance.choice(_NETWORK_FAULTS)(proxy)
    yield
    let_time_pass(scene.chance.uniform(1, 8))
    proxy.heal()


_NETWORK_FAULTS: tuple[Callable[[Proxy], None], ...] = (
    Proxy.cut,
    Proxy.reset,
    lambda proxy: proxy.hold(BOTH),
    lambda proxy: proxy.hold([Direction.TO_CLIENT]),
    lambda proxy: proxy.hold([Direction.TO_SERVER]),
    lambda proxy: proxy.slow(20_000),
)


@contextmanager
def leave_and_join(scene: Scene) -> Iterator[None]:
    """Send SIGTERM; when the replica has ended, another one joins."""
    with chosen(scene) as replica:
        replica.leave()
        yield
        replica.wait_ended()
        replica.start()


# How often each happens in a whole long run.
PLAN: Mapping[str, tuple[Fault, int]] = {
    "process killed": (kill, 110),
    "process frozen for longer than the session timeout": (freeze, 14),
    "PostgreSQL killed or restarted": (restart_database, 24),
    "broker killed or restarted": (restart_broker, 24),
    "network cut, half-open, slow or reset": (network_fault, 30),
    "replica left, another joined": (leave_and_join, 20),
}


def all_in_sync(lab: Lab) -> bool:
    """Return whether every partition is on as many brokers as it should be."""
    topics = AdminClient({"bootstrap.servers": lab.bootstrap_servers}).list_topics(timeout=30).topics.values()
    return all(len(part.isrs) == len(part.replicas) for topic in topics for part in topic.partitions.values())
