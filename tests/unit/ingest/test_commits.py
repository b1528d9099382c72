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
from tests.support.virtual_time import passes
from tests.support.world import A, B

NOW_MS = int(WALL_START * 1000)


class Desk:
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
        self.telemetry.told.clear()
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
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 40)])
    await desk.committer.flush()
    assert desk.broker.committed == {A: 40}


async def test_offsets_that_kafka_does_not_accept_are_committed_later() -> None:
    """This also holds if no more records are written. If more are, the newest offset is committed."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 40), Claim(B, 1, 7)])
    desk.source.refuses_commits = True
    await desk.committer.flush()
    desk.committer.note([span(40, 5)])
    desk.source.refuses_commits = False
    await desk.committer.flush()
    assert desk.broker.committed == {A: 45, B: 7}


async def test_a_written_span_is_committed_to_its_end() -> None:
    """The committed offset is after the records and the gaps."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    desk.committer.note([span(0, 10, gap=3), span(0, 0, partition=B)])
    await desk.committer.flush()
    assert desk.broker.committed == {A: 13, B: 0}


async def test_only_offsets_that_have_moved_are_committed() -> None:
    """An idle partition causes no commit."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    await desk.committer.flush()
    desk.broker.committed.clear()
    desk.committer.note([span(0, 10), span(0, 0, partition=B)])
    await desk.committer.flush()
    await desk.committer.flush()
    assert desk.broker.committed == {A: 10}


async def test_a_revoked_partition_is_forgotten() -> None:
    """Its offset is not committed, and its lag is not reported."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    desk.committer.note([span(0, 10)])
    desk.committer.forget([A])
    assert (await desk.lag()).keys() == {B}
    assert desk.broker.committed == {B: 0}


async def test_the_lag_is_counted_from_the_ledger() -> None:
    """It is counted in offsets. In seconds, it is the age of the newest written record, if newer ones wait."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 100)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 5000)])
    desk.clock.now = 2.0
    assert await desk.lag() == {A: (90, pytest.approx(7.0)), B: (0, 0.0)}


async def test_before_the_first_write_the_lag_is_the_age_of_the_oldest_waiting_record() -> None:
    """So an outage of the database after a restart appears in seconds too."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.read(A, NOW_MS - 3000)
    desk.committer.read(A, NOW_MS - 1000)
    desk.committer.read(B, NOW_MS)
    assert await desk.lag() == {A: (100, pytest.approx(3.0))}
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 1000)])
    assert await desk.lag() == {A: (90, pytest.approx(1.0))}


async def test_there_is_no_lag_once_caught_up() -> None:
    """The age of the newest record does not matter."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 100, timestamp=0)])
    assert await desk.lag() == {A: (0, 0.0)}


async def test_a_commit_after_a_revoke_is_not_reported() -> None:
    """Its batch was in flight for longer than a rebalance waits."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.forget([A])
    desk.committer.note([span(0, 10)])
    assert (await desk.lag(), desk.broker.committed) == ({}, {})


async def test_the_lag_grows_while_nothing_is_fetched() -> None:
    """This is the case in an outage of the database. The committer then asks the brokers."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    ends = {A: End(100, 100)}
    desk.source.ends = lambda partitions: ends  # type: ignore[method-assign]
    running = asyncio.create_task(desk.committer.run())
    await passes(5)
    desk.broker.append_gap(A, 900)
    await passes(15)
    running.cancel()
    assert desk.telemetry.all("lag")[-1][:2] == (A, 1000)


async def test_clocks_that_disagree_give_no_negative_lag() -> None:
    """A producer's clock may be ahead, and an end that was fetched earlier may be before the ledger's offset."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS + 60_000)])
    assert await desk.lag() == {A: (90, 0.0)}
    desk.committer.note([span(10, 500)])
    assert await desk.lag() == {A: (0, 0.0)}


async def test_a_gap_does_not_make_the_lag_look_younger() -> None:
    """The record before the gap is still the newest written record."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 5000)])
    desk.committer.note([span(10, 0, gap=5)])
    assert await desk.lag() == {A: (85, pytest.approx(5.0))}


async def test_the_newest_record_stays_the_newest() -> None:
    """A later span with older timestamps does not increase the lag."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 1000)])
    desk.committer.note([span(10, 10, timestamp=NOW_MS - 90_000)])
    assert await desk.lag() == {A: (80, pytest.approx(1.0))}


async def test_records_without_a_timestamp_have_no_age() -> None:
    """Their lag in offsets is still reported."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=-1)])
    assert await desk.lag() == {A: (90, 0.0)}


async def test_it_commits_and_reports_once_a_second() -> None:
    """It does not do so at every batch."""
    desk = Desk()
    running = asyncio.create_task(desk.committer.run())
    desk.committer.begin([Claim(A, 1, 0)])
    await passes(10.5)
    running.cancel()
    assert desk.telemetry.count("lag") == 10


async def test_the_lag_goes_up_to_the_high_watermark() -> None:
    """Records behind an open transaction count as waiting, even if every readable record was written."""
    desk = Desk()
    desk.broker.logs[A].held_back = 7
    desk.committer.begin([Claim(A, 1, 100), Claim(B, 1, 100)])
    assert await desk.lag() == {A: (7, 0.0), B: (0, 0.0)}
    assert desk.telemetry.all("held_back") == [(A, 7, 0.0), (B, 0, 0.0)]


async def test_an_open_transaction_is_timed_until_it_is_over() -> None:
    """When the last stable offset moves, another transaction is timed."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 100)])
    told = []
    for held_back, moved in ((7, 0), (9, 0), (9, 3), (0, 9)):
        desk.broker.logs[A].held_back = held_back
        desk.broker.logs[A].end += moved
        await desk.lag()
        told += desk.telemetry.all("held_back")
        desk.clock.now += 60
    assert told == [(A, 7, 0.0), (A, 9, 60.0), (A, 9, 0.0), (A, 0, 0.0)]
