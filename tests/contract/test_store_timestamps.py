"""Tests that the id of a record never changes: read first, read again, replayed, in either lane, with any timestamp."""

from __future__ import annotations

import json
import random

import pytest

from consumer.admin.dead_letters import DeadLetters, Filter
from consumer.decode.lanes import decode
from consumer.events.dialogue import DIALOGUE
from consumer.events.record import StoredRecord
from tests.support.ingestion import as_json, small_dialogue
from tests.support.psql import execute
from tests.support.stores import A, PostgresBackend, batch_of, claim, write

pytestmark = pytest.mark.timeout(60)

# None, the epoch, milliseconds, the last time that a datetime can hold, the first that it cannot, microseconds,
# nanoseconds, the largest value; and two neighbours in nanoseconds that distinguish two topics with one name.
TIMESTAMPS = [
    -1,
    0,
    1_767_225_600_123,
    253_402_300_799_999,
    253_402_300_800_000,
    1_767_225_600_123_999,
    1_767_225_600_123_456_789,
    1_767_225_600_123_457_789,
    2**63 - 1,
]
BOTH = pytest.mark.parametrize("place", ["template18", "template15"], indirect=True)


def record(timestamp: int, **changes: object) -> StoredRecord:
    """Return a dialogue without an id; only the exact lane accepts numbers in strings."""
    event = small_dialogue(random.Random(1), created_at="2026-03-04T12:00:00Z", **changes)
    event.pop("id", None)
    return StoredRecord(*A, 5, timestamp, None, as_json(event))


def dead_letters(backend: PostgresBackend) -> DeadLetters:
    """Return the dead letters of the commands."""
    return DeadLetters(backend._database, {A.topic: DIALOGUE}, "UTC", 1 << 20)


@BOTH
@pytest.mark.parametrize("lane", ["fast", "exact"])
@pytest.mark.parametrize("timestamp", TIMESTAMPS)
async def test_a_replay_gives_the_id_of_the_first_reading(backend: PostgresBackend, lane: str, timestamp: int) -> None:
    """Reading it again after that gives a duplicate."""
    read = record(timestamp, **({} if lane == "fast" else {"latency_ms": "12"}))
    execute(backend.dsn, "ALTER TABLE ai_dialogue_log ADD CONSTRAINT own CHECK (model_used = '')")
    store = backend.store("one")
    written = await write(store, batch_of(await claim(store, A, first=5), [read]))
    assert [letter.record for letter in written.dead_letters] == [read]
    execute(backend.dsn, "ALTER TABLE ai_dialogue_log DROP CONSTRAINT own")
    replayed = await dead_letters(backend).replay(Filter())
    assert (replayed.inserted, replayed.failed) == (1, 0)
    assert [row["id"].bytes for row in backend.query("SELECT id FROM ai_dialogue_log")] == [decode(DIALOGUE, read).id]
    execute(backend.dsn, "UPDATE ingest_ledger SET next_offset = 5, dead_lettered = 0")
    again = await write(store, batch_of(await claim(store, A, first=5), [read]))
    assert len(again.duplicates) == 1


@BOTH
async def test_dead_letters_with_any_timestamp_can_be_shown(backend: PostgresBackend) -> None:
    """Clients can read their timestamps, which distinguish equal offsets of two topics with one name."""
    execute(backend.dsn, "ALTER TABLE ai_dialogue_log ADD CONSTRAINT own CHECK (model_used = '')")
    for timestamp in TIMESTAMPS:
        store = backend.store("one")
        execute(backend.dsn, "DELETE FROM ingest_ledger")
        await write(store, batch_of(await claim(store, A, first=5), [record(timestamp)]))
    found = await dead_letters(backend).find(Filter(), settled=True, at_most=100)
    assert len(found) == len({row["record_timestamp"] for row in found}) == len(TIMESTAMPS)
    assert {row["record_timestamp"].year for row in found} == {1969, 1970, 1978, 2026, 2262, 9999}
    kept = {row["ms"] for row in backend.query("SELECT record_timestamp_ms AS ms FROM dead_letters")}
    assert kept == {None, *(timestamp for timestamp in TIMESTAMPS if timestamp > 253_402_300_799_999)}


@BOTH
@pytest.mark.parametrize("timestamp", [-1, *(one for one in TIMESTAMPS if one > 253_402_300_799_999)])
async def test_a_timestamp_that_cannot_replace_created_at_gives_a_dead_letter(
    backend: PostgresBackend, timestamp: int
) -> None:
    """The replica's clock is never used, and a replay gives the same."""
    members = json.loads(record(timestamp).value or b"")
    del members["created_at"]
    store = backend.store("one")
    read = StoredRecord(*A, 5, timestamp, None, as_json(members))
    written = await write(store, batch_of(await claim(store, A, first=5), [read]))
    [letter] = written.dead_letters
    assert letter.rejected.reason.value in ("missing_field", "invalid_field")
    assert (await dead_letters(backend).replay(Filter())).failed == 1
    found = backend.query("SELECT reason FROM dead_letters WHERE replayed_at IS NULL")
    assert found == [{"reason": letter.rejected.reason.value}]
