"""Tests amendments of two replicas at once, and amendments that the database rejects: no other row is delayed."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from consumer.events.amendments import VERIFICATION
from consumer.events.record import Partition
from consumer.ingest.ports import Bounds
from consumer.postgres import amendments
from consumer.postgres.client import Transaction
from consumer.postgres.queries import load
from tests.contract.test_store_amendments import (
    WHOLE,
    Books,
    Event,
    HeldTurn,
    books,
    check,
    place,
    report,
    verdict,
)
from tests.support.psql import execute
from tests.support.stores import G, ImmediateTurn, batch_of, said

__all__ = ["books", "place"]
pytestmark = pytest.mark.timeout(60)
NEWEST = pytest.mark.parametrize("place", ["template18", "partitioned18"], indirect=True)
ONE = pytest.mark.parametrize("place", ["template18", "template15"], indirect=True)


async def at_once(books: Books, first: Event, second: Event) -> None:
    """Let two replicas write one event each: the first has written and waits for its turn when the second begins."""
    held, stores = HeldTurn(), (books.store("two"), books.store("three"))
    partitions = (Partition(first[0].topic, 7), Partition(second[0].topic, 8))
    claims = [await store.claim({partition: Bounds(0, 9)}) for store, partition in zip(stores, partitions, strict=True)]
    batches = [
        batch_of(claim, [said(partition, 0, **members)])
        for claim, partition, (_, members) in zip(claims, partitions, (first, second), strict=True)
    ]
    writing = asyncio.create_task(stores[0].write(batches[0], held))
    await held.arrived.wait()
    behind = asyncio.create_task(stores[1].write(batches[1], ImmediateTurn()))
    await waiting_for_a_lock(books, behind)
    held.go.set()
    await asyncio.gather(writing, behind)


async def waiting_for_a_lock(books: Books, task: asyncio.Task[Any]) -> None:
    """Wait until a session waits for a lock, or the work is done."""
    asked = "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while not task.done() and not books.query(asked)[0]["n"]:
        await asyncio.wait({task}, timeout=0.02)


# ── plugins ──

OLDER = report("10:00:00", **WHOLE, enabled=False, config={"mine": 1}, health_status="degraded")
NEWER = report("11:00:00", **{**WHOLE, "version": "2"})


@ONE
@pytest.mark.parametrize("is_newer_first", [False, True], ids=["older first", "newer first"])
async def test_two_first_reports_at_once_do_not_undo_each_other(books: Books, is_newer_first: bool) -> None:
    """The result is as if one had come after the other: missing members stay, and an older report changes nothing."""
    await at_once(books, *((NEWER, OLDER) if is_newer_first else (OLDER, NEWER)))
    row = books.row("plugin_registry", name="wiki")
    assert (row["version"], row["reported_at"]) == ("2", datetime(2026, 3, 4, 11))
    stays = (True, None, "unknown") if is_newer_first else (False, {"mine": 1}, "degraded")
    assert (row["enabled"], row["config"], row["health_status"]) == stays


@ONE
async def test_the_later_read_of_two_first_reports_at_one_moment_wins(books: Books) -> None:
    """For each field that it states, the report that is read later counts."""
    await at_once(books, OLDER, report("10:00:00", **{**WHOLE, "version": "2"}))
    row = books.row("plugin_registry", name="wiki")
    assert (row["version"], row["enabled"], row["config"]) == ("2", False, {"mine": 1})


@ONE
async def test_an_older_report_of_the_same_batch_does_not_undo_another_replica(books: Books) -> None:
    """One replica has reports from before and after the report of the other, all of a new plugin."""
    held, one, two = HeldTurn(), books.store("two"), books.store("three")
    first = await one.claim({Partition(G.topic, 7): Bounds(0, 9)})
    second = await two.claim({Partition(G.topic, 8): Bounds(0, 9)})
    middle = report("11:00:00", **WHOLE, enabled=False)[1]
    both = [report("10:00:00", **WHOLE, enabled=True)[1], report("12:00:00", health_status="healthy")[1]]
    writing = asyncio.create_task(one.write(batch_of(first, [said(Partition(G.topic, 7), 0, **middle)]), held))
    await held.arrived.wait()
    records = [said(Partition(G.topic, 8), offset, **members) for offset, members in enumerate(both)]
    behind = asyncio.create_task(two.write(batch_of(second, records), ImmediateTurn()))
    await waiting_for_a_lock(books, behind)
    held.go.set()
    await asyncio.gather(writing, behind)
    row = books.row("plugin_registry", name="wiki")
    assert (row["enabled"], row["health_status"]) == (False, "healthy")


@ONE
async def test_many_plugins_in_opposite_orders_do_not_deadlock(books: Books) -> None:
    """Rows are inserted and locked in the order of their names."""
    names = [f"p{number}" for number in range(20)]

    async def write(owner: str, partition: int, order: list[str]) -> None:
        store, own = books.store(owner), Partition(G.topic, partition)
        for round_ in range(5):
            claims = await store.claim({own: Bounds(0, 999)})
            start = claims[0].next_offset
            events = [{**report(f"10:0{round_}:00", **WHOLE)[1], "name": name} for name in order]
            records = [said(own, start + offset, **members) for offset, members in enumerate(events)]
            await store.write(batch_of(claims, records), ImmediateTurn())

    await asyncio.gather(write("two", 7, names), write("three", 8, names[::-1]))
    assert books.query("SELECT count(*) AS n FROM plugin_registry") == [{"n": len(names)}]
    assert books.telemetry.count("unavailable") == 0


# ── verifications ──


@ONE
@pytest.mark.parametrize("times", [("09:00:00", "10:00:00"), ("10:00:00", "10:00:00")], ids=["older", "same moment"])
async def test_a_settled_check_does_not_undo_one_that_commits_meanwhile(
    books: Books, times: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check arrives and a newer one is about to commit between the timer's choice of rows to lock and its
    changes: the timer leaves rows alone that it has not locked.
    """
    acquired = books.provenance(permission_flag=None)
    id_ = acquired[1]["id"]
    await books.take(acquired, check(id_, "08:00:00", permission_flag=None, license_type="cc0"))
    fetch, newer, later = Transaction.fetch, psycopg.connect(books.dsn), list[asyncio.TimerHandle]()

    async def stepping(self: Any, sql: str, *arguments: Any) -> Any:
        if sql == load("apply_verification"):
            keep = "INSERT INTO kept_verifications (provenance_id, verified_at, permission_flag, license_type"
            execute(books.dsn, f"{keep}) VALUES ('{id_}', '2026-03-04 {times[0]}', true, 'mit')")
            newer.execute("SELECT FROM provenance WHERE id = %s FOR UPDATE", [id_])
            newer.execute(f"{keep}, applied_at) VALUES (%s, %s, false, NULL, now())", [id_, f"2026-03-04 {times[1]}.5"])
            newer.execute("UPDATE provenance SET permission_flag = false WHERE id = %s", [id_])
            later.append(asyncio.get_running_loop().call_later(0.5, newer.commit))
        return await fetch(self, sql, *arguments)

    monkeypatch.setattr(Transaction, "fetch", stepping)
    applying = amendments._OF_AMENDMENT[VERIFICATION]
    async with books._database.transaction() as transaction:
        await amendments._apply(transaction, applying, [UUID(id_)])
    monkeypatch.undo()
    later[0].cancel()
    newer.commit()
    newer.close()
    await books.amendments.settle()
    row = books.row("provenance", id=id_)
    assert (row["permission_flag"], row["license_type"]) == (False, "mit")


# ── rejected when applied ──

LATE = (
    "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.{condition} THEN {does}; END IF;"
    " RETURN NEW; END $$",
    "CREATE {constraint} TRIGGER late {when} UPDATE ON {table} {deferred} FOR EACH ROW EXECUTE FUNCTION late()",
)
REJECTING: dict[str, tuple[str, str, str]] = {
    "raised": ("BEFORE", "RAISE EXCEPTION USING ERRCODE = 'RL001'", "RL001"),
    "skipped": ("BEFORE", "RETURN NULL", "02000"),
    "deferred": ("AFTER", "RAISE EXCEPTION USING ERRCODE = 'RL001'", "RL001"),
}
EACH = pytest.mark.parametrize("case", REJECTING)


def reject_when_applied(
    books: Books, case: str, table: str = "ai_dialogue_log", condition: str = "user_feedback = -1"
) -> str:
    """Let the owner reject changes. Return the SQLSTATE."""
    when, does, sqlstate = REJECTING[case]
    is_deferred = case == "deferred"
    names = {
        "table": table,
        "condition": condition,
        "when": when,
        "does": does,
        "constraint": "CONSTRAINT" if is_deferred else "",
        "deferred": "INITIALLY DEFERRED" if is_deferred else "",
    }
    for statement in LATE:
        for name, value in names.items():
            statement = statement.replace(f"{{{name}}}", value)
        execute(books.dsn, statement)
    return sqlstate


@NEWEST
@EACH
async def test_feedback_that_its_dialogue_rejects_is_a_dead_letter(books: Books, case: str) -> None:
    """This works while its record is in the batch; the others are written."""
    sqlstate = reject_when_applied(books, case)
    one, two = books.dialogue(), books.dialogue()
    await books.take(one, two)
    written = await books.take(verdict(one[1]["id"], -1, "12:00:00"), verdict(two[1]["id"], 1, "12:00:00"))
    assert [letter.sqlstate for letter in await books.dead_letters()] == [sqlstate]
    assert [len(rows) for rows in written.amended.values()] == [1]
    assert books.row("ai_dialogue_log", id=two[1]["id"])["user_feedback"] == 1
    assert books.query("SELECT dialogue_id::text AS id FROM kept_feedback") == [{"id": two[1]["id"]}]


@NEWEST
@EACH
async def test_waiting_feedback_that_is_rejected_is_set_aside(books: Books, case: str) -> None:
    """Its dialogue is stored, and so are those around it; newer feedback is tried again."""
    sqlstate = reject_when_applied(books, case)
    one, two = books.dialogue(), books.dialogue()
    await books.take(verdict(one[1]["id"], -1, "12:00:00"), verdict(two[1]["id"], 1, "12:00:00"))
    written = await books.take(one, two)
    assert [len(rows) for rows in written.inserted.values()] == [2]
    assert await books.dead_letters() == []
    kept = {str(row["dialogue_id"]): row["sqlstate"] for row in books.query("SELECT * FROM kept_feedback")}
    assert kept == {one[1]["id"]: sqlstate, two[1]["id"]: None}
    assert books.row("ai_dialogue_log", id=two[1]["id"])["user_feedback"] == 1
    assert books.telemetry.all("set_aside") == [("kept_feedback", sqlstate)]
    assert (await books.amendments.settle(), books.set_aside) == ([], [])
    await books.take(verdict(one[1]["id"], 1, "13:00:00"))
    assert books.row("ai_dialogue_log", id=one[1]["id"])["user_feedback"] == 1
    assert books.row("kept_feedback", dialogue_id=one[1]["id"])["sqlstate"] is None


@ONE
@EACH
async def test_a_waiting_check_that_is_rejected_is_set_aside(books: Books, case: str) -> None:
    """It no longer counts, so that an older one can still apply."""
    sqlstate = reject_when_applied(books, case, "provenance", "license_type = 'mit'")
    one, two = books.provenance(), books.provenance()
    await books.take(*(check(piece[1]["id"], "12:00:00", license_type="mit") for piece in (one, two)))
    await books.take(check(two[1]["id"], "13:00:00", license_type="cc0"))
    await books.take(one, two)
    assert books.telemetry.all("set_aside") == [("kept_verifications", sqlstate)]
    assert books.row("provenance", id=two[1]["id"])["license_type"] == "cc0"
    await books.take(check(one[1]["id"], "11:00:00", license_type="cc0"))
    assert books.row("provenance", id=one[1]["id"])["license_type"] == "cc0"


# ── the timer ──

CROSSED = """
INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at)
SELECT id, CASE WHEN n % 5 = 0 THEN -1 ELSE 1 END, '2026-03-04 12:00'
FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM ai_dialogue_log) AS dialogue
"""
NEVER = """
INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at)
SELECT gen_random_uuid(), 1, '2026-03-04 12:00' FROM generate_series(1, 200)
"""


@NEWEST
async def test_a_rejected_amendment_does_not_delay_the_others_of_the_timer(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are applied in pages, and their days marked."""
    monkeypatch.setattr(amendments, "SETTLED_AT_ONCE", 7)
    sqlstate = reject_when_applied(books, "raised")
    await books.take(*(books.dialogue() for _ in range(25)))
    books.touched()
    execute(books.dsn, CROSSED, NEVER)
    await books.amendments.settle()
    assert books.set_aside == [("kept_feedback", sqlstate)] * 5
    assert books.query("SELECT count(*) AS n FROM ai_dialogue_log WHERE user_feedback = 1") == [{"n": 20}]
    assert books.touched() == ["2026-03-04"]
    assert books.query("SELECT count(*) AS n FROM kept_feedback WHERE applied_at IS NULL") == [{"n": 200}]


@ONE
async def test_amendments_without_time_in_one_run_are_applied_in_the_next(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for any number of amendments whose rows never come."""
    monkeypatch.setattr(amendments, "SETTLED_AT_ONCE", 50)
    monkeypatch.setattr(amendments, "SETTLE_SECONDS", 0.0)
    await books.take(*(books.dialogue() for _ in range(5)))
    execute(books.dsn, NEVER, CROSSED.replace("-1", "1"))
    for _ in range(5):
        await books.amendments.settle()
    assert books.query("SELECT count(*) AS n FROM kept_feedback WHERE applied_at IS NULL") == [{"n": 200}]
