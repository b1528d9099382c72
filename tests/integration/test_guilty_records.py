"""Records that the database refuses, few or many in a batch: each is a dead letter, and nobody waits for them."""

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
# Who refuses it, and the SQLSTATE: the type of a column, a rule, a missing parent, a trigger with a code or without.
REFUSALS = {"type": "22003", "rule": "23514", "parent": "23503", "trigger": "P0001", "assert": "P0004", "own": "45007"}
STRANGER = "11111111-1111-4111-8111-111111111111"
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
    """A database with rules of its own, and batches as large as what is published."""
    with environment_on(stack, migrated_template, partitions=1, **ONE_BATCH) as made:
        execute(made.dsn, *RULES)
        yield made


def records(topic: str, count: int, guilty: dict[int, str]) -> dict[UUID, Outgoing]:
    """Dialogues; some places are taken by guilty ones, each refused for its reason."""
    chance = random.Random(count)
    made = {}
    for place in range(count):
        event = small_dialogue(chance, id=str(random_uuid(chance)), user_id=str(UUID(int=7)))
        event |= _guilt(guilty.get(place))
        value = as_json(event).replace(b'"weight": 0.75', b'"weight": 1e400000')
        made[UUID(event["id"])] = Outgoing(topic, value)
    return made


def _guilt(refusal: str | None) -> dict[str, object]:
    if refusal == "type":
        return {"citations": [{"source": "s", "weight": 0.75}]}
    if refusal == "parent":
        return {"user_id": STRANGER}
    return {} if refusal is None else {"query": refusal}


def ingest(environment: Environment, log: Path, count: int) -> tuple[float, float]:
    """Have so many records written as one batch; seconds it took, and writes made to split it.

    The loop turns all the while: somebody asks it.
    """
    with ServiceProcess(environment, log) as service:
        eventually(lambda: service.get("/healthz")[0] == 200, message="it listens")
        slowest = 0.0

        def done() -> bool:
            nonlocal slowest
            began = time.monotonic()
            service.wait_page("/healthz", 200)
            slowest = max(slowest, time.monotonic() - began)
            return environment.accounted_for() >= count

        eventually(done, timeout=90, message="everything accounted for")
        eventually(lambda: service.metric("rag_batch_rows_count") == 1, timeout=5, message="it was one batch")
        seconds = service.metric("rag_batch_write_seconds_sum")
        writes = service.metric("rag_split_writes_total")
        assert service.stop() == 0
    print(f"{seconds:.2f} s, {writes:.0f} writes, /healthz took {slowest:.2f} s at most")
    return seconds, writes


def assert_each_has_its_fate(environment: Environment, made: dict[UUID, Outgoing], guilty: dict[int, str]) -> None:
    """The guilty are dead letters with their SQLSTATE, in their place; all others are rows."""
    order = list(made)
    letters = environment.query("SELECT record_offset, sqlstate, reason, detail::text FROM dead_letters")
    assert {one["record_offset"]: one["sqlstate"] for one in letters} == {
        place: REFUSALS[refusal] for place, refusal in guilty.items()
    }
    assert ids(environment) == {event for place, event in enumerate(order) if place not in guilty}
    assert counts(environment) == {"inserted": len(made) - len(guilty), "duplicates": 0, "dead": len(guilty)}


@pytest.mark.parametrize(
    ("place", "refusal"), [(0, "type"), (BATCH - 1, "rule"), (6_789, "parent"), (3_333, "trigger"), (17, "own")]
)
def test_one_guilty_record_among_ten_thousand_costs_a_few_writes(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, place: int, refusal: str
) -> None:
    """At the beginning, at the end, in the middle: about as many as the batch can be halved, twice at most."""
    guilty = {place: refusal}
    made = records(environment.topics["dialogue"], BATCH, guilty)
    send(bootstrap_servers, made.values())
    _, writes = ingest(environment, tmp_path / "log", BATCH)
    assert writes <= 2 * math.log2(BATCH)
    assert_each_has_its_fate(environment, made, guilty)


@pytest.mark.parametrize("refusal", ["type", "rule", "parent", "trigger", "any"])
@pytest.mark.parametrize("share", [0.01, 0.5, 1.0])
def test_many_guilty_records_do_not_melt_the_service(
    environment: Environment, bootstrap_servers: str, tmp_path: Path, share: float, refusal: str
) -> None:
    """In a time that is bounded, with the loop turning; at most two writes for each record of the batch."""
    count = 5_000
    chance = random.Random(f"{share}{refusal}")
    places = sorted(chance.sample(range(count), int(share * count)))
    guilty = {place: chance.choice(list(REFUSALS)) if refusal == "any" else refusal for place in places}
    made = records(environment.topics["dialogue"], count, guilty)
    send(bootstrap_servers, made.values())
    environment.variables["RAGLEDGER_BATCH__MAX_ROWS"] = str(count)
    seconds, writes = ingest(environment, tmp_path / "log", count)
    assert seconds < 20
    assert writes <= 2 * count
    assert_each_has_its_fate(environment, made, guilty)


def test_guilty_records_among_duplicates_are_told_apart(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """The same id first refused, then good, then again; and one that was there before."""
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
