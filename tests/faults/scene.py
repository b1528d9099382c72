"""A scenario: traffic, replicas and faults; then the comparison, the days, and the recovery times."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.audit import TIMEZONE, Account, assert_days_equal_queries, compare, take_account
from tests.faults.fleet import Fleet
from tests.faults.lab import Lab
from tests.faults.observer import Observer, Recovery
from tests.faults.traffic import STEADY, Mix, Sent, Traffic
from tests.support.bad_records import RULES
from tests.support.psql import execute
from tests.support.service import Environment, eventually

REST_SECONDS = 90.0
# The shortest session timeout that brokers allow by default: a dead member is noticed after six seconds.
QUICK = {
    "RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "6000",
    "RAGLEDGER_KAFKA__REBALANCE_TIMEOUT_MS": "15000",
    "RAGLEDGER_BATCH__MAX_ROWS": "200",
}


@dataclass
class Scene:
    """The parts of a scenario, and its results.

    :param happened: faults by name, if more have happened than were recovered from
    :param may_end: how many processes may end by themselves and be restarted by their supervisor
    :param busy: replicas that have a fault at present
    :param held: the expected content of the tables, if Kafka itself no longer has it
    """

    lab: Lab
    environment: Environment
    fleet: Fleet
    traffic: Traffic
    observer: Observer
    seed: int
    chance: Random
    happened: Counter[str] = field(default_factory=Counter)
    recoveries: dict[str, list[Recovery]] = field(default_factory=lambda: defaultdict(list))
    busy: set[str] = field(default_factory=set)
    may_end: int = 0
    rebalances: int | None = None
    account: Account | None = None
    held: Counter[Sent] | None = None

    def recover(self, fault: str, since: float | None = None, seconds: float = 90.0) -> Recovery:
        """Wait until all is recovered after a fault that is over (or ended at `since`), and store the time."""
        recovery = self.observer.recovery(time.monotonic() if since is None else since, seconds)
        self.recoveries[fault].append(recovery)
        return recovery

    def come_to_rest(self) -> Account:
        """End the traffic, wait until everything is written, and compare. Raises AssertionError if a record was lost,
        duplicated or not counted, if a day differs from its queries, or if a process has ended by itself. Raises
        TimeoutError if records wait for ever.
        """
        self.lab.heal()
        self.fleet.heal()
        self.traffic.stop()
        self.environment.assert_caught_up(timeout=REST_SECONDS)
        self.account = self._take_account()
        assert self.account.is_exact, self.account
        assert_days_equal_queries(self.environment)
        assert self.fleet.ended_by_themselves <= self.may_end, "a process has ended by itself: its log says why"
        return self.account

    def _take_account(self) -> Account:
        """Compare with the content of Kafka, or with the known records (`held`) if Kafka was made to lose some."""
        if self.held is not None:
            return compare(self.environment, self.held)
        return take_account(self.environment, self.traffic, self.lab.bootstrap_servers)


def let_time_pass(seconds: float) -> None:
    """Let a fault last: the only place in this suite that waits by the clock."""
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, timeout=seconds + 10)


@contextmanager
def set_scene(
    lab: Lab,
    directory: Path,
    seed: int,
    *,
    replicas: int = 2,
    partitions: int = 4,
    rate: float = 300.0,
    mix: Mix = STEADY,
    **settings: str,
) -> Iterator[Scene]:
    """Run traffic that is written, until the scenario ends; then compare, unless the scenario has failed."""
    names = {f"RAGLEDGER_{name.upper()}": value for name, value in settings.items()}
    with ExitStack() as undo:
        environment = undo.enter_context(
            lab.environment(partitions, **QUICK, RAGLEDGER_ROLLUP__TIMEZONE=TIMEZONE, **names)
        )
        execute(environment.dsn, RULES[0])
        traffic = Traffic(lab.bootstrap_servers, environment.topics, seed, rate, mix)
        undo.callback(traffic.stop)
        undo.callback(lab.heal)
        observer = Observer(environment, traffic)
        undo.callback(observer.stop)
        fleet = undo.enter_context(Fleet(lab, environment, directory, replicas))
        scene = Scene(lab, environment, fleet, traffic, observer, seed, Random(seed))
        fleet.wait_ready()
        traffic.start()
        observer.start()
        # A recovery would not notice a replica whose partitions were never written.
        eventually(
            lambda: observer.written(environment.topics["dialogue"]) == partitions, message="all partitions are written"
        )
        yield scene
        scene.come_to_rest()
