"""Tests the few faults of every test run; `make faults` runs all."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.postgres_wire import Step

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_worst_moments_of_a_flush(lab: Lab, stage: Stage) -> None:
    """The answer to COMMIT is lost, a replica is killed right after a commit, or the database restarts: the counts are
    exact, and recovery is quick.
    """
    with stage("smoke test: answer to COMMIT lost, SIGKILL after COMMIT, PostgreSQL killed", lab) as scene:
        first, second = scene.fleet.replicas
        trap = first.postgres.set_trap(Step.COMMITTED)
        trap.wait(60)
        trap.drop()
        scene.recover("answer to COMMIT lost")
        trap = second.postgres.set_trap(Step.COMMITTED, 2)
        trap.wait(60)
        second.kill()
        killed = time.monotonic()
        trap.drop()
        scene.recover("SIGKILL after COMMIT", killed)
        lab.postgres.kill()
        lab.postgres.start()
        scene.recover("PostgreSQL killed")
