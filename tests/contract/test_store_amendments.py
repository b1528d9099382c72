"""Tests amendments on the real tables: in any order, rows have the same final state."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from itertools import count
from typing import Any

import pytest
from pydantic import SecretStr

from consumer.events.amendments import FEEDBACK
from consumer.events.record import Partition, StoredRecord
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Bounds, Store, Written
from consumer.postgres.amendments import PostgresAmendments
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.producers import dialogue, provenance
from tests.support.stores import (
    REAL,
    A,
    F,
    G,
    ImmediateTurn,
    P,
    PostgresBackend,
    V,
    batch_of,
    fresh_copy,
    place_of,
    said,
)

pytestmark = pytest.mark.timeout(60)

DAY = "2026-03-04T"

Event = tuple[Partition, dict[str, Any]]


class Books(PostgresBackend):
    """The store of one replica, and its results."""

    def __init__(self, dsn: str, database: Database) -> None:
        super().__init__(dsn, database)
        self.chance = random.Random(5)
        self.set_aside: list[tuple[str, str]] = []
        self.amendments = PostgresAmendments(
            database, BusinessDays("UTC"), 600, lambda *said: self.set_aside.append(said)
        )
        self._writer, self._offsets = self.store("one"), count()
        self.claims = 0

    async def take(self, *events: tuple[Partition, dict[str, Any]]) -> Written:
        """Write events as one batch."""
        records = [said(partition, next(self._offsets), **members) for partition, members in events]
        return await write(self._writer, records)

    def dialogue(self, **changes: Any) -> tuple[Partition, dict[str, Any]]:
        members = dialogue(self.chance, user_feedback=None, created_at=f"{DAY}12:00:00Z")
        return A, members | changes

    def provenance(self, **changes: Any) -> tuple[Partition, dict[str, Any]]:
        return P, provenance(self.chance, license_type="unknown") | changes

    def row(self, table: str, **wanted: str) -> dict[str, Any]:
        """Return the only row with this value."""
        [(column, value)] = wanted.items()
        (found,) = self.query(f"SELECT * FROM {table} WHERE {column} = '{value}'")
        return found

    def touched(self) -> list[str]:
        """Return the marked days, and remove the marks."""
        return sorted({str(row["day"]) for row in self.query("DELETE FROM touched_days RETURNING day")})


async def write(store: Store, records: Sequence[StoredRecord]) -> Written:
    """Claim the records' partitions, and write the records in one batch."""
    partitions = {Partition(record.topic, record.partition): record.offset for record in reversed(records)}
    claims = await store.claim({partition: Bounds(0, 10**6) for partition in partitions})
    return await store.write(batch_of(claims, records), ImmediateTurn())


@pytest.fixture(params=REAL)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the place of a migrated database."""
    return place_of(request)


@pytest.fixture
async def books(place: tuple[str, str]) -> AsyncIterator[Books]:
    """Return a migrated database for this test."""
    with fresh_copy(place) as dsn:
        database = Database(Postgres(dsn=SecretStr(dsn)))
        await database.open()
        yield Books(dsn, database)
        await database.close(5)


def verdict(dialogue_id: str, value: int, time: str) -> tuple[Partition, dict[str, Any]]:
    """Return a feedback event."""
    return F, {"dialogue_id": dialogue_id, "user_feedback": value, "given_at": f"{DAY}{time}Z"}


def check(provenance_id: str, time: str, **members: Any) -> tuple[Partition, dict[str, Any]]:
    """Return a verification event."""
    return V, {"provenance_id": provenance_id, "verified_at": f"{DAY}{time}Z", **members}


def report(time: str, **members: Any) -> tuple[Partition, dict[str, Any]]:
    """Return a plugin event."""
    return G, {"name": "wiki", "reported_at": f"{DAY}{time}Z", **members}


WHOLE = {"source": "https://wiki.example", "capabilities": {"search": True}, "version": "1"}


# ── feedback ──


async def test_feedback_changes_its_dialogue_and_marks_its_day(books: Books) -> None:
    """The day is that of the dialogue, not that of the feedback."""
    answered = books.dialogue(created_at="2026-01-31T23:00:00Z")
    await books.take(answered)
    assert books.touched() == ["2026-01-31"]
    written = await books.take(verdict(answered[1]["id"], -1, "12:00:00"))
    assert [len(rows) for rows in written.amended.values()] == [1]
    assert books.row("ai_dialogue_log", id=answered[1]["id"])["user_feedback"] == -1
    assert books.touched() == ["2026-01-31"]


async def test_feedback_that_is_read_again_counts_once(books: Books) -> None:
    """It is amended again, but not counted again; neither is older feedback."""
    first, other = books.dialogue(), books.dialogue()
    verdicts = [
        verdict(first[1]["id"], -1, "12:00:00"),
        verdict(first[1]["id"], 1, "13:00:00"),
        verdict(other[1]["id"], 0, "12:00:00"),
        verdict(other[1]["id"], 1, "12:00:00"),
    ]
    written = await books.take(first, *verdicts)
    assert sorted(row.facts for row in written.news[FEEDBACK]) == [(-1,), (1,), (1,)]
    again = await books.take(*verdicts, verdict(first[1]["id"], 0, "11:00:00"), verdict(first[1]["id"], 0, "14:00:00"))
    assert (len(again.amended[FEEDBACK]), [row.facts for row in again.news[FEEDBACK]]) == (6, [(0,)])


async def test_feedback_waits_for_its_dialogue(books: Books) -> None:
    """It has priority over the value in the dialogue's own event."""
    answered = books.dialogue(user_feedback=0)
    await books.take(verdict(answered[1]["id"], 1, "12:00:00"))
    assert books.touched() == []
    await books.take(answered)
    assert books.row("ai_dialogue_log", id=answered[1]["id"])["user_feedback"] == 1
    assert books.row("kept_feedback", dialogue_id=answered[1]["id"])["applied_at"] is not None


async def test_feedback_in_the_batch_of_its_dialogue(books: Books) -> None:
    """The partitions may have any order."""
    one, other = books.dialogue(), books.dialogue()
    await books.take(verdict(one[1]["id"], 1, "12:00:00"), one, other, verdict(other[1]["id"], -1, "12:00:00"))
    found = {str(row["id"]): row["user_feedback"] for row in books.query("SELECT * FROM ai_dialogue_log")}
    assert found == {one[1]["id"]: 1, other[1]["id"]: -1}


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "a batch each"])
async def test_the_newest_of_several_feedback_events_counts(books: Books, apart: bool) -> None:
    """They may come in any order. If two have the same time, the one that is read later counts."""
    answered = books.dialogue()
    id_ = answered[1]["id"]
    verdicts = [verdict(id_, 1, "12:00:02"), verdict(id_, -1, "12:00:01"), verdict(id_, 0, "12:00:02")]
    await books.take(answered)
    for some in [[one] for one in verdicts] if apart else [verdicts]:
        await books.take(*some)
    assert books.row("ai_dialogue_log", id=id_)["user_feedback"] == 0


async def test_feedback_of_a_duplicate_is_not_applied_again(books: Books) -> None:
    """A dialogue that is read again is a duplicate, and keeps its feedback."""
    answered = books.dialogue(user_feedback=0)
    await books.take(answered, verdict(answered[1]["id"], 1, "12:00:00"))
    written = await books.take(answered)
    assert len(written.duplicates) == 1
    assert books.row("ai_dialogue_log", id=answered[1]["id"])["user_feedback"] == 1


async def test_an_amendment_that_crossed_its_row_is_applied_by_the_timer(books: Books) -> None:
    """A dialogue and its feedback are written at once by two replicas that do not see each other."""
    answered = books.dialogue()
    one, two, held = books.store("two"), books.store("three"), HeldTurn()
    record, verdict_record = said(A, 0, **answered[1]), said(F, 0, **verdict(answered[1]["id"], 1, "12:00:00")[1])
    claims = [*await one.claim({A: Bounds(0, 9)}), *await two.claim({F: Bounds(0, 9)})]
    inserting = asyncio.create_task(one.write(batch_of(claims[:1], [record]), held))
    await held.arrived.wait()
    await two.write(batch_of(claims[1:], [verdict_record]), ImmediateTurn())
    held.go.set()
    await inserting
    assert books.row("ai_dialogue_log", id=answered[1]["id"])["user_feedback"] is None
    books.touched()
    assert await books.amendments.settle() == []
    assert books.row("ai_dialogue_log", id=answered[1]["id"])["user_feedback"] == 1
    assert books.touched() == ["2026-03-04"]
    assert await books.amendments.settle() == []
    assert books.touched() == []


class HeldTurn:
    """A turn that comes when the test lets it: until then rows are written, but not committed."""

    def __init__(self) -> None:
        self.arrived, self.go = asyncio.Event(), asyncio.Event()

    async def wait_turn(self) -> None:
        self.arrived.set()
        await self.go.wait()


async def write_while_it_commits(books: Books, newer: Event, older: Event) -> None:
    """Let one replica write the newer of two events, and another one the older, from another partition, just
    before the first commits.
    """
    partition, members = older
    held, elsewhere = HeldTurn(), Partition(partition.topic, 1)
    first, second = books.store("two"), books.store("three")
    records = [said(newer[0], next(books._offsets), **newer[1]), said(elsewhere, 0, **members)]
    claims = [
        await store.claim({Partition(one.topic, one.partition): Bounds(one.offset, 10**6)})
        for store, one in zip((first, second), records, strict=True)
    ]
    writing = asyncio.create_task(first.write(batch_of(claims[0], records[:1]), held))
    await held.arrived.wait()
    behind = asyncio.create_task(second.write(batch_of(claims[1], records[1:]), ImmediateTurn()))
    await asyncio.wait({behind}, timeout=0.5)
    held.go.set()
    await asyncio.gather(writing, behind)


# ── verifications ──


@pytest.mark.parametrize("is_first", [True, False], ids=["first checks", "later ones"])
async def test_an_older_check_does_not_undo_one_that_is_committing(books: Books, is_first: bool) -> None:
    """Two partitions may hold checks of one piece of provenance, and two replicas read them."""
    acquired = books.provenance(permission_flag=None, external_share_consent=None)
    id_ = acquired[1]["id"]
    await books.take(acquired, *([] if is_first else [check(id_, "08:00:00", license_type="cc0")]))
    newer = check(id_, "10:00:00", permission_flag=False)
    await write_while_it_commits(books, newer, check(id_, "09:00:00", permission_flag=True))
    await books.take(check(id_, "09:30:00", external_share_consent=False))
    row = books.row("provenance", id=id_)
    assert (row["permission_flag"], row["external_share_consent"]) == (False, False)
    assert row["last_verified_at"] == datetime(2026, 3, 4, 10)


async def test_a_check_changes_only_the_fields_it_states(books: Books) -> None:
    """It also sets the time of the last check."""
    acquired = books.provenance(permission_flag=True, external_share_consent=None)
    await books.take(acquired, check(acquired[1]["id"], "10:00:00", license_type="CC-BY-4.0"))
    row = books.row("provenance", id=acquired[1]["id"])
    assert (row["license_type"], row["permission_flag"], row["external_share_consent"]) == ("cc_by", True, None)
    assert row["last_verified_at"] == datetime(2026, 3, 4, 10)


@pytest.mark.parametrize("seed", range(4))
async def test_checks_in_any_order_have_the_same_result(books: Books, seed: int) -> None:
    """For each field the newest check that states it counts, even if the provenance comes in the middle or last."""
    acquired = books.provenance()
    id_ = acquired[1]["id"]
    events = [
        acquired,
        check(id_, "10:00:00", permission_flag=True, license_type="MIT"),
        check(id_, "11:00:00", external_share_consent=True),
        check(id_, "12:00:00", permission_flag=False),
        check(id_, "09:00:00", permission_flag=True, external_share_consent=False, license_type="cc0"),
    ]
    random.Random(seed).shuffle(events)
    for event in events:
        await books.take(event)
    row = books.row("provenance", id=id_)
    stated = row["license_type"], row["permission_flag"], row["external_share_consent"], row["last_verified_at"]
    assert stated == ("mit", False, True, datetime(2026, 3, 4, 12))


async def test_an_older_check_does_not_undo_the_values_of_the_row(books: Books) -> None:
    """The row's own last_verified_at counts; a check may fill in missing values."""
    acquired = books.provenance(last_verified_at=f"{DAY}12:00:00Z", permission_flag=False, license_type="mit")
    older = check(acquired[1]["id"], "11:00:00", permission_flag=True, license_type="cc0", external_share_consent=True)
    await books.take(acquired, older)
    row = books.row("provenance", id=acquired[1]["id"])
    assert (row["license_type"], row["permission_flag"], row["external_share_consent"]) == ("mit", False, True)
    assert row["last_verified_at"] == datetime(2026, 3, 4, 12)


async def test_a_field_that_a_person_has_corrected_is_kept(books: Books) -> None:
    """It is kept until a check states this field."""
    acquired = books.provenance()
    await books.take(acquired, check(acquired[1]["id"], "10:00:00", permission_flag=True))
    books.query(f"UPDATE provenance SET license_type = 'cc0' WHERE id = '{acquired[1]['id']}' RETURNING id")
    await books.take(check(acquired[1]["id"], "11:00:00", external_share_consent=True))
    assert books.row("provenance", id=acquired[1]["id"])["license_type"] == "cc0"
    await books.take(check(acquired[1]["id"], "12:00:00", license_type="MIT"))
    assert books.row("provenance", id=acquired[1]["id"])["license_type"] == "mit"


# ── plugins ──


async def test_a_plugin_announces_itself_and_reports(books: Books) -> None:
    """Members that a report leaves out stay."""
    await books.take(report("10:00:00", **WHOLE, config={"timeout_s": 5, "mine": 1}))
    row = books.row("plugin_registry", name="wiki")
    assert (row["enabled"], row["health_status"], row["last_health_check"]) == (True, "unknown", None)
    await books.take(report("10:05:00", health_status="healthy"))
    row = books.row("plugin_registry", name="wiki")
    assert (row["version"], row["config"], row["health_status"]) == ("1", {"timeout_s": 5, "mine": 1}, "healthy")
    assert row["last_health_check"] == row["reported_at"] == datetime(2026, 3, 4, 10, 5)


@pytest.mark.parametrize("apart", [False, True], ids=["one batch", "a batch each"])
async def test_the_newest_report_wins(books: Books, apart: bool) -> None:
    """The reports may come in any order."""
    reports = [
        report("10:00:00", **WHOLE, enabled=True),
        report("12:00:00", version="3", enabled=False),
        report("11:00:00", version="2", enabled=True),
        report("12:00:00", version="4"),
    ]
    for some in [[one] for one in reports] if apart else [reports]:
        await books.take(*some)
    row = books.row("plugin_registry", name="wiki")
    assert (row["version"], row["enabled"], row["reported_at"]) == ("4", False, datetime(2026, 3, 4, 12))


async def test_members_that_a_report_leaves_out_stay_as_another_replica_commits_them(books: Books) -> None:
    """Two partitions may hold reports of one plugin."""
    await books.take(report("10:00:00", **WHOLE))
    await write_while_it_commits(books, report("11:00:00", version="2"), report("12:00:00", health_status="healthy"))
    row = books.row("plugin_registry", name="wiki")
    assert (row["version"], row["health_status"], row["reported_at"]) == ("2", "healthy", datetime(2026, 3, 4, 12))


async def test_a_report_of_an_unknown_plugin_has_to_describe_it(books: Books) -> None:
    """Otherwise it is a dead letter, and those around it are accepted."""
    written = await books.take(
        report("10:00:00", health_status="healthy"), (G, {**report("10:00:00", **WHOLE)[1], "name": "press"})
    )
    [letter] = written.dead_letters
    assert letter.rejected.sqlstate == "23502"
    assert [row["name"] for row in books.query("SELECT name FROM plugin_registry")] == ["press"]


async def test_a_silent_plugin_becomes_unhealthy_until_it_reports(books: Books) -> None:
    """The plugin must be enabled. It is reported once."""
    await books.take(
        report("10:00:00", **WHOLE, health_status="healthy"),
        (G, {**report("10:00:00", **WHOLE, enabled=False, health_status="healthy")[1], "name": "off"}),
        (G, {**WHOLE, "name": "fresh", "reported_at": "2999-01-01T00:00:00Z", "health_status": "healthy"}),
    )
    assert list(await books.amendments.settle()) == ["wiki"]
    assert list(await books.amendments.settle()) == []
    found = {
        row["name"]: row["health_status"] for row in books.query("SELECT name, health_status FROM plugin_registry")
    }
    assert found == {"wiki": "unhealthy", "off": "healthy", "fresh": "healthy"}
    await books.take(report("10:00:01", health_status="degraded"))
    assert books.row("plugin_registry", name="wiki")["health_status"] == "degraded"


VALID = [
    '{"endpoint": "x", "timeout_s": 0.5, "languages": [], "options": {}, "auth": {"type": "none"}}',
    '{"auth": null, "endpoint": null, "languages": ["a", "b"]}',
    '{"mine": [1]}',
    "{}",
]
INVALID = [
    "[]",
    '"x"',
    '{"endpoint": 1}',
    '{"timeout_s": 0}',
    '{"timeout_s": "5"}',
    '{"poll_interval_s": -1}',
    '{"languages": "x"}',
    '{"languages": ["a", 1]}',
    '{"languages": [["a"]]}',
    '{"auth": {}}',
    '{"auth": "basic"}',
    '{"auth": {"type": "magic"}}',
    '{"auth": {"type": "basic", "secret_ref": 1}}',
    '{"options": []}',
]


async def test_the_database_enforces_the_same_rules_for_a_config(books: Books) -> None:
    """They apply to every writer."""
    asked = ", ".join(f"plugin_config_is_valid('{config}') AS c{n}" for n, config in enumerate([*VALID, *INVALID]))
    (found,) = books.query(f"SELECT {asked}")
    assert list(found.values()) == [True] * len(VALID) + [False] * len(INVALID)
