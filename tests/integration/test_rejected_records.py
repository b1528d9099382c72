"""Tests records that the database rejects, few or many in a batch: each is a dead letter, and others are not
delayed.
"""

import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    environment_on,
    ids,
    send,
    small_dialogue,
    wait_for_records,
)
from tests.support.producers import random_uuid
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BATCH = 10_000
ONE_BATCH = {"RAGLEDGER_BATCH__MAX_ROWS": str(BATCH), "RAGLEDGER_BATCH__MAX_DELAY_MS": "20000"}
# The cause and the SQLSTATE: a column type, a rule, a missing parent, a trigger with or without a code.
REFUSALS = {"type": "22003", "rule": "23514", "parent": "23503", "trigger": "P0001", "assert": "P0004", "own": "45007"}
UNKNOWN_USER = "11111111-1111-4111-8111-111111111111"
RULES = (
    "ALTER TABLE ai_dialogue_log ADD CONSTRAINT rule CHECK (query <> 'rule')",
    "CREATE TABLE users (id UUID PRIMARY KEY)",
    f"INSERT INTO users SELECT user_id::uuid FROM (VALUES ('{UUID(int=7)}')) AS known (user_id)",
    "ALTER TABLE ai_dialogue_log ADD CONSTRAINT parent FOREIGN KEY (user_id) REFERENCES users (id)",
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN IF NEW.query = 'trigger' THEN RAISE EXCEPTION 'no: %', NEW.response; END IF;"
    " IF NEW.query = 'own' THEN RAISE EXCEPTION USING ERRCODE = '45007'; END IF;"
    " ASSERT NEW.query <> 'assert'; RETURN NEW; END $$",
    "CREATE TRIGGER refuse BEFORE INSERT ON ai_dialogue_log FOR EACH ROW EXECUTE FUNCTION refuse()",
)


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database with rules of its own, and batches as large as the published records."""
    with environment_on(stack, migrated_template, partitions=1, **ONE_BATCH) as made:
        execute(made.dsn, *RULES)
        yield made


def records(topic: str, count: int, offending: dict[int, str]) -> dict[UUID, Outgoing]:
    """Return dialogues of which some are replaced by rejected ones, each with its cause."""
    chance = random.Random(count)
    made = {}
    for place in range(count):
        event = small_dialogue(chance, id=str(random_uuid(chance)), user_id=str(UUID(int=7)))
        event |= _offending_members(offending.get(place))
        value = as_json(event).replace(b'"weight": 0.75', b'"weight": 1e400000')
        made[UUID(event["id"])] = Outgoing(topic, value)
    return made


def _offending_members(refusal: str | None) -> dict[str, object]:
    if refusal == "type":
        return {"citations": [{"source": "s", "weight": 0.75}]}
    if refusal == "parent":
        return {"user_id": UNKNOWN_USER}
    return {} if refusal is None else {"query": refusal}


def ingest(environment: Environment, log: Path, count: int) -> tuple[float, float]:
    """Write so many records as one batch, and ask /healthz meanwhile. Return the seconds and the writes that
    split it.
    """
    with ServiceProcess(environment, log) as service:
        eventually(lambda: service.get("/healthz")[0] == 200, message="the service listens")
        slowest = 0.0

        def done() -> bool:
            nonlocal slowest
            began = time.monotonic()
            service.wait_page("/healthz", 200)
            slowest = max(slowest, time.monotonic() - began)
            return environment.accounted_for() >= count

        eventually(done, timeout=90, message="all records are processed")
        eventually(lambda: service.metric("rag_batch_rows_count") == 1, timeout=5, message="there was one batch")
        seconds = service.metric("rag_batch_write_seconds_sum")
        writes = service.metric("rag_split_writes_total")
        assert service.stop() == 0
    print(f"{seconds:.2f} s, {writes:.0f} writes, /healthz took {slowest:.2f} s at most")
    return seconds, writes


def assert_outcomes(environment: Environment, made: dict[UUID, Outgoing], offending: dict[int, str]) -> None:
    """Assert that rejected records are dead letters with their SQLSTATE and all others are rows."""
    order = list(made)
    letters = environment.query("SELECT record_offset, sqlstate, reason, detail::text FROM dead_letters")
    assert {one["record_offset"]: one["sqlstate"] for one in letters} == {
        place: REFUSALS[refusal] for place, refusal in offending.items()
    }
    assert ids(environment) == {event for place, event in enumerate(order) if place not in offending}
    assert counts(environment) == {"inserted": len(made) - len(offending), "duplicates": 0, "dead": len(offending)}


@pytest.mark.parametrize(
    ("place", "refusal"), [(0, "type"), (BATCH - 1, "rule"), (6_789, "parent"), (3_333, "trigger"), (17, "own")]
)
def test_one_rejected_record_among_ten_thousand_costs_few_writes(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, place: int, refusal: str
) -> None:
    """At the beginning, the end or the middle, it takes at most two writes for each halving of the batch."""
    offending = {place: refusal}
    made = records(environment.topics["dialogue"], BATCH, offending)
    send(bootstrap_servers, made.values())
    _, writes = ingest(environment, tmp_path / "log", BATCH)
    assert writes <= 2 * math.log2(BATCH)
    assert_outcomes(environment, made, offending)


@pytest.mark.parametrize("refusal", ["type", "rule", "parent", "trigger", "any"])
@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_many_rejected_records_do_not_overload_the_service(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, share: float, refusal: str
) -> None:
    """The time is bounded, the loop runs, and there are at most two writes for each record of the batch."""
    count = 5_000
    chance = random.Random(f"{share}{refusal}")
    places = sorted(chance.sample(range(count), int(share * count)))
    offending = {place: chance.choice(list(REFUSALS)) if refusal == "any" else refusal for place in places}
    made = records(environment.topics["dialogue"], count, offending)
    send(bootstrap_servers, made.values())
    environment.variables["RAGLEDGER_BATCH__MAX_ROWS"] = str(count)
    seconds, writes = ingest(environment, tmp_path / "log", count)
    assert seconds < 20
    assert writes <= 2 * count
    assert_outcomes(environment, made, offending)


def test_rejected_records_among_duplicates_are_distinguished(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """The same id is first rejected, then good, then a duplicate; another one existed before."""
    topic, chance = environment.topics["dialogue"], random.Random(5)
    known, other = str(random_uuid(chance)), str(random_uuid(chance))

    def event(event_id: str, query: str) -> Outgoing:
        return Outgoing(topic, as_json(small_dialogue(chance, id=event_id, user_id=str(UUID(int=7)), query=query)))

    execute(
        environment.dsn,
        "INSERT INTO ai_dialogue_log (id, user_id, session_id, query, response, model_used)"
        f" VALUES ('{known}', '{UUID(int=7)}', '{known}', 'first', 'r', 'm')",
    )
    send(bootstrap_servers, [event(other, "rule"), event(other, "good"), event(known, "late"), event(other, "again")])
    environment.variables["RAGLEDGER_BATCH__MAX_DELAY_MS"] = "500"
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 4)
        assert service.stop() == 0
    stored = {str(row["id"]): row["query"] for row in environment.query("SELECT id, query FROM ai_dialogue_log")}
    assert stored == {known: "first", other: "good"}
    assert counts(environment) == {"inserted": 1, "duplicates": 2, "dead": 1}
