"""Tests faults at every step of a flush, timed by the messages between the service and PostgreSQL."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.postgres_wire import Step
from tests.faults.scene import Scene
from tests.support.service import eventually

pytestmark = pytest.mark.timeout(300)


def test_killed_at_every_step(lab: Lab, stage: Stage) -> None:
    """SIGKILL before, inside and after the transaction: the other replicas continue, and write uncommitted records."""
    with stage("SIGKILL at every step of a flush", lab) as scene:
        for number, step in enumerate(Step):
            kill_at(scene, number, step, drop=True)
        kill_at(scene, len(Step), Step.COMMIT, drop=False)


def kill_at(scene: Scene, number: int, step: Step, *, drop: bool) -> None:
    """Kill a replica at the step; its sent bytes are dropped, or arrive."""
    replica = scene.fleet.replicas[number % 2]
    trap = replica.postgres.set_trap(step, scene.chance.randint(1, 3))
    trap.wait(60)
    replica.kill()
    killed = time.monotonic()
    trap.drop() if drop else trap.let_pass()
    scene.recover(f"SIGKILL {step.value}" if drop else "SIGKILL after COMMIT was sent", killed)
    replica.start()
    replica.wait_ready()


def test_the_connection_is_reset_at_every_step(lab: Lab, stage: Stage) -> None:
    """The process does not know the outcome of its transaction: it reads the ledger, and writes once."""
    with stage("connection to PostgreSQL reset at every step of a flush", lab) as scene:
        for number in range(3 * len(Step)):
            step = list(Step)[number % len(Step)]
            trap = scene.fleet.replicas[number % 2].postgres.set_trap(step, scene.chance.randint(1, 3))
            trap.wait(60)
            trap.drop()
            scene.recover(f"reset {step.value}")


@pytest.mark.parametrize("step", [Step.COPY, Step.LEDGER, Step.COMMIT, Step.COMMITTED], ids=lambda step: step.name)
def test_frozen_at_a_step(lab: Lab, stage: Stage, step: Step) -> None:
    """SIGSTOP longer than the session timeout: another replica writes its partitions; continued, it writes them
    no more.
    """
    with stage(f"replica frozen {step.value}, continued after the session timeout", lab) as scene:
        frozen, other = scene.fleet.replicas
        trap = frozen.postgres.set_trap(step, scene.chance.randint(1, 3))
        trap.wait(60)
        frozen.freeze()
        stopped = time.monotonic()
        trap.let_pass()
        scene.recover(f"SIGSTOP {step.value}", stopped)
        owners = {row["owner"] for row in scene.environment.query("SELECT owner FROM ingest_ledger")}
        assert [owner.rpartition(":")[2] for owner in owners] == [str(other.pid)]
        frozen.thaw()
        scene.recover("SIGCONT")
        eventually(lambda: is_shared(scene), timeout=60, message="both have partitions again")


def is_shared(scene: Scene) -> bool:
    """Return whether the partitions are shared again."""
    return len({row["owner"] for row in scene.environment.query("SELECT owner FROM ingest_ledger")}) == 2
