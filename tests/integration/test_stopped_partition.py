"""Partitions that cannot be read on in silence: they stop, say why, stay stopped, and go on where a person says."""

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
    """One partition a topic."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def admin(bootstrap_servers: str) -> AdminClient:
    """Kafka's administration."""
    return AdminClient({"bootstrap.servers": bootstrap_servers})


def make_anew(admin: AdminClient, topic: str) -> None:
    """Delete a topic and make one of the same name."""
    admin.delete_topics([topic])[topic].result(REQUEST_TIMEOUT_S)

    def is_made() -> bool:
        try:
            admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(5)
        except KafkaException:
            return False  # not quite gone yet
        return True

    eventually(is_made, timeout=30, message="the topic is recreated")


def delete_before(admin: AdminClient, topic: str, offset: int) -> None:
    """Retention, at once."""
    place = TopicPartition(topic, 0, offset)
    admin.delete_records([place])[place].result(REQUEST_TIMEOUT_S)


def line_of(environment: Environment) -> Any:
    """What the ledger says of the partition of dialogues."""
    (line,) = environment.query("SELECT * FROM ingest_ledger WHERE topic = %s", environment.topics["dialogue"])
    counts = ("inserted", "duplicates", "amended", "dead_lettered", "gaps")
    assert line["next_offset"] - line["start_offset"] == sum(line[name] for name in counts)
    return line


def assert_stopped(environment: Environment, service: ServiceProcess, log: Path, why: str) -> None:
    """It says so everywhere a person may look, with what to do; it is alive, as a restart would not help."""
    topic = environment.topics["dialogue"]
    service.wait_metric("rag_stopped_partitions", 1, topic=topic)
    command = f"ragledger ledger resume --topic {topic} --partition 0 --from earliest"
    service.wait_check("stopped", why, command)
    service.wait_page("/healthz", 200)
    said = eventually(lambda: log_lines(log, "partition_stopped"), message="said in the log")[-1]
    assert why in said["problem"]
    assert said["settle"] == command
    eventually(lambda: line_of(environment)["stopped_at"], timeout=NOTICED_S, message="kept in the ledger")
    shown = environment.run("ledger")
    assert why in shown.stderr.replace("\n", " ")
    assert command in shown.stderr.replace("\n", " ")
    (line,) = [one for one in environment.run_json("ledger")["partitions"] if one["topic"] == topic]
    assert why in line["stopped_because"]


def assert_others_go_on(environment: Environment, bootstrap_servers: str, seed: int) -> None:
    """A stopped partition holds up no other; records of another kind become dead letters there."""
    before = environment.value("SELECT count(*) FROM dead_letters")
    send(bootstrap_servers, dialogues(environment.topics["provenance"], 3, seed).values())
    eventually(lambda: environment.value("SELECT count(*) FROM dead_letters") == before + 3, message="others go on")


def resume(environment: Environment, where: str, *more: str) -> Any:
    """Decide where the partition of dialogues is read on."""
    topic = environment.topics["dialogue"]
    return environment.run_json("ledger", "resume", "--topic", topic, "--partition", "0", "--from", where, *more)


def give_up(environment: Environment, where: str) -> int:
    """Decide to go on where offsets are given up that can be read, which takes an option; how many."""
    topic = environment.topics["dialogue"]
    done = environment.run("ledger", "resume", "--topic", topic, "--partition", "0", "--from", where)
    assert (done.returncode, "--give-up-readable" in done.stderr) == (1, True)
    return int(resume(environment, where, "--give-up-readable")["given_up"])


def test_a_topic_recreated_that_is_longer_than_the_old_one_stops(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """While nobody looked; no offset gives it away. After the decision it is read whole, without a restart."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    old, new = dialogues(topic, 20, seed=1), dialogues(topic, 50, seed=2)
    send(bootstrap_servers, old.values())
    with ServiceProcess(environment, tmp_path / "before") as service:
        wait_for_records(environment, 20)
        assert service.stop() == 0
    make_anew(admin, topic)
    send(bootstrap_servers, new.values())
    with ServiceProcess(environment, log) as service:
        assert_stopped(environment, service, log, "recreated")
        assert_others_go_on(environment, bootstrap_servers, seed=3)
        assert line_of(environment)["next_offset"] == 20
        decided = resume(environment, "earliest", "--reason", "the test says so")
        assert (decided["from_offset"], decided["to_offset"], decided["begins_anew"]) == (20, 0, True)
        eventually(lambda: ids(environment) == old.keys() | new.keys(), timeout=NOTICED_S, message="read on")
        eventually(lambda: service.get("/readyz")[0] == 200, timeout=NOTICED_S, message="ready")
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


def test_a_topic_recreated_under_a_running_reader_stops(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """Within seconds; whatever of it was read before is not read into the books twice."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    old, new = dialogues(topic, 20, seed=4), dialogues(topic, 200, seed=5)
    send(bootstrap_servers, old.values())
    with ServiceProcess(environment, log, RAGLEDGER_KAFKA__METADATA_MAX_AGE_MS="1000") as service:
        wait_for_records(environment, 20)
        make_anew(admin, topic)
        send(bootstrap_servers, new.values())
        assert_stopped(environment, service, log, "recreated")
        resume(environment, "earliest")
        eventually(lambda: ids(environment) == old.keys() | new.keys(), timeout=NOTICED_S, message="read on")
        environment.assert_caught_up()
        line = line_of(environment)
        assert (line["start_offset"], line["next_offset"]) == (0, 200)
        assert line["inserted"] + line["duplicates"] == 200
        assert service.stop() == 0


def test_records_deleted_by_retention_stop_their_partition_for_good(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """Through a restart; with `earliest` the loss is booked as gaps, under the same books."""
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
        eventually(lambda: len(ids(environment)) == 60, timeout=NOTICED_S + 15, message="read on")
        assert service.stop() == 0
    assert ids(environment) == {event for event, _ in wanted[:20] + wanted[60:]}
    line = line_of(environment)
    assert (line["start_offset"], line["next_offset"], line["inserted"], line["gaps"]) == (0, 100, 60, 40)


def test_retention_that_overtakes_a_running_reader_stops_its_partition(
    environment: Environment, bootstrap_servers: str, admin: AdminClient, tmp_path: Path
) -> None:
    """A table is missing, reading waits until it gives back what it has fetched, and what comes next is deleted."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    with ServiceProcess(environment, log, RAGLEDGER_BATCH__MAX_ROWS="10") as service:
        service.wait_ready()
        execute(environment.dsn, "ALTER TABLE ai_dialogue_log RENAME TO elsewhere")
        send(bootstrap_servers, dialogues(topic, 2000, seed=7).values())
        eventually(lambda: service.metric("rag_write_retries_total", cause="schema") > 8, message="an outage")
        delete_before(admin, topic, 1990)
        execute(environment.dsn, "ALTER TABLE elsewhere RENAME TO ai_dialogue_log")
        assert_stopped(environment, service, log, "deleted by retention")
        stood = line_of(environment)["next_offset"]
        assert len(ids(environment)) == stood < 1990
        assert give_up(environment, "1995") == 5
        eventually(lambda: line_of(environment)["next_offset"] == 2000, timeout=NOTICED_S + 15, message="read on")
        line = line_of(environment)
        assert (line["inserted"], line["gaps"]) == (stood + 5, 1995 - stood)
        assert service.stop() == 0


def test_a_topic_that_lost_records_stays_stopped_although_it_grows_again(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Beyond the end once is beyond the end until a person has looked: else a loss would heal over in silence."""
    topic, log = environment.topics["dialogue"], tmp_path / "log"
    with ServiceProcess(environment, tmp_path / "before") as service:
        eventually(lambda: environment.value("SELECT count(*) FROM ingest_ledger") == 2, message="claimed")
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
        eventually(lambda: len(ids(environment)) == 20, timeout=NOTICED_S, message="read on from where it stood")
        assert service.stop() == 0


def test_a_decision_reaches_a_reader_that_has_nothing_to_do(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Read again from the beginning, while it runs: duplicates, in new books, and nothing is doubled."""
    topic = environment.topics["dialogue"]
    wanted = dialogues(topic, 300, seed=9)
    send(bootstrap_servers, wanted.values())
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 300)
        decided = resume(environment, "0")
        assert (decided["begins_anew"], decided["problem"]) == (True, None)
        eventually(lambda: line_of(environment)["duplicates"] == 300, timeout=NOTICED_S, message="read again")
        service.wait_page("/readyz", 200)
        assert service.stop() == 0
    assert ids(environment) == wanted.keys()
    line = line_of(environment)
    assert (line["start_offset"], line["next_offset"], line["inserted"]) == (0, 300, 0)


def test_a_decision_that_makes_no_sense_is_refused(environment: Environment, tmp_path: Path) -> None:
    """A word that is none, offsets and partitions that are not there: said in one line, and nothing is changed."""
    topic = environment.topics["dialogue"]

    def decide(topic: str, partition: str, where: str) -> tuple[int, str]:
        place = ("--topic", topic, "--partition", partition)
        done = environment.run("ledger", "resume", *place, "--from", where)
        assert done.stdout == ""
        return done.returncode, done.stderr.replace("\n", " ")

    code, said = decide(topic, "0", "earliest")
    assert (code, "does not know" in said) == (1, True)
    with ServiceProcess(environment, tmp_path / "log") as service:
        eventually(lambda: environment.value("SELECT count(*) FROM ingest_ledger") == 2, message="claimed")
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
