"""Tests the contract of every store: one suite for the fake that the unit tests use, and for PostgreSQL 18
and 15 with a plain and with a partitioned table of dialogues.
"""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from consumer.events.record import Partition
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Bounds, Fenced, Holder
from consumer.ingest.writer import CommitTurn
from consumer.settings.model import DeadLetters
from tests.support.stores import (
    REAL,
    A,
    B,
    Backend,
    F,
    Line,
    P,
    PostgresBackend,
    batch_of,
    claim,
    records,
    said,
    texts,
    write,
)

pytestmark = pytest.mark.timeout(60)

UNREADABLE = StopReason("damaged", "9", 2, 9)
LOST = StopReason("lost records", diverges_at=7)
SOMEBODY = "0190b6f2-7c3e-7a1b-8c4d-5e6f70819203"
# The result of a decision: new books at an offset.
DECIDED = """
    WITH moved AS (
        UPDATE ingest_ledger
        SET start_offset = {0}, next_offset = {0}, dead_lettered = 0, inserted = 0, duplicates = 0,
            stopped_at = NULL, stopped_because = NULL, epoch = epoch + 1, owner = NULL
        WHERE topic = 'dialogues'
    )
    INSERT INTO ledger_decisions (consumer_group, topic, partition, decided_by, from_offset, to_offset, begins_anew,
                                  start_offset, inserted, duplicates, amended, dead_lettered, gaps)
    VALUES ('g', 'dialogues', 0, 'me', 0, {0}, true, 0, 0, 0, 0, 0, 0)
    RETURNING 1
"""


async def test_an_unknown_partition_begins_at_its_first_offset(backend: Backend) -> None:
    """A known one begins at the offset in the ledger. Each claim has a greater epoch than the last."""
    one, two = backend.store("one"), backend.store("two")
    [first] = await claim(one, A, first=7)
    assert (first.partition, first.next_offset) == (A, 7)
    await write(one, batch_of([first], records(A, 7, "a", "b")))
    later = {granted.partition: granted for granted in await claim(two, A, B, first=3)}
    assert (later[A].next_offset, later[B].next_offset) == (9, 3)
    assert later[A].epoch > first.epoch


async def test_the_ledger_keeps_the_first_known_topic_id(backend: Backend) -> None:
    """The id may be unknown at first, and is stored with the next claim. A later id changes nothing."""
    store, first, second = backend.store("one"), UUID(int=1), UUID(int=2)
    for reported, kept in ((None, None), (first, first), (None, first), (second, first)):
        [granted] = await store.claim({A: Bounds(0, 1000, reported)})
        assert granted.topic_id == kept


async def test_the_ledger_keeps_the_leader_epoch_of_the_records_read(backend: Backend) -> None:
    """At the claim, it is the present one; then it is the one of the written batches."""
    store = backend.store("one")
    for reported, kept in ((None, None), (4, 4), (5, 4), (None, 4)):
        [granted] = await store.claim({A: Bounds(0, 1000, leader_epoch=reported)})
        assert granted.leader_epoch == kept
    await write(store, batch_of([replace(granted, leader_epoch=7)], records(A, 0, "a")))
    [granted] = await store.claim({A: Bounds(0, 1000, leader_epoch=8)})
    assert (granted.next_offset, granted.leader_epoch) == (1, 7)


@pytest.mark.parametrize("place", REAL, indirect=True)
async def test_an_epoch_is_forgotten_after_a_version_that_stores_none(backend: PostgresBackend) -> None:
    """That version has read further, perhaps under later leaders; the stored epoch would look like a truncated log."""
    store = backend.store("one")
    claims = await store.claim({A: Bounds(0, 1000, leader_epoch=4)})
    await write(store, batch_of(claims, records(A, 0, "a")))
    backend.query("UPDATE ingest_ledger SET next_offset = 9, gaps = gaps + 8 RETURNING 1")
    for reported, kept in ((6, 6), (7, 6)):
        [granted] = await store.claim({A: Bounds(0, 1000, leader_epoch=reported)})
        assert (granted.next_offset, granted.leader_epoch) == (9, kept)


async def test_a_stop_is_stored_until_a_person_decides(backend: Backend) -> None:
    """The next claim gets its reason. If a replica has another reason later, the first one stays and is returned."""
    store = backend.store("one")
    granted = {one.partition: one for one in await claim(store, A, B)}
    assert granted[A].stop is None
    for reason in (UNREADABLE, UNREADABLE, LOST):
        assert await store.stop(granted[A], 0, reason) == UNREADABLE
    again = {one.partition: one.stop for one in await claim(backend.store("two"), A, B)}
    assert again == {A: UNREADABLE, B: None}
    await backend.confirm(A)
    assert [one.stop for one in await claim(store, A)] == [None]


async def test_a_stop_is_stored_after_earlier_records_are_committed(backend: Backend) -> None:
    """Otherwise a decision behind it would give up records that wait to be written."""
    store = backend.store("one")
    claims = await claim(store, A)
    assert await store.stop(claims[0], 2, UNREADABLE) is None
    assert [one.stop for one in await claim(store, A)] == [None]
    claims = await claim(store, A)
    await write(store, batch_of(claims, records(A, 0, "a", "b")))
    assert await store.stop(claims[0], 2, UNREADABLE) == UNREADABLE
    assert [one.stop for one in await claim(store, A)] == [UNREADABLE]


async def test_a_replica_without_a_valid_claim_cannot_stop_the_partition(backend: Backend) -> None:
    """Its reason may be settled long ago."""
    one = backend.store("one")
    [old] = await claim(one, A)
    await claim(backend.store("two"), A)
    assert await one.stop(old, 0, LOST) is None
    assert [granted.stop for granted in await claim(one, A)] == [None]


async def test_records_from_before_a_stop_can_still_be_written(backend: Backend) -> None:
    """The limit on dead letters, for example, stops the partition while batches are in flight."""
    store = backend.store("one")
    claims = await claim(store, A)
    await store.stop(claims[0], 0, LOST)
    await write(store, batch_of(claims, records(A, 0, "a")))
    assert await backend.ledger() == {A: Line(0, 1, inserted=1)}


async def test_the_claims_of_partitions_are_returned(backend: Backend) -> None:
    """Each has its newest epoch, and whether a replica has claimed it since a decision. Unknown partitions are left
    out.
    """
    one, two = backend.store("one"), backend.store("two")
    await claim(one, A, B)
    [granted] = await claim(two, B)
    assert await one.holders([A, B, P]) == {A: Holder(1, is_free=False), B: Holder(granted.epoch, is_free=False)}
    await backend.confirm(B)
    assert await one.holders([B]) == {B: Holder(granted.epoch + 1, is_free=True)}
    with pytest.raises(Fenced):
        await write(two, batch_of([granted], records(B, 0, "b")))
    await claim(one, B)
    assert not (await two.holders([B]))[B].is_free


async def test_a_batch_becomes_rows_dead_letters_and_ledger_in_one_transaction(backend: Backend) -> None:
    """It may have several partitions and kinds. The result lists everything that was written."""
    store = backend.store("one")
    claims = await claim(store, A, B, P)
    batch = batch_of(claims, records(A, 0, "a", "bad", "c"), records(B, 0, "bad"), records(P, 0, "p", "q"))
    written = await write(store, batch)
    assert {kind.name: len(rows) for kind, rows in written.inserted.items()} == {"dialogue": 2, "provenance": 2}
    assert (len(written.duplicates), len(written.dead_letters), written.batch) == (0, 2, batch)
    assert await texts(backend) == ["a", "c", "p", "q"]
    assert await backend.ledger() == {
        A: Line(0, 3, inserted=2, dead=1),
        B: Line(0, 1, dead=1),
        P: Line(0, 2, inserted=2),
    }
    letters = [
        (letter.partition, letter.offset, letter.value, letter.reason) for letter in await backend.dead_letters()
    ]
    assert sorted(letters) == [(A, 1, b"not JSON", "not_json"), (B, 0, b"not JSON", "not_json")]


async def test_offsets_without_a_record_are_gaps(backend: Backend) -> None:
    """They may be between records, after the last one, or in a batch without records."""
    store = backend.store("one")
    claims = await claim(store, A)
    await write(store, batch_of(claims, records(A, 2, "a"), records(A, 5, "b"), skip_to={A: 10}))
    assert await backend.ledger() == {A: Line(0, 10, inserted=2, gaps=8)}
    moved = [replace(claims[0], next_offset=10)]
    written = await write(store, batch_of(moved, skip_to={A: 12}))
    assert (dict(written.inserted), written.duplicates, written.dead_letters) == ({}, [], [])
    assert await backend.ledger() == {A: Line(0, 12, inserted=2, gaps=10)}


async def test_a_replica_without_a_valid_claim_writes_nothing(backend: Backend) -> None:
    """No row, no dead letter, no offset; the error names the partition. The new owner can write."""
    one, two = backend.store("one"), backend.store("two")
    old = await claim(one, A, B)
    new = await claim(two, A)
    with pytest.raises(Fenced) as fenced:
        await write(one, batch_of(old, records(A, 0, "a", "bad"), records(B, 0, "b")))
    assert fenced.value.partitions == {A}
    assert (await texts(backend), await backend.dead_letters()) == ([], [])
    assert await backend.ledger() == {A: Line(0, 0), B: Line(0, 0)}
    await write(two, batch_of(new, records(A, 0, "a", "bad")))
    assert await texts(backend) == ["a"]


async def test_a_new_claim_ends_the_older_one(backend: Backend) -> None:
    """This holds even for the same owner: a batch that was sealed under the older claim is rolled back."""
    store = backend.store("one")
    old, new = await claim(store, A), await claim(store, A)
    with pytest.raises(Fenced):
        await write(store, batch_of(old, records(A, 0, "a")))
    await write(store, batch_of(new, records(A, 0, "a")))
    assert await backend.ledger() == {A: Line(0, 1, inserted=1)}


async def test_a_batch_that_does_not_begin_at_the_ledger_is_fenced(backend: Backend) -> None:
    """A batch may come twice, or after a hole. No record is duplicated or skipped."""
    store = backend.store("one")
    claims = await claim(store, A)
    batch = batch_of(claims, records(A, 0, "a", "bad"))
    await write(store, batch)
    with pytest.raises(Fenced):
        await write(store, batch)
    with pytest.raises(Fenced):
        await write(store, batch_of([replace(claims[0], next_offset=5)], records(A, 5, "f")))
    assert await backend.ledger() == {A: Line(0, 2, inserted=1, dead=1)}
    assert (await texts(backend), len(await backend.dead_letters())) == (["a"], 1)


async def test_the_first_event_of_an_id_is_stored(backend: Backend) -> None:
    """The other events may come from the same batch, a later one, or another partition: they are duplicates."""
    store = backend.store("one")
    claims = {granted.partition: granted for granted in await claim(store, A, B)}
    first, second = records(A, 0, "a", "b")
    again = first._replace(offset=2, value=(first.value or b"").replace(b'"query": "a"', b'"query": "changed"'))
    written = await write(store, batch_of([claims[A]], [first, second, again]))
    assert [row.record for row in written.duplicates] == [again]
    elsewhere = second._replace(partition=B.partition, offset=0)
    new = records(B, 1, "c")
    written = await write(store, batch_of([claims[B]], [elsewhere, *new]))
    assert [row.record for row in written.duplicates] == [elsewhere]
    assert await texts(backend) == ["a", "b", "c"]
    assert await backend.ledger() == {A: Line(0, 3, inserted=2, duplicates=1), B: Line(0, 2, inserted=1, duplicates=1)}


async def test_a_rejected_row_is_a_dead_letter_and_delays_no_other(backend: Backend) -> None:
    """Two of them are among good rows, a duplicate and a bad record: each gets its own outcome, in one transaction."""
    store = backend.store("one")
    claims = await claim(store, A, P)
    mixed = records(A, 0, "a", "refused", "c", "bad", "e", "refused", "g")
    again = mixed[0]._replace(offset=7)
    written = await write(store, batch_of(claims, [*mixed, again], records(P, 0, "p")))
    assert (len(written.duplicates), len(written.dead_letters)) == (1, 3)
    assert await texts(backend) == ["a", "c", "e", "g", "p"]
    line = Line(0, 8, inserted=4, duplicates=1, dead=3)
    assert await backend.ledger() == {A: line, P: Line(0, 1, inserted=1)}
    letters = {letter.offset: (letter.reason, letter.sqlstate, letter.value) for letter in await backend.dead_letters()}
    assert letters == {
        1: ("refused_by_database", "22003", mixed[1].value),
        3: ("not_json", None, b"not JSON"),
        5: ("refused_by_database", "22003", mixed[5].value),
    }


async def test_a_batch_of_only_rejected_rows_is_written_too(backend: Backend) -> None:
    """The ledger moves; the next batch is written normally."""
    store = backend.store("one")
    claims = await claim(store, A)
    await write(store, batch_of(claims, records(A, 0, *["refused"] * 5)))
    assert await backend.ledger() == {A: Line(0, 5, dead=5)}
    await write(store, batch_of([replace(claims[0], next_offset=5)], records(A, 5, "a")))
    assert await backend.ledger() == {A: Line(0, 6, inserted=1, dead=5)}


async def test_batches_commit_in_turn(backend: Backend) -> None:
    """The later one may be quicker: it waits for the commit of the earlier one, and both are stored."""
    store = backend.store("one")
    claims = await claim(store, A)
    earlier = CommitTurn(None)
    later = CommitTurn(earlier)
    second = batch_of([replace(claims[0], next_offset=2)], records(A, 2, "c"))
    waiting = asyncio.create_task(store.write(second, later))
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    assert await backend.ledger() == {A: Line(0, 0)}
    await write(store, batch_of(claims, records(A, 0, "a", "b")), earlier)
    earlier.over()
    await waiting
    assert await backend.ledger() == {A: Line(0, 3, inserted=3)}


async def test_a_batch_after_a_failed_one_is_fenced(backend: Backend) -> None:
    """It does not begin at the offset in the ledger, so a failed batch takes the later ones with it."""
    store = backend.store("one")
    claims = await claim(store, A)
    earlier = CommitTurn(None)
    second = batch_of([replace(claims[0], next_offset=2)], records(A, 2, "c"))
    waiting = asyncio.create_task(store.write(second, CommitTurn(earlier)))
    earlier.over()
    with pytest.raises(Fenced):
        await waiting
    assert (await backend.ledger(), await texts(backend)) == ({A: Line(0, 0)}, [])


@pytest.mark.parametrize("place", REAL, indirect=True)
async def test_the_days_of_new_rows_are_marked_with_them(backend: PostgresBackend) -> None:
    """The marks are for the roll-up: none for duplicates, none if the batch was fenced. Only a database has days."""
    one = backend.store("one")
    claims = await claim(one, A)
    batch = batch_of(claims, records(A, 0, "a", "b"))
    await write(one, batch)
    days = [str(row["day"]) for row in backend.query("SELECT DISTINCT day FROM touched_days")]
    assert days == ["2023-11-14"]
    backend.query("DELETE FROM touched_days RETURNING 1")
    again = [record._replace(offset=record.offset + 2) for record in records(A, 0, "a", "b")]
    await write(one, batch_of([replace(claims[0], next_offset=2)], again))
    with pytest.raises(Fenced):
        await write(one, batch_of(claims, records(A, 0, "z", seed=2)))
    assert backend.query("SELECT day FROM touched_days") == []


async def test_amendments_are_counted_as_amended(backend: Backend) -> None:
    """They are not rows, whether or not they change something; a bad one is a dead letter."""
    store = backend.store("one")
    claims = await claim(store, A, F)
    verdict = said(F, 0, dialogue_id=SOMEBODY, user_feedback=1, given_at="2026-01-01T00:00:00Z")
    written = await write(store, batch_of(claims, records(A, 0, "a"), [verdict], records(F, 1, "bad")))
    assert {kind.name: len(rows) for kind, rows in written.amended.items() if rows} == {"feedback": 1}
    assert await texts(backend) == ["a"]
    assert await backend.ledger() == {A: Line(0, 1, inserted=1), F: Line(0, 2, amended=1, dead=1)}


@pytest.mark.parametrize("place", REAL, indirect=True)
async def test_too_many_dead_letters_stop_their_partition(backend: PostgresBackend) -> None:
    """The newest offsets count if there are enough of them. The stop is stored with the batch, for the next claim."""
    backend.limits = DeadLetters(max_ratio=0.5, window=10, min_count=4)
    store = backend.store("one")
    claims = await claim(store, A, B)
    position = 0

    async def written(*texts: str) -> dict[Partition, str]:
        nonlocal position
        begin = [replace(claims[0], next_offset=position)]
        found = await write(store, batch_of(begin, records(A, position, *texts)))
        position += len(texts)
        assert all(reason.resume_from == "here" for reason in found.stopped.values())
        return {partition: reason.problem for partition, reason in found.stopped.items()}

    assert await written("bad", "bad", "bad") == {}, "too few records to judge"
    assert await written("a", "b", "c", "d", "e") == {}
    assert await written("bad", "bad") == {}, "5 of 10"
    assert await written("f", "g", "h", "i", "j") == {}, "the oldest records no longer count"
    assert await written("bad", "bad", "k", "bad") == {}, "4 of the newest 10"
    assert await written("bad", "bad") == {}, "5 of the newest 10 is not more than half"
    (problem,) = (await written("bad")).values()
    assert problem.startswith("6 of its newest 10 offsets became dead letters")
    assert "RAGLEDGER_DEAD_LETTERS__MAX_RATIO=0.5" in problem
    assert await written("bad", "l") == {}, "the limit is reported once"
    again = {one.partition: one.stop for one in await claim(backend.store("two"), A, B)}
    assert again == {A: StopReason(problem, "here"), B: None}


@pytest.mark.parametrize("place", ["template18"], indirect=True)
async def test_dead_letters_before_a_decision_do_not_count(backend: PostgresBackend) -> None:
    """Otherwise the partition would stop again at once after a decision to continue or to go back."""
    backend.limits = DeadLetters(max_ratio=0.5, window=1000, min_count=4)
    store = backend.store("one")
    claims = await claim(store, A)
    assert (await write(store, batch_of(claims, records(A, 0, *["bad"] * 8)))).stopped.keys() == {A}
    for to_offset, values in ((8, ("a", "bad", "bad", "bad")), (0, ("bad",) * 8)):
        backend.query(DECIDED.format(to_offset))
        claims = await claim(store, A)
        assert (await write(store, batch_of(claims, records(A, to_offset, *values)))).stopped == {}
    more = batch_of([replace(claims[0], next_offset=8)], records(A, 8, *["bad"] * 30, seed=3))
    assert (await write(store, more)).stopped.keys() == {A}
