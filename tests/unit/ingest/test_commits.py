"""Offsets committed to Kafka follow the ledger; the lag is what the ledger is behind."""

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
    """A committer, at a fake Kafka with two partitions of 100 offsets."""

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
        """The lag as told by the next flush."""
        self.telemetry.told.clear()
        await self.committer.flush()
        return {partition: (records, seconds) for partition, records, seconds in self.telemetry.all("lag")}


def span(start: int, records: int, *, gap: int = 0, timestamp: int = NOW_MS, partition: Partition = A) -> Span:
    """A span that has been written."""
    written = Span.begin(Claim(partition, 1, start))
    written.take([StoredRecord(*partition, start + place, timestamp, None, None) for place in range(records)])
    written.skip_to(start + records + gap)
    return written


async def test_what_the_ledger_knows_is_committed_from_the_start() -> None:
    """Also before the first record is written: lag tools look at once."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 40)])
    await desk.committer.flush()
    assert desk.broker.committed == {A: 40}


async def test_what_kafka_does_not_take_is_committed_later() -> None:
    """Also where nothing is written any more; and the newest, where something is."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 40), Claim(B, 1, 7)])
    desk.source.refuses_commits = True
    await desk.committer.flush()
    desk.committer.note([span(40, 5)])
    desk.source.refuses_commits = False
    await desk.committer.flush()
    assert desk.broker.committed == {A: 45, B: 7}


async def test_a_written_span_is_committed_to_its_end() -> None:
    """Records and gaps."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    desk.committer.note([span(0, 10, gap=3), span(0, 0, partition=B)])
    await desk.committer.flush()
    assert desk.broker.committed == {A: 13, B: 0}


async def test_only_what_has_moved_is_committed() -> None:
    """An idle partition costs nothing."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    await desk.committer.flush()
    desk.broker.committed.clear()
    desk.committer.note([span(0, 10), span(0, 0, partition=B)])
    await desk.committer.flush()
    await desk.committer.flush()
    assert desk.broker.committed == {A: 10}


async def test_what_is_no_longer_ours_is_forgotten() -> None:
    """Neither committed nor told of."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 0)])
    desk.committer.note([span(0, 10)])
    desk.committer.forget([A])
    assert (await desk.lag()).keys() == {B}
    assert desk.broker.committed == {B: 0}


async def test_the_lag_is_what_the_ledger_is_behind() -> None:
    """In offsets, and by the age of the newest record written, where newer ones wait."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0), Claim(B, 1, 100)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 5000)])
    desk.clock.now = 2.0
    assert await desk.lag() == {A: (90, pytest.approx(7.0)), B: (0, 0.0)}


async def test_before_the_first_write_the_lag_is_the_age_of_what_waits() -> None:
    """A database that is away after a restart is seen in seconds too."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.read(A, NOW_MS - 3000)
    desk.committer.read(A, NOW_MS - 1000)
    desk.committer.read(B, NOW_MS)
    assert await desk.lag() == {A: (100, pytest.approx(3.0))}
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 1000)])
    assert await desk.lag() == {A: (90, pytest.approx(1.0))}


async def test_there_is_no_lag_once_caught_up() -> None:
    """However old the newest record is."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 100, timestamp=0)])
    assert await desk.lag() == {A: (0, 0.0)}


async def test_what_commits_after_it_was_given_away_is_not_told() -> None:
    """A batch that was in flight for longer than a rebalance waits."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.forget([A])
    desk.committer.note([span(0, 10)])
    assert (await desk.lag(), desk.broker.committed) == ({}, {})


async def test_the_lag_grows_while_nothing_is_fetched() -> None:
    """As during an outage of the database: then the brokers are asked."""
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
    """A producer's clock may be ahead, and an end that was fetched earlier may lie behind the ledger."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS + 60_000)])
    assert await desk.lag() == {A: (90, 0.0)}
    desk.committer.note([span(10, 500)])
    assert await desk.lag() == {A: (0, 0.0)}


async def test_a_gap_does_not_make_the_lag_look_younger() -> None:
    """The newest record written is still the one before the gap."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 5000)])
    desk.committer.note([span(10, 0, gap=5)])
    assert await desk.lag() == {A: (85, pytest.approx(5.0))}


async def test_the_newest_record_stays_the_newest() -> None:
    """A later span with older timestamps does not make the lag look older."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=NOW_MS - 1000)])
    desk.committer.note([span(10, 10, timestamp=NOW_MS - 90_000)])
    assert await desk.lag() == {A: (80, pytest.approx(1.0))}


async def test_records_without_a_timestamp_have_no_age() -> None:
    """The offsets are told all the same."""
    desk = Desk()
    desk.committer.begin([Claim(A, 1, 0)])
    desk.committer.note([span(0, 10, timestamp=-1)])
    assert await desk.lag() == {A: (90, 0.0)}


async def test_it_commits_and_tells_once_a_second() -> None:
    """Not at every batch."""
    desk = Desk()
    running = asyncio.create_task(desk.committer.run())
    desk.committer.begin([Claim(A, 1, 0)])
    await passes(10.5)
    running.cancel()
    assert desk.telemetry.count("lag") == 10


async def test_the_lag_goes_up_to_the_high_watermark() -> None:
    """What waits behind an open transaction waits, also where everything that can be read was written."""
    desk = Desk()
    desk.broker.logs[A].held_back = 7
    desk.committer.begin([Claim(A, 1, 100), Claim(B, 1, 100)])
    assert await desk.lag() == {A: (7, 0.0), B: (0, 0.0)}
    assert desk.telemetry.all("held_back") == [(A, 7, 0.0), (B, 0, 0.0)]


async def test_an_open_transaction_is_timed_until_it_is_over() -> None:
    """It is another one once the last stable offset has moved."""
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
