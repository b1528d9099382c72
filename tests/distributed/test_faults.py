"""Kills workers under load: nothing is lost, nothing is stored twice, and an outage makes no dead letter."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random

import pytest

from tests.support.citus import DISTRIBUTED, Shard, distributed_schema, kill_worker
from tests.support.days import assert_day_equals_queries
from tests.support.ingestion import Outgoing, as_json, counts, dialogues, ids, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Topics
from tests.support.stream import Stream

pytestmark = pytest.mark.timeout(400)

PARTITIONS = 3
KILLS = 4
BAD = b'{"query": '


@pytest.fixture(params=DISTRIBUTED)
def environment(request: pytest.FixtureRequest, bootstrap_servers: str) -> Iterator[Environment]:
    """Return topics, and a distributed schema."""
    topics = Topics(bootstrap_servers)
    try:
        names = {kind: topics.create(PARTITIONS, prefix=kind) for kind in ("dialogue", "feedback")}
        with distributed_schema(request.param) as dsn:
            yield Environment(dsn, bootstrap_servers, names)
    finally:
        topics.delete_all()


def workers(environment: Environment) -> list[Shard]:
    """Return a place on each worker."""
    found = environment.query("SELECT node_name AS host, node_port AS port FROM citus_get_active_worker_nodes()")
    return [Shard("", row["host"], row["port"]) for row in found]


def test_a_worker_is_killed_under_load(environment: Environment, tmp_path: Path) -> None:
    """Duplicates, records that are not JSON, values that the database refuses, and verdicts have their own outcomes."""
    chance = Random(7)
    topic = environment.topics["dialogue"]
    with ServiceProcess(environment, tmp_path / "log"), Stream(environment, PARTITIONS) as stream:
        for number in range(KILLS):
            before = environment.accounted_for()
            wait_for_records(environment, before + 50, timeout=120)
            kill_worker(environment.dsn, workers(environment)[number % 2])
        stream.end()
        written = dict(list(dialogues(topic, 20, seed=99).items()))
        refused = small_dialogue(chance, citations=[{"source": "s", "weight": 0.75}])
        send(
            environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"],
            [
                *written.values(),
                *written.values(),
                Outgoing(topic, BAD),
                Outgoing(topic, as_json(refused).replace(b"0.75", b"1e400000")),
            ],
        )
        eventually(lambda: counts(environment)["dead"] == 2, timeout=120)
        environment.assert_caught_up(timeout=120)
    assert counts(environment) == {"inserted": len(stream.published) + 20, "duplicates": 20, "dead": 2}
    assert ids(environment) == stream.published | set(written)
    reasons = environment.query("SELECT reason, sqlstate FROM dead_letters ORDER BY reason")
    assert [tuple(row.values()) for row in reasons] == [("not_json", None), ("refused_by_database", "22003")]
    days = [row["day"] for row in environment.query("SELECT DISTINCT date(created_at) AS day FROM ai_dialogue_log")]
    assert environment.run("rollup", "--since", str(min(days)), "--until", str(min(days))).returncode == 0
    assert_day_equals_queries(environment, date.fromisoformat(str(min(days))))
