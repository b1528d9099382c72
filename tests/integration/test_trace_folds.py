"""Tests folding traces in a real database: late spans, rejected rows, erased users, closed traces."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from uuid import UUID

import psycopg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import SecretStr

from consumer.admin.dead_letters import Filter
from consumer.admin.migrate.roles import INGEST
from consumer.ingest.erased import Key
from consumer.ingest.ports import Unavailable
from consumer.maintenance.table_partitions import convert
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.otlp import SESSION, USER, chat, span, traced
from tests.support.roles import login
from tests.support.tracing import World

pytestmark = pytest.mark.timeout(120)

QUESTION, ANSWER = "what is it?", "it is this"
ROOT = {"user.id": USER, "session.id": SESSION}


@pytest.fixture(params=["one table", "partitions", "the service's role"])
async def world(request: pytest.FixtureRequest, database: str) -> AsyncIterator[World]:
    """Return a world with one table or with monthly partitions, and with the owner's or the service's rights."""
    with ExitStack() as ended:
        dsn = database
        if request.param != "one table":
            await convert(database, months_ahead=1)
        if request.param == "the service's role":
            dsn = ended.enter_context(login(database, INGEST))
        client = Database(Postgres(dsn=SecretStr(dsn)))
        await client.open()
        try:
            yield World(database, client)
        finally:
            await client.close(5)


def trigger(table: str, key: str, does: str, when: str = "INSERT") -> Sequence[str]:
    """A trigger of the owner's that acts on the row of trace 6."""
    body = f"IF NEW.{key} = '{UUID(int=6)}' THEN {does}; END IF; RETURN NEW;"
    return (
        f"CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$",
        f"CREATE TRIGGER own BEFORE {when} ON {table} FOR EACH ROW EXECUTE FUNCTION own()",
    )


def one_trace(seed: int) -> tuple[UUID, Sequence[Span]]:
    """Return a trace of four spans, the root first."""
    return traced(random.Random(seed))


@pytest.mark.parametrize("seed", range(4))
async def test_spans_in_any_order_give_the_same_dialogue(world: World, seed: int) -> None:
    """Spans arrive one by one and some twice, and the trace is folded after each: the dialogue equals that of all spans
    at once.
    """
    chance = random.Random(seed)
    trace, spans = one_trace(seed)
    await world.stage(*one_trace(99)[1])
    await world.stage(*spans)
    await world.fold()
    (wanted,) = [row for row in world.dialogues() if row["id"] == trace]
    assert len(world.dialogues()) == 2
    for table in ("ai_dialogue_log", "staged_spans", "dialogue_traces"):
        world.query(f"DELETE FROM {table}")
    order = [*spans, *chance.sample(list(spans), 2)]
    chance.shuffle(order)
    for one in order:
        await world.stage(one)
        await world.fold()
    (found,) = world.dialogues()
    changing = {"updated_at", "ingested_at"}
    assert {name: found[name] for name in found.keys() - changing} == {
        name: wanted[name] for name in wanted.keys() - changing
    }
    assert not any(letter["open"] for letter in world.letters())
    assert world.query("SELECT count(*) AS n FROM touched_traces") == [{"n": 0}]


async def test_a_late_span_changes_the_dialogue_and_its_days(world: World) -> None:
    """The day may even change to another month. Both days are computed again, and the user's feedback is kept."""
    trace = UUID(int=5)
    answer = span(trace, 2, chat(QUESTION, ANSWER) | ROOT, parent=1)
    await world.stage(answer)
    folded = await world.fold()
    assert folded.outcomes == {("inserted", ""): 1}
    world.query("UPDATE ai_dialogue_log SET user_feedback = 1")
    world.query("DELETE FROM touched_days")
    root = span(trace, 1, {"ragledger.created_at": "2026-10-31T23:59:59Z"}, took=1500)
    await world.stage(root)
    folded = await world.fold()
    assert folded.outcomes == {("updated", ""): 1}
    assert not folded.inserted
    (row,) = world.dialogues()
    assert row["created_at"].isoformat() == "2026-10-31T23:59:59"
    assert (row["latency_ms"], row["user_feedback"]) == (1500, 1)
    days = world.query("SELECT DISTINCT day::text FROM touched_days ORDER BY day")
    assert [day["day"] for day in days] == ["2026-10-31", "2026-11-30"]
    await world.stage(span(trace, 3, {"http.route": "/late"}, parent=1))
    assert (await world.fold()).outcomes == {("updated", ""): 1}  # one span more
    await world.stage(root)
    assert (await world.fold()).outcomes == {}


async def test_a_span_that_was_staged_under_another_id_counts_once(world: World) -> None:
    """An earlier version derived other ids. A record that is read again after the update changes nothing."""
    _, spans = one_trace(1)
    await world.stage(*spans)
    assert (await world.fold()).outcomes == {("inserted", ""): 1}
    before = world.dialogues()
    world.query("UPDATE staged_spans SET id = gen_random_uuid()")
    await world.stage(*spans)
    assert (await world.fold()).outcomes == {("unchanged", ""): 1}
    assert world.query("SELECT count(*) AS n FROM staged_spans") == [{"n": 8}]
    assert world.query("SELECT spans FROM dialogue_traces") == [{"spans": 4}]
    assert world.dialogues() == before


async def test_a_late_span_that_states_the_cost_settles_it_for_good(world: World) -> None:
    """The cost was computed. After a span states it, other prices do not change it."""
    trace = UUID(int=6)
    answer = chat(QUESTION, ANSWER) | ROOT | {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}
    await world.stage(span(trace, 1, answer))
    await world.fold()
    world.query("INSERT INTO dialogue_costs SELECT id, created_at, 'computed', 'v1' FROM ai_dialogue_log")
    await world.stage(span(trace, 2, {"ragledger.token_cost_jpy": "5"}, parent=1))
    assert (await world.fold()).outcomes == {("updated", ""): 1}
    (row,) = world.dialogues()
    assert str(row["token_cost_jpy"]) == "5.00"
    assert [cost["source"] for cost in world.query("SELECT source FROM dialogue_costs")] == ["stated"]


async def test_a_late_span_without_prices_leaves_the_cost_to_be_settled(world: World) -> None:
    """A replica without prices cannot compute it. A replica with the earlier prices computes it again."""
    trace = UUID(int=7)
    answer = chat(QUESTION, ANSWER) | ROOT | {"gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 10}
    await world.stage(span(trace, 1, answer))
    await world.fold()
    world.query("UPDATE ai_dialogue_log SET token_cost_jpy = 3")
    world.query("INSERT INTO dialogue_costs SELECT id, created_at, 'computed', 'v1' FROM ai_dialogue_log")
    await world.stage(span(trace, 2, {"ragledger.latency_ms": 7}, parent=1))
    assert (await world.fold()).outcomes == {("updated", ""): 1}
    assert world.dialogues()[0]["token_cost_jpy"] is None
    costs = world.query("SELECT source, price_version FROM dialogue_costs")
    assert costs == [{"source": "unpriced", "price_version": ""}]


async def test_an_incomplete_trace_waits_until_it_is_quiet(world: World) -> None:
    """A trace with its root may become a dialogue at once, but not a dead letter. A dead letter that came too early is
    settled.
    """
    trace, (root, _, _, answer) = one_trace(1)
    await world.stage(root)
    assert (await world.fold(quiet=3600)).outcomes == {}
    assert world.query("SELECT count(*) AS n FROM touched_traces") == [{"n": 1}]
    assert (await world.fold()).outcomes == {("skipped", "no_model_call"): 1}
    nameless = span(trace, 4, chat(QUESTION, ANSWER), parent=1)
    world.query("DELETE FROM staged_spans")
    await world.stage(nameless)
    assert (await world.fold()).outcomes == {("dead_lettered", "missing_field"): 1}
    (letter,) = world.letters()
    assert (letter["partition"], bytes(letter["key"]).decode(), letter["open"]) == (-1, trace.hex, True)
    assert "no span names a user" in letter["detail"]["message"]
    await world.stage(root, answer)
    assert (await world.fold(quiet=3600)).outcomes == {("inserted", ""): 1}
    (letter,) = world.letters()
    assert not letter["open"]
    assert len(world.dialogues()) == 1


async def test_a_row_that_the_database_refuses_is_the_dead_letter_of_its_trace(world: World) -> None:
    """It has the SQLSTATE, for a new or a changed row. The other traces of the fold are written."""
    world.query("ALTER TABLE ai_dialogue_log ADD CONSTRAINT polite CHECK (query <> 'rude')")
    good, spans = one_trace(1)
    await world.stage(*spans)
    await world.stage(span(UUID(int=6), 1, chat("rude", ANSWER) | ROOT))
    await world.stage(span(UUID(int=8), 1, chat("polite", ANSWER) | ROOT, took=50))
    folded = await world.fold()
    assert folded.outcomes == {("inserted", ""): 2, ("dead_lettered", "refused_by_database"): 1}
    assert {row["id"] for row in world.dialogues()} == {good, UUID(int=8)}
    await world.stage(span(UUID(int=8), 2, chat("rude", ANSWER), parent=1, start=900))
    assert (await world.fold()).outcomes == {("dead_lettered", "refused_by_database"): 1}
    assert {row["query"] for row in world.dialogues() if row["id"] == UUID(int=8)} == {"polite"}
    assert [(letter["sqlstate"], letter["open"]) for letter in world.letters()] == [("23514", True), ("23514", True)]


# Rules of the owner that reject a trace, and the SQLSTATE.
ON_TRACES: dict[str, tuple[Sequence[str], str]] = {
    "check": (("ALTER TABLE dialogue_traces ADD CONSTRAINT own CHECK (spans <> 2)",), "23514"),
    "deferred": (
        ("ALTER TABLE dialogue_traces ADD CONSTRAINT own UNIQUE (spans) DEFERRABLE INITIALLY DEFERRED",),
        "23505",
    ),
    "raised": (trigger("dialogue_traces", "dialogue_id", "RAISE EXCEPTION USING ERRCODE = '57014'"), "57014"),
    "left out": (trigger("dialogue_traces", "dialogue_id", "RETURN NULL"), "02000"),
}


@pytest.mark.parametrize("case", ON_TRACES)
async def test_a_refused_row_of_dialogue_traces_is_the_dead_letter_of_its_trace(world: World, case: str) -> None:
    """Its dialogue is not written; the others of the fold are. After the cause is removed, a replay writes it."""
    statements, sqlstate = ON_TRACES[case]
    for statement in statements:
        world.query(statement)
    good, spans = one_trace(1)
    await world.stage(*spans)
    await world.fold()
    six = [span(UUID(int=6), 1, chat(QUESTION, ANSWER) | ROOT), span(UUID(int=6), 2, {"http.route": "/"}, parent=1)]
    many = len(spans) - 2 if case == "deferred" else 0
    await world.stage(*six, *(span(UUID(int=6), 3 + n, {"http.route": "/"}, parent=1) for n in range(many)))
    await world.stage(span(UUID(int=8), 1, chat(QUESTION, ANSWER) | ROOT))
    folded = await world.fold()
    assert folded.outcomes == {("inserted", ""): 1, ("dead_lettered", "refused_by_database"): 1}
    assert {row["id"] for row in world.dialogues()} == {good, UUID(int=8)}
    assert [(letter["sqlstate"], letter["open"]) for letter in world.letters()] == [(sqlstate, True)]
    world.query("ALTER TABLE dialogue_traces DROP CONSTRAINT IF EXISTS own")
    world.query("DROP TRIGGER IF EXISTS own ON dialogue_traces")
    assert (await world.dead_letters().replay(Filter())).failed == 0
    assert (await world.fold()).outcomes == {("inserted", ""): 1}
    assert [letter["open"] for letter in world.letters()] == [False]


async def test_a_trace_whose_dead_letter_a_trigger_leaves_out_waits(world: World) -> None:
    """It is in no table otherwise."""
    world.query("CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    world.query("CREATE TRIGGER own BEFORE INSERT ON dead_letters FOR EACH ROW EXECUTE FUNCTION own()")
    await world.stage(span(UUID(int=7), 1, chat(QUESTION, ANSWER)))
    with pytest.raises(Unavailable, match="dead_letters has left the row out"):
        await world.fold()
    world.query("DROP TRIGGER own ON dead_letters")
    assert (await world.fold()).outcomes == {("dead_lettered", "missing_field"): 1}
    assert [letter["reason"] for letter in world.letters()] == ["missing_field"]


async def test_an_error_that_no_trace_causes_rejects_none(world: World) -> None:
    """The traces wait until it is removed."""
    world.query("ALTER TABLE dialogue_traces RENAME errors TO mistakes")
    await world.stage(span(UUID(int=6), 1, chat(QUESTION, ANSWER) | ROOT))
    with pytest.raises(Unavailable, match="42703"):
        await world.fold()
    world.query("ALTER TABLE dialogue_traces RENAME mistakes TO errors")
    assert (await world.fold()).outcomes == {("inserted", ""): 1}
    assert world.letters() == []


async def test_an_update_that_a_trigger_leaves_out_is_the_dead_letter_of_its_trace(world: World) -> None:
    """Otherwise a late span would have no effect, and nothing would report it. A deleted dialogue is not reported."""
    for number in (6, 7, 8):
        await world.stage(span(UUID(int=number), 1, chat(QUESTION, ANSWER) | ROOT))
    await world.fold()
    for statement in trigger("ai_dialogue_log", "id", "RETURN NULL", "UPDATE"):
        world.query(statement)
    world.query("DELETE FROM ai_dialogue_log WHERE id = '00000000-0000-0000-0000-000000000007'")
    for number in (6, 7, 8):
        await world.stage(span(UUID(int=number), 2, chat("later", ANSWER), parent=1, start=900))
    folded = await world.fold()
    assert folded.outcomes == {("updated", ""): 1, ("unchanged", ""): 1, ("dead_lettered", "refused_by_database"): 1}
    assert [row["query"] for row in world.dialogues()] == [QUESTION, "later"]
    assert [letter["sqlstate"] for letter in world.letters()] == ["02000"]


async def test_the_days_of_a_trace_are_those_that_a_trigger_gives_its_dialogue(world: World) -> None:
    """When it is inserted, and when a late span changes it."""
    for statement in trigger("ai_dialogue_log", "id", "NEW.created_at := NEW.created_at - interval '3 days'"):
        world.query(statement)

    def moved_day() -> str:
        (row,) = world.query("SELECT created_at::date::text AS day FROM ai_dialogue_log")
        marked = {mark["day"] for mark in world.query("DELETE FROM touched_days RETURNING day::text")}
        assert row["day"] in marked
        return str(row["day"])

    await world.stage(span(UUID(int=6), 1, chat(QUESTION, ANSWER) | ROOT))
    await world.fold()
    before = moved_day()
    await world.stage(span(UUID(int=6), 2, chat("later", ANSWER), parent=1, start=900))
    assert (await world.fold()).outcomes == {("updated", ""): 1}
    assert moved_day() > before
    assert world.letters() == []


async def test_dead_letters_of_traces_are_replayed(world: World) -> None:
    """A trace that is still incomplete stays, with its reason. A trace that the database now accepts is folded exactly
    once.
    """
    world.query("ALTER TABLE ai_dialogue_log ADD CONSTRAINT polite CHECK (query <> 'rude')")
    await world.stage(span(UUID(int=6), 1, chat("rude", ANSWER) | ROOT))
    await world.stage(span(UUID(int=7), 1, chat(QUESTION, ANSWER)))
    await world.fold()
    assert [letter["reason"] for letter in world.letters()] == ["refused_by_database", "missing_field"]
    world.query("ALTER TABLE ai_dialogue_log DROP CONSTRAINT polite")
    world.query("DELETE FROM staged_spans")  # a dead letter contains all it needs, so spans may be dropped
    replayed = await world.dead_letters().replay(Filter())
    assert (replayed.inserted, replayed.failed) == (1, 1)
    assert (await world.fold()).outcomes == {("inserted", ""): 1}
    assert [row["query"] for row in world.dialogues()] == ["rude"]
    assert [letter["open"] for letter in world.letters()] == [False, True]
    assert (await world.dead_letters().replay(Filter())).failed == 1


async def test_a_record_that_cannot_be_read_is_replayed_like_any_other(world: World) -> None:
    """It fails again with the same reason."""
    await world.stage(value=b"[]")
    replayed = await world.dead_letters().replay(Filter())
    assert replayed.failed == 1
    (letter,) = world.letters()
    assert (letter["reason"], letter["partition"], letter["open"]) == ("not_otlp", 0, True)
    assert "zipkin_json" in letter["detail"]["message"]


async def test_a_trace_that_was_erased_stays_erased(world: World) -> None:
    """Its spans are emptied, later ones too, whether they name the user or not."""
    trace, (root, embedding, retrieval, answer) = one_trace(1)
    await world.stage(retrieval, answer)
    key = Key(b"k" * 32)
    world.query("INSERT INTO erased_users (user_hash, key_id) VALUES (%s, %s)", key.hash(UUID(USER).bytes), key.id)
    await world.stage(root)
    assert (await world.fold()).outcomes == {("skipped", "erased_user"): 1}
    await world.stage(embedding, span(trace, 9, chat(QUESTION, ANSWER), parent=1))
    assert (await world.fold()).outcomes == {("skipped", "erased_user"): 1}
    assert world.dialogues() == []
    assert world.letters() == []
    assert world.query("SELECT count(*) AS n FROM staged_spans WHERE content <> '' OR user_id IS NOT NULL") == [
        {"n": 0}
    ]


async def test_spans_are_dropped_and_their_trace_is_closed(world: World) -> None:
    """Later spans change nothing. Outlines of traces without a dialogue are dropped after an hour."""
    _, (root, embedding, _, answer) = one_trace(1)
    await world.stage(root, answer)
    await world.stage(span(UUID(int=9), 1, {"http.route": "/healthz"}))
    await world.fold()
    assert not await world.traces().drop_some()
    assert world.query("SELECT count(*) AS n FROM staged_spans") == [{"n": 3}]
    world.query("UPDATE staged_spans SET staged_at = now() - interval '2 hours'")
    await world.traces().drop_some()
    assert world.query("SELECT count(*) AS n FROM staged_spans") == [{"n": 2}]
    world.query("UPDATE staged_spans SET staged_at = now() - interval '25 hours'")
    await world.traces().drop_some()
    assert world.query("SELECT count(*) AS n FROM staged_spans") == [{"n": 0}]
    before = world.dialogues()
    await world.stage(embedding, root)
    assert (await world.fold()).outcomes == {("skipped", "late"): 1}
    assert world.query("SELECT count(*) AS n FROM staged_spans") == [{"n": 0}]
    assert world.dialogues() == before


async def test_one_replica_folds_at_a_time(world: World) -> None:
    """Another replica does nothing while the lock is held."""
    await world.stage(*one_trace(1)[1])
    with psycopg.connect(world.dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('ragledger fold', 0))")
        assert await world.traces().fold_some() is None
    assert (await world.fold()).outcomes == {("inserted", ""): 1}


async def test_a_dialogue_that_an_event_has_made_stays(world: World) -> None:
    """The first write wins, as for any id. A dialogue that another program deletes is not created again."""
    trace, spans = one_trace(1)
    world.query(
        "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used, created_at)"
        " VALUES (%s, %s, %s, 'own', 'own', 'm', '2026-11-30')",
        trace,
        UUID(USER),
        UUID(SESSION),
    )
    await world.stage(*spans)
    assert (await world.fold()).outcomes == {("duplicate", ""): 1}
    assert [row["query"] for row in world.dialogues()] == ["own"]
    other, spans = one_trace(2)
    await world.stage(*spans[:3], span(other, 4, chat(QUESTION, ANSWER), parent=1))
    await world.fold()
    world.query("DELETE FROM ai_dialogue_log WHERE id = %s", other)
    await world.stage(span(other, 5, chat(QUESTION, "another"), parent=1, start=9000))
    assert (await world.fold()).outcomes == {("unchanged", ""): 1}
    assert len(world.dialogues()) == 1
