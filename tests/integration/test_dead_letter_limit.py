"""Tests the limit on dead letters: the partition stops, also after kills and restarts, until a person resumes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ingestion import Outgoing, counts, dialogues, environment_on, log_lines, send, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BAD = b"{"
IN_FLIGHT = 4 * 250  # the batch above the limit, those in the writer, and the open one


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a service that stops if a tenth of the records is bad; batches are small, so that a stop comes soon."""
    limit = {"RAGLEDGER_DEAD_LETTERS__MAX_RATIO": "0.1", "RAGLEDGER_BATCH__MAX_ROWS": "50"}
    with environment_on(stack, migrated_template, partitions=1, **limit) as made:
        yield made


def publish(environment: Environment, bootstrap_servers: str, good: int, bad: int, seed: int) -> None:
    """Publish good records with bad ones evenly between them."""
    topic = environment.topics["dialogue"]
    records = list(dialogues(topic, good, seed).values())
    for number in range(bad):
        records.insert(number * (good + bad) // max(bad, 1), Outgoing(topic, BAD))
    send(bootstrap_servers, records)


def standing(environment: Environment) -> Any:
    """Return the ledger's row of the dialogues."""
    (row,) = environment.query("SELECT * FROM ingest_ledger WHERE topic = %s", environment.topics["dialogue"])
    return row


def reached(environment: Environment) -> int:
    """Return the next offset."""
    return int(standing(environment)["next_offset"])


def wait_until_stopped(environment: Environment, service: ServiceProcess) -> None:
    """Wait for the stop in the metric, on /readyz with the advice, and in the ledger; the service stays alive."""
    topic = environment.topics["dialogue"]
    service.wait_metric("rag_stopped_partitions", 1, topic=topic)
    service.wait_check("stopped", "became dead letters", f"ragledger ledger resume --topic {topic} --partition 0")
    service.wait_page("/healthz", 200)
    why = eventually(lambda: standing(environment)["stopped_because"], message="the stop is stored in the ledger")
    assert "became dead letters" in why


def resume(environment: Environment, where: str) -> None:
    """Let the partition continue."""
    place = ("--topic", environment.topics["dialogue"], "--partition", "0", "--from", where)
    environment.run_json("ledger", "resume", *place)


def test_too_many_dead_letters_stop_the_partition_until_a_person_resumes_it(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Only a few batches of a mostly bad topic are written, by any replica; then it continues exactly."""
    good, bad, log = 1500, 1500, tmp_path / "log"
    publish(environment, bootstrap_servers, good, bad, seed=1)
    with ServiceProcess(environment, log) as service:
        wait_until_stopped(environment, service)
        send(bootstrap_servers, dialogues(environment.topics["provenance"], 1, seed=2).values())
        eventually(lambda: environment.accounted_for() == reached(environment) + 1, message="other partitions continue")
        service.kill()
    stood = reached(environment)
    assert stood <= IN_FLIGHT, "later records were not written"
    with ServiceProcess(environment, log) as service:
        wait_until_stopped(environment, service)
        assert reached(environment) == stood
        eventually(lambda: len(log_lines(log, "partition_stopped")) == 2, message="both replicas report the stop")
        resume(environment, "here")
        eventually(lambda: reached(environment) > stood, message="the partition continues and counts again")
        wait_until_stopped(environment, service)
        assert service.stop() == 0
    environment.variables["RAGLEDGER_DEAD_LETTERS__MAX_RATIO"] = "1"
    with ServiceProcess(environment, log) as service:
        wait_until_stopped(environment, service)
        resume(environment, "here")
        wait_for_records(environment, good + bad + 1)
        service.wait_page("/readyz", 200)
        assert service.stop() == 0
    assert counts(environment) == {"inserted": good, "duplicates": 0, "dead": bad + 1}


def test_fewer_dead_letters_than_the_limit_stop_no_partition(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """One in twenty is bad; and some are at the very beginning, when they are all that was read."""
    topic = environment.topics["dialogue"]
    send(bootstrap_servers, [Outgoing(topic, BAD)] * 5)
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 5)
        publish(environment, bootstrap_servers, 1900, 100, seed=3)
        wait_for_records(environment, 2005)
        service.wait_metric("rag_stopped_partitions", 0)
        service.wait_page("/readyz", 200)
        assert service.stop() == 0


def test_without_a_limit_no_partition_stops(environment: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """This is the default: every record is bad and kept, and reading continues."""
    del environment.variables["RAGLEDGER_DEAD_LETTERS__MAX_RATIO"]
    send(bootstrap_servers, [Outgoing(environment.topics["dialogue"], BAD)] * 2000)
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, 2000)
        service.wait_metric("rag_stopped_partitions", 0)
        assert service.stop() == 0
    assert counts(environment)["dead"] == 2000
