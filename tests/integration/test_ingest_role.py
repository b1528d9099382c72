"""Tests the service with ragledger_ingest: everything works, with and without COPY, and no right is superfluous."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from pydantic import SecretStr

from consumer.admin import migrate
from consumer.admin.dead_letters import DeadLetters, Filter
from consumer.admin.migrate import expected
from consumer.admin.migrate.roles import GRANTS, INGEST, Grant
from consumer.events.costs import Pricing, Recomputed
from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.ingest import slo
from consumer.ingest.days import BusinessDays
from consumer.ingest.erased import Key
from consumer.ingest.offsets import StopReason
from consumer.ingest.ports import Bounds, Cause, Unavailable
from consumer.ingest.rollup_basis import Basis
from consumer.postgres.amendments import PostgresAmendments
from consumer.postgres.client import Database
from consumer.postgres.costs import PostgresCosts
from consumer.postgres.history import PostgresHistory
from consumer.postgres.queries import load
from consumer.postgres.store import PostgresStore
from consumer.settings.servers import Postgres
from tests.support.fakes import FakeTelemetry
from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    dialogues,
    ids,
    log_lines,
    on_other_database,
    send,
    wait_for_records,
)
from tests.support.otlp import SESSION, USER, chat, span
from tests.support.partitions import converted
from tests.support.prices import BOOK
from tests.support.producers import provenance
from tests.support.psql import execute, rows, server_dsn, value
from tests.support.roles import login, name_of
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics, fresh_database
from tests.support.stores import A, F, G, ImmediateTurn, P, PostgresBackend, V, batch_of, records, said
from tests.support.tracing import World

pytestmark = pytest.mark.timeout(120)

GOOD, DUPLICATES = 60, 7
DAY = "2026-01-31"
RULE = "ALTER TABLE ai_dialogue_log ADD CONSTRAINT rule CHECK (query <> 'refused')"
# Statements of other tests would displace statements that run only once.
STATISTICS = ("CREATE EXTENSION pg_stat_statements", "SELECT pg_stat_statements_reset()")
COPIES = """
SELECT coalesce(sum(calls) FILTER (WHERE query ~ 'COPY "?ai_dialogue_log'), 0)::int AS direct,
       coalesce(sum(calls) FILTER (WHERE query ~ 'COPY "?(split_)?stage_ai_dialogue_log'), 0)::int AS staged
FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class Place(NamedTuple):
    """A database, its owner's DSN, and the settings of a service that is only a member of ragledger_ingest."""

    owner: str
    environment: Environment


@contextmanager
def place_on(server: str, stack: Servers, attributes: str) -> Iterator[Place]:
    """Revoke everything from PUBLIC, so that only the role's own rights work."""
    topics = Topics(stack.bootstrap_servers)
    names = {"dialogue": topics.create(2, prefix="dialogue"), "provenance": topics.create(1, prefix="provenance")}
    with ExitStack() as made:
        made.callback(topics.delete_all)
        owner = made.enter_context(fresh_database(server))
        asyncio.run(migrate.up(owner))
        name = urlsplit(owner).path.removeprefix("/")
        execute(owner, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC", *STATISTICS)
        service = made.enter_context(login(owner, INGEST, attributes=attributes))
        execute(owner, f"GRANT CONNECT ON DATABASE {name} TO {name_of(service)}")
        environment = Environment(service, stack.bootstrap_servers, names, RAGLEDGER_BATCH__MAX_DELAY_MS="50")
        yield Place(owner, environment)


@pytest.fixture(
    params=[
        pytest.param((15, ""), marks=pytest.mark.slow),
        pytest.param((15, "BYPASSRLS"), marks=pytest.mark.slow),
        (18, ""),
        (18, "BYPASSRLS"),
    ],
    ids=str,
)
def place(request: pytest.FixtureRequest, stack: Servers) -> Iterator[Place]:
    """Row-level security applies to the role, or a superuser has exempted it; on either version."""
    version, attributes = request.param
    request.param = version
    with place_on(server_dsn(request), stack, attributes) as made:
        yield made


@pytest.fixture
def newest(request: pytest.FixtureRequest, stack: Servers) -> Iterator[Place]:
    """Row-level security applies to the role, on the newest version."""
    with place_on(stack.dsn, stack, "") as made:
        yield made


def good(environment: Environment) -> list[Outgoing]:
    """Return new records of both kinds."""
    chance, topics = random.Random(1), environment.topics
    pieces = [Outgoing(topics["provenance"], as_json(provenance(chance))) for _ in range(GOOD)]
    return [*dialogues(topics["dialogue"], GOOD, seed=1, created_at=f"{DAY}T12:00:00Z").values(), *pieces]


def duplicates_and_rejected(environment: Environment) -> list[Outgoing]:
    """Return some duplicates, a dialogue that a rule rejects, and one that is not JSON."""
    topic = environment.topics["dialogue"]
    refused = dialogues(topic, 1, seed=2, query="refused", created_at=f"{DAY}T13:00:00Z").values()
    return [*good(environment)[:DUPLICATES], *refused, Outgoing(topic, b"{")]


def test_the_service_works_completely(place: Place, tmp_path: Path) -> None:
    """Rows, duplicates, dead letters, ledger, days, metrics, and every command; COPY only if PostgreSQL allows it."""
    environment, as_owner = place.environment, on_other_database(place.environment, place.owner)
    bootstrap = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
    execute(place.owner, RULE)
    send(bootstrap, good(environment))
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(as_owner, 2 * GOOD)
        send(bootstrap, duplicates_and_rejected(environment))
        wait_for_records(as_owner, 2 * GOOD + DUPLICATES + 2)
        service.wait_ready()
        eventually(lambda: value(place.owner, "SELECT count(*) FROM touched_days") == 0, message="days are computed")
        service.wait_metric_above("rag_day_unique_users", 0)
        service.wait_page("/", 200)
        assert service.stop() == 0
    assert counts(as_owner) == {"inserted": 2 * GOOD, "duplicates": DUPLICATES, "dead": 2}
    assert len(ids(as_owner)) == len(ids(as_owner, "provenance")) == GOOD
    assert total(place) == GOOD
    assert log_lines(tmp_path / "log", "database_unavailable") == []
    copies = rows(place.owner, COPIES)[0]
    bypasses = value(place.owner, f"SELECT rolbypassrls FROM pg_roles WHERE rolname = '{name_of(environment.dsn)}'")
    assert (copies["direct"] > 0) is bypasses
    assert copies["staged"] > 0


def total(place: Place) -> int:
    """Return the number of dialogues of the day."""
    return int(value(place.owner, f"SELECT total_dialogues FROM rag_metrics_history WHERE DATE(date) = '{DAY}'"))


def test_the_commands_work_too(newest: Place, tmp_path: Path) -> None:
    """ledger, dead-letters in all its forms, rollup, and migrate status."""
    environment, as_owner = newest.environment, on_other_database(newest.environment, newest.owner)
    execute(newest.owner, RULE)
    sent = [*good(environment), *duplicates_and_rejected(environment)]
    send(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], sent)
    with ServiceProcess(environment, tmp_path / "log"):
        wait_for_records(as_owner, len(sent))
        environment.assert_caught_up()
    first, second = sorted(letter["id"] for letter in environment.run_json("dead-letters", "list"))
    assert environment.run_json("dead-letters", "show", str(first))["sqlstate"] in ("23514", None)
    execute(newest.owner, "ALTER TABLE ai_dialogue_log DROP CONSTRAINT rule")
    replayed = environment.run_json("dead-letters", "replay")
    assert {name: count for name, count in replayed.items() if count} == {"inserted": 1, "failed": 1}
    assert environment.run("dead-letters", "discard", str(first), str(second)).returncode == 0
    assert environment.run("rollup", "--day", DAY).returncode == 0
    assert total(newest) == GOOD + 1
    assert environment.run("migrate", "status").returncode == 0
    assert environment.run("ledger", "--check").returncode == 0


def test_it_waits_for_its_rights_and_names_the_missing_ones(newest: Place, tmp_path: Path) -> None:
    """Without the role it stores nothing, loses nothing and names the table; with the role it continues."""
    environment, log = newest.environment, tmp_path / "log"
    role = name_of(environment.dsn)
    execute(newest.owner, f"REVOKE {INGEST} FROM {role}", f"GRANT TEMPORARY ON DATABASE {database(newest)} TO {role}")
    wanted = dialogues(environment.topics["dialogue"], GOOD, seed=3)
    send(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], wanted.values())
    with ServiceProcess(environment, log) as service:
        eventually(lambda: log_lines(log, "database_unavailable"), message="the missing right is logged")
        service.wait_page("/readyz", 503)
        execute(newest.owner, f"GRANT {INGEST} TO {role}")
        wait_for_records(on_other_database(environment, newest.owner), GOOD)
        assert service.stop() == 0
    (said,) = log_lines(log, "database_unavailable")
    assert said["cause"] == "privilege"
    assert "permission denied for table schema_migrations (42501)" in said["problem"]
    assert ids(on_other_database(environment, newest.owner)) == wanted.keys()
    assert value(newest.owner, "SELECT count(*) FROM dead_letters") == 0


def database(place: Place) -> str:
    return urlsplit(place.owner).path.removeprefix("/")


def grants_by_hand(role: str) -> list[str]:
    """Grant the rights that were sufficient before policies existed."""
    return [grant.sql(role) for grant in sorted(GRANTS[INGEST])]


def test_a_role_with_grants_but_no_policy_does_not_compute_days(newest: Place) -> None:
    """It would see no dialogue: an existing day stays as it is, and the fix is reported."""
    environment, role = newest.environment, name_of(newest.environment.dsn)
    execute(
        newest.owner,
        "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)"
        f" VALUES (gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm', '{DAY}')",
    )
    assert environment.run("rollup", "--day", DAY).returncode == 0
    assert total(newest) == 1
    execute(newest.owner, f"REVOKE {INGEST} FROM {role}", f"GRANT USAGE ON SCHEMA public TO {role}")
    execute(newest.owner, *grants_by_hand(role))
    refused = environment.run("rollup", "--day", DAY)
    assert refused.returncode == 1
    assert f"GRANT {INGEST} TO {role}" in refused.stderr
    assert total(newest) == 1
    execute(newest.owner, f"CREATE POLICY ours ON ai_dialogue_log FOR SELECT TO {role} USING (true)")
    assert environment.run("rollup", "--day", DAY).returncode == 0
    execute(newest.owner, "CREATE POLICY less ON ai_dialogue_log AS RESTRICTIVE USING (user_id IS NULL)")
    assert environment.run("rollup", "--day", DAY).returncode == 1
    execute(newest.owner, "DROP POLICY less ON ai_dialogue_log", "DROP POLICY ours ON ai_dialogue_log")
    assert total(newest) == 1


# ── no superfluous right ─────────────────────────────────────────────────────────────────────────────────────────────


def single_rights() -> list[Grant]:
    """Return every right of the role, each column by itself."""
    return [
        part
        for grant in sorted(GRANTS[INGEST])
        for part in ([Grant(grant.table, grant.privilege, (name,)) for name in grant.columns] or [grant])
    ]


@pytest.fixture(scope="module")
def rehearsal(stack: Servers, migrated_template: str) -> Iterator[tuple[str, str]]:
    """Return a partitioned database, which needs more rights, and the same for a member of ragledger_ingest."""
    with fresh_database(stack.dsn, migrated_template) as owner, login(owner, INGEST) as service:
        converted(owner)
        yield owner, service


def test_all_rights_together_are_sufficient(rehearsal: tuple[str, str]) -> None:
    """Otherwise the next test would prove nothing."""
    asyncio.run(everything(*rehearsal))


@pytest.mark.parametrize("right", single_rights(), ids=str)
@pytest.mark.slow
def test_every_right_is_needed(rehearsal: tuple[str, str], right: Grant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any single one of them, some statement of the service fails."""
    owner, service = rehearsal
    monkeypatch.setattr(FakeTelemetry, "unavailable", give_up)
    whole = next(
        grant
        for grant in GRANTS[INGEST]
        if (grant.table, grant.privilege) == (right.table, right.privilege) and set(right.columns) <= set(grant.columns)
    )
    execute(owner, right.revoke_sql(INGEST))
    try:
        with pytest.raises(Unavailable, match="42501"):
            asyncio.run(everything(owner, service))
    finally:
        execute(owner, whole.sql(INGEST))


def give_up(_: FakeTelemetry, cause: Cause, message: str) -> None:
    """Raise the error instead of waiting for the right."""
    raise Unavailable(message, cause)


async def everything(owner: str, service: str) -> None:
    """Run all statements of the service and its commands, beginning with empty tables."""
    # Two are left out: one keeps its only row, and a trigger of the dialogues empties the other.
    execute(owner, f"TRUNCATE {', '.join(expected.COLUMNS.keys() - {'erasure_version', 'known_ids'})}")
    database = Database(Postgres(dsn=SecretStr(service)))
    await database.open()
    try:
        await read(owner, database)
        await price(database)
        await compute(database)
        await settle(database)
        await decide(database)
        await fold(owner, database)
        async with database.transaction() as transaction:
            await transaction.fetch(load("schema_version"))
            await transaction.fetch(load("ledger_read"), "g")
    finally:
        await database.close(5)


async def read(owner: str, database: Database) -> None:
    """Claim, write rows, duplicates, bad ones and amendments, claim again, and read the ledger."""
    store = PostgresBackend(owner, database).store("owner")
    assert isinstance(store, PostgresStore)
    bounds = {A: Bounds(0, 100), P: Bounds(0, 100)}
    first = batch_of(await store.claim(bounds), records(A, 0, "a", "b", "bad", "refused"), records(P, 0, "x"))
    await store.write(first, ImmediateTurn())
    known = [record._replace(offset=record.offset + 4) for record in records(A, 0, "a", "b")]
    second = batch_of(await store.claim(bounds), known, records(A, 6, "c"), skip_to={A: 9})
    written = await store.write(second, ImmediateTurn())
    assert (len(written.duplicates), len(written.inserted[DIALOGUE])) == (2, 1)
    assert await store._ledger.is_moved_by(second)
    [claimed] = await store.claim({A: bounds[A]})
    assert await store.stop(claimed, 9, StopReason("because")) == StopReason("because")
    await store.holders([A])
    await store._end_silent_writers()
    await amend(store, str(UUID(bytes=written.inserted[DIALOGUE][0].id)))


async def fold(owner: str, database: Database) -> None:
    """Stage spans, fold them, change the dialogue, give one trace up, empty another, and drop old spans."""
    world, key = World(owner, database), Key(b"k" * 32)
    root = span(UUID(int=5), 1, {"user.id": USER, "session.id": SESSION}, took=1500)
    call = span(UUID(int=5), 2, chat("q", "a") | {"user.id": USER, "session.id": SESSION}, parent=1)
    await world.stage(call)
    await world.stage(root, span(UUID(int=6), 1, chat("q", "a")))
    erased = UUID(int=9)
    world.query("INSERT INTO erased_users (user_hash, key_id) VALUES (%s, %s)", key.hash(erased.bytes), key.id)
    await world.stage(span(UUID(int=7), 1, {"user.id": str(erased)}))
    await world.stage(span(UUID(int=7), 2, chat("q", "a"), parent=1))
    assert ("skipped", "erased_user") in (await world.fold()).outcomes
    await world.stage(span(UUID(int=5), 3, chat("q", "another"), parent=1, start=1200))
    assert (await world.fold()).outcomes == {("updated", ""): 1}
    await world.traces().waiting()
    execute(owner, "UPDATE staged_spans SET staged_at = now() - interval '2 days'")
    await world.traces().drop_some()
    await world.stage(root)
    assert (await world.fold()).outcomes == {("skipped", "late"): 1}


async def amend(store: PostgresStore, dialogue_id: str) -> None:
    """Write feedback on a row, a check of a missing one, and a report of a plugin."""
    time = "2026-01-31T12:00:00Z"
    events = [
        said(F, 0, dialogue_id=dialogue_id, user_feedback=1, given_at=time),
        said(V, 0, provenance_id=dialogue_id, verified_at=time, permission_flag=True),
        said(G, 0, name="wiki", source="s", capabilities={}, version="1", reported_at=time),
    ]
    batch = batch_of(await store.claim({partition: Bounds(0, 10) for partition in (F, V, G)}), events)
    assert sum(map(len, (await store.write(batch, ImmediateTurn())).amended.values())) == 3


async def price(database: Database) -> None:
    """Keep the cost of a dialogue while there is no price file, and settle it when there is one."""
    async with database.transaction() as transaction:
        [row, *_] = await transaction.fetch("SELECT id, created_at FROM ai_dialogue_log")
        note = [["unpriced"], [""], [Decimal(5)], ["JPY"], [None]]
        await transaction.execute(load("costs_keep"), [row["id"]], [row["created_at"]], *note)
    costs = PostgresCosts(database, Pricing(BOOK), BusinessDays("UTC"), "owner")
    await costs.adopt(BOOK)
    assert await costs.recompute() == Recomputed(settled=1, changed=1)
    assert await costs.recompute() == Recomputed()


async def compute(database: Database) -> None:
    """Compute the timer's days, one day by hand, and read the newest."""
    assert await PostgresAmendments(database, BusinessDays("UTC"), 900, print).settle() == ["wiki"]
    history = PostgresHistory(database, Basis("UTC", slo.DEFAULT_OBJECTIVES), "owner", buckets_from=1)
    await history.begin()
    for day in await history.due(0):
        for _ in range(3):  # from the rows, then from buckets, which are made and updated
            assert await history.roll_up_due(day, 0)
    await history.roll_up(date(2026, 1, 31))
    assert await history.newest()


async def settle(database: Database) -> None:
    """List, show, replay and discard dead letters."""
    letters = DeadLetters(database, {"dialogues": DIALOGUE, "pieces": PROVENANCE}, "UTC", 1 << 20)
    found = await letters.find(Filter(), settled=True, at_most=10)
    await letters.show(found[0]["id"])
    assert (await letters.replay(Filter())).failed == len(found) == 2
    assert await letters.discard(Filter()) == 2


async def decide(database: Database) -> None:
    """Continue at the ledger's offset, then with new books, and list both decisions."""
    place = ("g", "dialogues", 0)
    for way in ("decision_skip", "decision_begin_anew"):
        async with database.transaction() as transaction:
            [books] = await transaction.fetch(load("decision_books"), *place)
            to, begins_new_books = books["next_offset"], way == "decision_begin_anew"
            await transaction.execute(load("decision_keep"), *place, "me", None, None, to, begins_new_books, None, 0)
            await transaction.execute(load(way), *place, to, None, 7)
    async with database.transaction() as transaction:
        assert len(await transaction.fetch(load("decisions_list"), "g")) == 2
