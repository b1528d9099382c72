"""Tests stopped partitions: they report the reason, stay stopped, and continue where a person decides."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import KafkaException, NewTopic

from tests.support.ingestion import dialogues, environment_on, ids, log_lines, send, wait_for_records
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import REQUEST_TIMEOUT_S, Servers

pytestmark = pytest.mark.timeout(120)

NOTICED_S = 15.0


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with one partition in each topic."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def admin(bootstrap_servers: str) -> AdminClient:
    """Return Kafka's admin client."""
    return AdminClient({"bootstrap.servers": bootstrap_servers})


def recreate(admin: AdminClient, topic: str) -> None:
    """Delete a topic and create one with the same name."""
    admin.delete_topics([topic])[topic].result(REQUEST_TIMEOUT_S)

    def is_made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(5)
        except KafkaException:
            return False  # the old topic is still being deleted
        return True

    eventually(is_made, timeout=30, message="the topic is recreated")


def delete_before(admin: AdminClient, topic: str, offset: int) -> None:
    """Delete records, as retention does."""
    place = TopicPartition(topic, 0, offset)
    admin.delete_records([place])[place].result(REQUEST_TIMEOUT_S)


def line_of(environment: Environment) -> Any:
    """Return the ledger's row of the partition of dialogues."""
    (line,) = environment.query("SELECT * FROM ingest_ledger WHERE topic = %s", environment.topics["dialogue"])
    counts = ("inserted", "duplicates", "amended", "dead_lettered", "gaps")
    assert line["next_offset"] - line["start_offset"] == sum(line[name] for name in counts)
    return line


def assert_stopped(environment: Environment, service: ServiceProcess, log: Path, why: str) -> None:
    """Assert that the stop is reported everywhere with the command, and that the service is alive."""
    topic = environment.topics["dialogue"]
    service.wait_metric("rag_stopped_partitions", 1, topic=topic)
    command = f"ragledger ledger resume --topic {topic} --partition 0 --from earliest"
    service.wait_check("stopped", why, command)
    service.wait_page("/healthz", 200)
    said = eventually(lambda: log_lines(log, "partition_stopped"), message="the stop is logged")[-1]
    assert why in said["problem"]
    assert said["settle"] == command
    eventually(
        lambda: line_of(environment)["stopped_at"], timeout=NOTICED_S, message="the stop is stored in the ledger"
    )
    shown = environment.run("ledger")
    assert why in shown.stderr.replace("\n", " ")
    assert command in shown.stderr.replace("\n", " ")
    (line,) = [one for one in environment.run_json("ledger")["partitions"] if one["topic"] == topic]
    assert why in line["stopped_because"]


def assert_others_continue(environment: Environment, bootstrap_servers: str, seed: int) -> None:
    """Assert that other partitions are read; records of another kind become dead letters there."""
    before = environment.value("SELECT count(*) FROM dead_letters")
    send(bootstrap_servers, dialogues(environment.topics["provenance"], 3, seed).values())
    eventually(
        lambda: environment.value("SELECT count(*) FROM dead_letters") == before + 3,
        message="other partitions continue",
    )


def resume(environment: Environment, where: str, *more: str) -> Any:
    """Decide where the partition of dialogues continues."""
    topic = environment.topics["dialogue"]
    return environment.run_json("ledger", "resume", "--topic", topic, "--partition", "0", "--from", where, *more)


def give_up(environment: Environment, where: str) -> int:
    """Give up readable offsets, which takes an option. Return their number."""
    topic = environment.topics["dialogue"]
    done = environment.run("ledger", "resume", "--topic", topic, "--partition", "0", "--from", where)
    assert (done.returncode, "--give-up-readable" in done.stderr) == (1, True)
    return int(resume(environment, where, "--give-up-readable")["given_up"])


@pytest.mark.slow
def test_a_recreated_topic_that_is_longer_than_the_old_one_stops(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """It was recreated while no replica ran, and no offset shows it. After the decision all of it is read,
    without a restart.
    """
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    old, new = dialogues(topic, 20, seed=1), dialogues(topic, 50, seed=2)
    send(bootstrap_servers, old.values())
    with ServiceProcess(environment, tmp_path / "before") as service:
        wait_for_records(environment, 20)
        assert service.stop() == 0
    recreate(admin, topic)
    send(bootstrap_servers, new.values())
    with ServiceProcess(environment, log) as service:
        assert_stopped(environment, service, log, "recreated")
        assert_others_continue(environment, bootstrap_servers, seed=3)
        assert line_of(environment)["next_offset"] == 20
        decided = resume(environment, "earliest", "--reason", "the test says so")
        assert (decided["from_offset"], decided["to_offset"], decided["begins_anew"]) == (20, 0, True)
        eventually(
            lambda: ids(environment) == old.keys() | new.keys(), timeout=NOTICED_S, message="the partition continues"
        )
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=NOTICED_S, message="the replica is ready")
        service.wait_metric("rag_stopped_partitions", 0)
        environment.assert_caught_up()
        line = line_of(environment)
        assert (line["start_offset"], line["next_offset"], line["inserted"]) == (0, 50, 50)
        assert service.stop() == 0
    (decision,) = environment.run_json("ledger", "decisions")
    assert (decision["start_offset"], decision["from_offset"], decision["inserted"]) == (0, 20, 20)
    assert (decision["reason"], "recreated" in decision["problem"]) == ("the test says so", True)
    assert decision["topic_id_before"] != decision["topic_id_after"]
    assert "database role" in decision["decided_by"]
    environment.variables["COLUMNS"] = "250"
    assert "the test says so" in environment.run("ledger", "decisions").stdout


def test_a_topic_that_is_recreated_during_reading_stops(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """It stops within seconds. Records that were read before do not count twice."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    old, new = dialogues(topic, 20, seed=4), dialogues(topic, 200, seed=5)
    send(bootstrap_servers, old.values())
    with ServiceProcess(environment, log, RAGLEDGER_KAFKA__METADATA_MAX_AGE_MS="1000") as service:
        wait_for_records(environment, 20)
        recreate(admin, topic)
        send(bootstrap_servers, new.values())
        assert_stopped(environment, service, log, "recreated")
        resume(environment, "earliest")
        eventually(
            lambda: ids(environment) == old.keys() | new.keys(), timeout=NOTICED_S, message="the partition continues"
        )
        environment.assert_caught_up()
        line = line_of(environment)
        assert (line["start_offset"], line["next_offset"]) == (0, 200)
        assert line["inserted"] + line["duplicates"] == 200
        assert service.stop() == 0


def test_records_deleted_by_retention_stop_their_partition(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """They stop it after a restart too. With `earliest`, the loss counts as gaps in the same books."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    wanted = list(dialogues(topic, 100, seed=6).items())
    send(bootstrap_servers, [record for _, record in wanted[:20]])
    with ServiceProcess(environment, tmp_path / "before") as service:
        wait_for_records(environment, 20)
        assert service.stop() == 0
    send(bootstrap_servers, [record for _, record in wanted[20:]])
    delete_before(admin, topic, 60)
    for _ in range(2):
        with ServiceProcess(environment, log) as service:
            assert_stopped(environment, service, log, "40 offsets were deleted by retention")
            assert service.stop() == 0
    with ServiceProcess(environment, log) as service:
        decided = resume(environment, "earliest")
        assert (decided["begins_anew"], decided["skipped"]) == (False, 40)
        eventually(lambda: len(ids(environment)) == 60, timeout=NOTICED_S + 15, message="the partition continues")
        assert service.stop() == 0
    assert ids(environment) == {event for event, _ in wanted[:20] + wanted[60:]}
    line = line_of(environment)
    assert (line["start_offset"], line["next_offset"], line["inserted"], line["gaps"]) == (0, 100, 60, 40)


@pytest.mark.slow
def test_records_deleted_by_retention_during_reading_stop_their_partition(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """A table is missing, so fetched records wait, and the records after them are deleted."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    with ServiceProcess(environment, log, RAGLEDGER_BATCH__MAX_ROWS="10") as service:
        service.wait_ready()
        execute(environment.dsn, "ALTER TABLE ai_dialogue_log RENAME TO elsewhere")
        send(bootstrap_servers, dialogues(topic, 2000, seed=7).values())
        eventually(lambda: service.metric("rag_write_retries_total", cause="schema") > 8, message="the writes fail")
        delete_before(admin, topic, 1990)
        execute(environment.dsn, "ALTER TABLE elsewhere RENAME TO ai_dialogue_log")
        assert_stopped(environment, service, log, "deleted by retention")
        stood = line_of(environment)["next_offset"]
        assert len(ids(environment)) == stood < 1990
        assert give_up(environment, "1995") == 5
        eventually(
            lambda: line_of(environment)["next_offset"] == 2000,
            timeout=NOTICED_S + 15,
            message="the partition continues",
        )
        line = line_of(environment)
        assert (line["inserted"], line["gaps"]) == (stood + 5, 1995 - stood)
        assert service.stop() == 0


def test_a_topic_that_lost_records_stays_stopped_although_it_grows_again(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Otherwise the loss would be forgotten in silence."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    with ServiceProcess(environment, tmp_path / "before") as service:
        eventually(
            lambda: environment.value("SELECT count(*) FROM ingest_ledger") == 2, message="the partitions are claimed"
        )
        assert service.stop() == 0
    moved = f"UPDATE ingest_ledger SET start_offset = 10, next_offset = 10 WHERE topic = '{topic}'"
    execute(environment.dsn, moved)
    with ServiceProcess(environment, log) as service:
        assert_stopped(environment, service, log, "partition ends at 0")
        assert service.stop() == 0
    send(bootstrap_servers, dialogues(topic, 30, seed=8).values())
    with ServiceProcess(environment, log) as service:
        assert_stopped(environment, service, log, "partition ends at 0")
        assert ids(environment) == set()
        assert give_up(environment, "here") == 10
        eventually(
            lambda: len(ids(environment)) == 20,
            timeout=NOTICED_S,
            message="the partition continues at the offset of the decision",
        )
        assert service.stop() == 0


def test_a_decision_reaches_an_idle_replica(environment: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """It reads again from the beginning while it runs. The new books count duplicates, and there is no second row."""
    topic = environment.topics["dialogue"]
    wanted = dialogues(topic, 300, seed=9)
    send(bootstrap_servers, wanted.values())
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 300)
        decided = resume(environment, "0")
        assert (decided["begins_anew"], decided["problem"]) == (True, None)
        eventually(
            lambda: line_of(environment)["duplicates"] == 300, timeout=NOTICED_S, message="the records are read again"
        )
        service.wait_page("/readyz", 200)
        assert service.stop() == 0
    assert ids(environment) == wanted.keys()
    line = line_of(environment)
    assert (line["start_offset"], line["next_offset"], line["inserted"]) == (0, 300, 0)


def test_an_impossible_decision_is_refused(environment: Environment, tmp_path: Path) -> None:
    """An unknown keyword, unknown offsets and partitions: one line, and nothing is changed."""
    topic = environment.topics["dialogue"]

    def decide(topic: str, partition: str, where: str) -> tuple[int, str]:
        place = ("--topic", topic, "--partition", partition)
        done = environment.run("ledger", "resume", *place, "--from", where)
        assert done.stdout == ""
        return done.returncode, done.stderr.replace("\n", " ")

    code, said = decide(topic, "0", "earliest")
    assert (code, "has no row for" in said) == (1, True)
    with ServiceProcess(environment, tmp_path / "log") as service:
        eventually(
            lambda: environment.value("SELECT count(*) FROM ingest_ledger") == 2, message="the partitions are claimed"
        )
        assert service.stop() == 0
    before = environment.query("SELECT * FROM ingest_ledger")
    assert decide(topic, "0", "somewhere")[0] == 2
    assert decide(topic, "-1", "earliest")[0] == 2
    for where, place in (("5", "0"), ("earliest", "7")):
        code, said = decide(topic, place, where)
        assert code == 1
        assert f"{topic}/{place}" in said
    assert environment.run("ledger", "--json", "resume", "--topic", topic).returncode == 2
    assert environment.query("SELECT * FROM ingest_ledger") == before
    assert environment.run_json("ledger", "decisions") == []
    environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    code, said = decide(topic, "0", "earliest")
    assert (code, "127.0.0.1:9" in said) == (1, True)
