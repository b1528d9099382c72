"""Tests replicas that join and leave faster than the group can rebalance."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Stage
from tests.faults.fleet import Replica
from tests.faults.lab import Lab
from tests.faults.scene import Scene, let_time_pass

pytestmark = pytest.mark.timeout(300)

CHANGES = 30


def test_many_rebalances(lab: Lab, stage: Stage) -> None:
    """Every second a replica joins, leaves or is killed. Afterwards every record is written once."""
    with stage("many rebalances: a replica joins or leaves every second", lab, replicas=4) as scene:
        for _ in range(CHANGES):
            change(scene, scene.chance.choice(scene.fleet.replicas))
            let_time_pass(1.0)
        for replica in scene.fleet.replicas:
            if not replica.is_wanted:
                replica.wait_ended()
                replica.start()
        scene.recover("many rebalances")


def change(scene: Scene, replica: Replica) -> None:
    """Join, leave, or be killed."""
    if replica.has_ended:
        replica.start()
        scene.happened["replica joined"] += 1
    elif replica.is_wanted and scene.chance.random() < 0.5:
        replica.kill()
        scene.happened["replica killed"] += 1
    elif replica.is_wanted:
        replica.leave()
        scene.happened["replica left"] += 1


def test_a_rolling_restart(lab: Lab, stage: Stage) -> None:
    """Three replicas restart one after the other under load: each ends with 0, and no record is read twice."""
    with stage("rolling restart of three replicas", lab, replicas=3) as scene:
        for replica in scene.fleet.replicas:
            assert replica.stop() == 0
            replica.start()
            replica.wait_ready()
            scene.recover("replica restarted")
