"""Tests all faults together for a long time: kills, frozen replicas, restarts of both servers, network faults, replicas
that join and leave.

It runs only with `--long`: `make faults ARGS="tests/faults/test_long_run.py --long 1"` takes most of an hour, and
`--long 0.1` takes a tenth of that.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.faults.combined_faults import PLAN
from tests.faults.conftest import Stage
from tests.faults.lab import Lab
from tests.faults.scene import Scene

pytestmark = pytest.mark.timeout(3 * 3600)

OVERLAPPING = 0.3
RECOVERY_SECONDS = 180.0
TWO_AT_ONCE = "two of these at once"
_GENERATION = re.compile(r"[Ss]tabilized group (\S+) generation (\d+)")


def test_all_faults_mixed(cluster: Lab, stage: Stage, long: float, capsys: pytest.CaptureFixture[str]) -> None:
    """After each fault, all partitions are written again. At the end no record was lost, duplicated or left out."""
    if not long:
        pytest.skip("the long run is asked for with --long 1")
    limits = {"postgres__statement_timeout_s": "5", "postgres__connect_timeout_s": "3"}
    with stage("long run, all faults mixed", cluster, replicas=3, rate=200.0, **limits) as scene:
        scene.may_end = len(PLAN)  # a task that hangs for long may end the process
        plan = shuffled(scene.chance, long)
        total = len(plan)
        while plan:
            label = next_fault(scene, plan)
            recovery = scene.recover(label, seconds=RECOVERY_SECONDS)
            with capsys.disabled():
                done, sent, written = total - len(plan), scene.traffic.count, scene.observer.accounted
                print(
                    f"\r{done:4}/{total}  {sent:9,} sent  {written:9,} written  "
                    f"{recovery.written:5.1f} s  {recovery.caught_up:5.1f} s  {label}",
                    flush=True,
                )
        scene.rebalances = generations(cluster, scene.environment.group)


def shuffled(chance: Random, share: float) -> list[str]:
    """Return the names of all faults in random order."""
    names = [name for name, (_, count) in PLAN.items() for _ in range(max(1, round(count * share)))]
    chance.shuffle(names)
    return names


def next_fault(scene: Scene, plan: list[str]) -> str:
    """Begin the next fault of the plan; sometimes also the one after it, if it is of another sort, before the first
    ends.
    """
    names = [plan.pop()]
    if plan and plan[-1] != names[0] and scene.chance.random() < OVERLAPPING:
        names.append(plan.pop())
    with ExitStack() as under_way:
        for name in names:
            under_way.enter_context(PLAN[name][0](scene))
            scene.happened[name] += 1
    return names[0] if len(names) == 1 else TWO_AT_ONCE


def generations(lab: Lab, group: str) -> int:
    """Return how often the group has rebalanced, from the brokers' logs."""
    found = [
        int(generation)
        for broker in lab.brokers
        for name, generation in _GENERATION.findall(Path(broker.log).read_text(errors="replace"))
        if name == group
    ]
    return max(found, default=0)
