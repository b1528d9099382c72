"""Measures how soon records are written again after a replica has stopped or was killed, under load."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.ingestion import counts, environment_on, ids
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.slow_copy import make_slow
from tests.support.stack import Servers
from tests.support.stream import Progress, Stream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PARTITIONS = 6
AFTER_A_KILL_S = 15.0
A_FEW_S = 8.0


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with the defaults of all settings that matter."""
    with environment_on(stack, migrated_template, partitions=PARTITIONS) as made:
        yield made


def assert_exact(environment: Environment, stream: Stream) -> None:
    """Assert that everything published is one row, and that the ledger counts nothing twice."""
    stream.end()
    environment.assert_caught_up()
    assert counts(environment) == {"inserted": len(stream.published), "duplicates": 0, "dead": 0}
    assert ids(environment) == stream.published


def seconds_until_all_move(progress: Progress, partitions: set[int], moment: float) -> float:
    """Wait until each partition has made progress after a moment. Return the seconds of the last one."""
    eventually(
        lambda: all(progress.first_move_after(moment, partition) for partition in partitions),
        message="every partition is written again",
    )
    return max(progress.first_move_after(moment, partition) or 0.0 for partition in partitions)


@pytest.mark.parametrize("busy", [False, True], ids=["anytime", "in the middle of a COPY"])
def test_after_a_kill_the_other_replica_writes_within_fifteen_seconds(
    environment: Environment, tmp_path: Path, busy: bool
) -> None:
    """The time is from the SIGKILL of one of two replicas to the first committed row of each of its partitions."""
    if busy:
        make_slow(environment)
    with (
        ServiceProcess(environment, tmp_path / "one") as killed,
        ServiceProcess(environment, tmp_path / "two") as survivor,
        Progress(environment) as progress,
        Stream(environment, PARTITIONS) as stream,
    ):
        owners = (killed.running.pid, survivor.running.pid)
        eventually(
            lambda: all(len(progress.of(pid)) == PARTITIONS / 2 for pid in owners), message="the partitions are shared"
        )
        lost = progress.of(killed.running.pid)
        moment = time.monotonic()
        killed.kill()
        seconds = seconds_until_all_move(progress, lost, moment)
        print(f"written again after {seconds:.1f} s")
        assert seconds < AFTER_A_KILL_S
        assert_exact(environment, stream)
        assert survivor.stop() == 0


def test_a_single_replica_that_is_killed_and_restarted_writes_within_fifteen_seconds(
    environment: Environment, tmp_path: Path
) -> None:
    """A supervisor restarts it at once; the session of the old one has to end first."""
    with Progress(environment) as progress, Stream(environment, PARTITIONS) as stream:
        with ServiceProcess(environment, tmp_path / "one") as killed:
            eventually(lambda: len(progress.of(killed.running.pid)) == PARTITIONS, message="the replica writes")
            moment = time.monotonic()
            killed.kill()
        with ServiceProcess(environment, tmp_path / "two") as successor:
            seconds = seconds_until_all_move(progress, set(range(PARTITIONS)), moment)
            print(f"written again after {seconds:.1f} s")
            assert seconds < AFTER_A_KILL_S
            assert_exact(environment, stream)
            assert successor.stop() == 0


def test_a_rolling_restart_under_load_delays_no_partition_for_long(environment: Environment, tmp_path: Path) -> None:
    """Three replicas are stopped and started in turn: no duplicate, and no partition waits longer than seconds."""
    with ExitStack() as replicas, Progress(environment) as progress, Stream(environment, PARTITIONS) as stream:

        def start(name: str) -> ServiceProcess:
            return replicas.enter_context(ServiceProcess(environment, tmp_path / name))

        running = [start(f"old {n}") for n in range(3)]
        eventually(lambda: all(progress.of(one.running.pid) for one in running), message="the partitions are shared")
        since = time.monotonic()
        for n, old in enumerate(running):
            assert old.stop() == 0
            running[n] = start(f"new {n}")
            pid = running[n].running.pid
            eventually(lambda pid=pid: progress.of(pid), message="the new replica writes")  # type: ignore[misc]
        until = time.monotonic()
        gap = progress.longest_gap(since, until)
        print(f"restarted in {until - since:.1f} s; the longest gap of a partition was {gap:.1f} s")
        assert gap < A_FEW_S
        assert_exact(environment, stream)
        assert [one.stop() for one in running] == [0, 0, 0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_stop_under_load_leaves_nothing_to_read_again(
    environment: Environment, tmp_path: Path, number: signal.Signals
) -> None:
    """It ends in time with exit code 0. Its successor begins at the offset where it ended, and finds no duplicate."""
    with Stream(environment, PARTITIONS) as stream:
        for turn in range(3):
            with ServiceProcess(environment, tmp_path / f"turn {turn}") as service:
                before = environment.accounted_for()
                eventually(lambda before=before: environment.accounted_for() > before + 100)  # type: ignore[misc]
                moment = time.monotonic()
                service.send(number)
                assert service.running.wait(40) == 0
                print(f"stopped in {time.monotonic() - moment:.1f} s")
        with ServiceProcess(environment, tmp_path / "last") as service:
            assert_exact(environment, stream)
            assert service.stop() == 0


def test_a_second_signal_under_load_ends_it_at_once_without_loss(environment: Environment, tmp_path: Path) -> None:
    """It comes during a write: uncommitted records are read again."""
    make_slow(environment)
    with Stream(environment, PARTITIONS) as stream:
        with ServiceProcess(environment, tmp_path / "one", RAGLEDGER_BATCH__MAX_DELAY_MS="2000") as service:
            eventually(lambda: environment.accounted_for() > 0, message="the replica writes")
            service.send(signal.SIGTERM)
            service.send(signal.SIGINT)
            moment = time.monotonic()
            assert service.running.wait(10) in (130, 143)
            assert time.monotonic() - moment < 5
        with ServiceProcess(environment, tmp_path / "two") as service:
            assert_exact(environment, stream)
            assert service.stop() == 0
