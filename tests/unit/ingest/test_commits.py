"""Tests that the offsets committed to Kafka follow the ledger, and that the lag is counted from the ledger."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumer.events.record import Partition, StoredRecord
from consumer.ingest.commits import Committer
from consumer.ingest.offsets import Claim, Span
from consumer.ingest.ports import End
from tests.support.fakes import WALL_START, Changes, FakeBroker, FakeSource, FakeTelemetry, ManualClock
from tests.support.virtual_time import time_passes
from tests.support.world import A, B

NOW_MS = int(WALL_START * 1000)


class CommitterSetup:
    """A committer at a fake Kafka with two partitions of 100 offsets."""

    def __init__(self) -> None:
        changes = Changes()
        self.broker = FakeBroker(changes)
        for partition in (A, B):
            self.broker.create(partition)
            self.broker.append_gap(partition, 100)
        self.source = FakeSource(self.broker)
        self.source.assigned = {A: 0, B: 0}
        self.telemetry = FakeTelemetry(changes)
        self.clock = ManualClock()
        self.committer = Committer(self.source, self.telemetry, self.clock)

    async def lag(self) -> dict[Partition, Any]:
        """Return the lag that the next flush reports."""
        self.telemetry.calls.clear()
        await self.committer.flush()
        return {partition: (records, seconds) for partition, records, seconds in self.telemetry.all("lag")}


def span(start: int, records: int, *, gap: int = 0, timestamp: int = NOW_MS, partition: Partition = A) -> Span:
    """Return a written span."""
    written = Span.begin(Claim(partition, 1, start))
    written.take([StoredRecord(*partition, start + place, timestamp, None, None) for place in range(records)])
    written.skip_to(start + records + gap)
    return written


async def test_the_offsets_of_the_ledger_are_committed_from_the_start() -> None:
    """They are committed before the first record is written, because lag tools read them at once."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 40)])
    await setup.committer.flush()
    assert setup.broker.committed == {A: 40}


async def test_offsets_that_kafka_does_not_accept_are_committed_later() -> None:
    """This also holds if no more records are written. If more are, the newest offset is committed."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 40), Claim(B, 1, 7)])
    setup.source.refuses_commits = True
    await setup.committer.flush()
    setup.committer.note([span(40, 5)])
    setup.source.refuses_commits = False
    await setup.committer.flush()
    assert setup.broker.committed == {A: 45, B: 7}


async def test_a_written_span_is_committed_to_its_end() -> None:
    """The committed offset is after the records and the gaps."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    setup.committer.note([span(0, 10, gap=3), span(0, 0, partition=B)])
    await setup.committer.flush()
    assert setup.broker.committed == {A: 13, B: 0}


async def test_only_offsets_that_have_moved_are_committed() -> None:
    """An idle partition causes no commit."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    await setup.committer.flush()
    setup.broker.committed.clear()
    setup.committer.note([span(0, 10), span(0, 0, partition=B)])
    await setup.committer.flush()
    await setup.committer.flush()
    assert setup.broker.committed == {A: 10}


async def test_a_revoked_partition_is_forgotten() -> None:
    """Its offset is not committed, and its lag is not reported."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    setup.committer.note([span(0, 10)])
    setup.committer.forget([A])
    assert (await setup.lag()).keys() == {B}
    assert setup.broker.committed == {B: 0}


async def test_the_lag_is_counted_from_the_ledger() -> None:
    """It is counted in offsets. In seconds, it is the age of the newest written record, if newer ones wait."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0), Claim(B, 1, 100)])
    setup.committer.note([span(0, 10, timestamp=NOW_MS - 5000)])
    setup.clock.now = 2.0
    assert await setup.lag() == {A: (90, pytest.approx(7.0)), B: (0, 0.0)}


async def test_before_the_first_write_the_lag_is_the_age_of_the_oldest_waiting_record() -> None:
    """So an outage of the database after a restart appears in seconds too."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.read(A, NOW_MS - 3000)
    setup.committer.read(A, NOW_MS - 1000)
    setup.committer.read(B, NOW_MS)
    assert await setup.lag() == {A: (100, pytest.approx(3.0))}
    setup.committer.note([span(0, 10, timestamp=NOW_MS - 1000)])
    assert await setup.lag() == {A: (90, pytest.approx(1.0))}


async def test_after_catching_up_there_is_no_lag() -> None:
    """The age of the newest record does not matter."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.note([span(0, 100, timestamp=0)])
    assert await setup.lag() == {A: (0, 0.0)}


async def test_a_commit_after_a_revoke_is_not_reported() -> None:
    """Its batch was in flight for longer than a rebalance waits."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.forget([A])
    setup.committer.note([span(0, 10)])
    assert (await setup.lag(), setup.broker.committed) == ({}, {})


async def test_the_lag_grows_while_nothing_is_fetched() -> None:
    """This is the case in an outage of the database. The committer then asks the brokers."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    ends = {A: End(100, 100)}
    setup.source.ends = lambda partitions: ends  # type: ignore[method-assign]
    running = asyncio.create_task(setup.committer.run())
    await time_passes(5)
    setup.broker.append_gap(A, 900)
    await time_passes(15)
    running.cancel()
    assert setup.telemetry.all("lag")[-1][:2] == (A, 1000)


async def test_clocks_that_disagree_give_no_negative_lag() -> None:
    """A producer's clock may be ahead, and an end that was fetched earlier may be before the ledger's offset."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.note([span(0, 10, timestamp=NOW_MS + 60_000)])
    assert await setup.lag() == {A: (90, 0.0)}
    setup.committer.note([span(10, 500)])
    assert await setup.lag() == {A: (0, 0.0)}


async def test_a_gap_does_not_shorten_the_lag() -> None:
    """The record before the gap is still the newest written record."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.note([span(0, 10, timestamp=NOW_MS - 5000)])
    setup.committer.note([span(10, 0, gap=5)])
    assert await setup.lag() == {A: (85, pytest.approx(5.0))}


async def test_the_newest_record_stays_the_newest() -> None:
    """A later span with older timestamps does not increase the lag."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.note([span(0, 10, timestamp=NOW_MS - 1000)])
    setup.committer.note([span(10, 10, timestamp=NOW_MS - 90_000)])
    assert await setup.lag() == {A: (80, pytest.approx(1.0))}


async def test_records_without_a_timestamp_give_no_lag_in_seconds() -> None:
    """Their lag in offsets is still reported."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 0)])
    setup.committer.note([span(0, 10, timestamp=-1)])
    assert await setup.lag() == {A: (90, 0.0)}


async def test_it_commits_and_reports_once_a_second() -> None:
    """It does not do so at every batch."""
    setup = CommitterSetup()
    running = asyncio.create_task(setup.committer.run())
    setup.committer.begin([Claim(A, 1, 0)])
    await time_passes(10.5)
    running.cancel()
    assert setup.telemetry.count("lag") == 10


async def test_the_lag_goes_up_to_the_high_watermark() -> None:
    """Records behind an open transaction count as waiting, even if every readable record was written."""
    setup = CommitterSetup()
    setup.broker.logs[A].held_back = 7
    setup.committer.begin([Claim(A, 1, 100), Claim(B, 1, 100)])
    assert await setup.lag() == {A: (7, 0.0), B: (0, 0.0)}
    assert setup.telemetry.all("held_back") == [(A, 7, 0.0), (B, 0, 0.0)]


async def test_an_open_transaction_is_timed_until_it_is_over() -> None:
    """When the last stable offset moves, another transaction is timed."""
    setup = CommitterSetup()
    setup.committer.begin([Claim(A, 1, 100)])
    reported = []
    for held_back, moved in ((7, 0), (9, 0), (9, 3), (0, 9)):
        setup.broker.logs[A].held_back = held_back
        setup.broker.logs[A].end += moved
        await setup.lag()
        reported += setup.telemetry.all("held_back")
        setup.clock.now += 60
    assert reported == [(A, 7, 0.0), (A, 9, 60.0), (A, 9, 0.0), (A, 0, 0.0)]
