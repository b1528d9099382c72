"""Tests records that the client cannot unpack: the rest of their batch is read, and they are kept or named."""

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.bad_batches import BAD_NAME, CODECS, KEY, damage_number_on_disk, damage_on_disk, send_batch
from tests.support.ingestion import dialogues, environment_on, ids, ingest, log_lines, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.shared import Kafka
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(180)

BATCH = 21


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with one partition in each topic."""
    with environment_on(stack, migrated_template) as made:
        yield made


@pytest.fixture
def topic(environment: Environment) -> str:
    """Return the topic of dialogues."""
    return environment.topics["dialogue"]


class Events(dict[UUID, bytes]):
    """Dialogues by id."""

    @classmethod
    def make(cls, topic: str, count: int, seed: int) -> "Events":
        return cls({event: record.value or b"" for event, record in dialogues(topic, count, seed).items()})


def publish(bootstrap_servers: str, topic: str, count: int, seed: int, *bad: int, codec: str = "none") -> set[UUID]:
    """Publish a batch of dialogues with bad ones at these positions. Return the ids of the others."""
    events = Events.make(topic, count, seed)
    send_batch(bootstrap_servers, topic, list(events.values()), bad, codec)
    return {event for place, event in enumerate(events) if place not in bad}


def line_of(environment: Environment, topic: str) -> Any:
    """Return the ledger's row of the partition."""
    (line,) = environment.query("SELECT * FROM ingest_ledger WHERE topic = %s", topic)
    counted = ("inserted", "duplicates", "amended", "dead_lettered", "gaps")
    assert line["next_offset"] - line["start_offset"] == sum(line[name] for name in counted)
    return line


def reached(environment: Environment, topic: str) -> int:
    """Return the next offset; -1 before the partition was claimed."""
    sql = "SELECT coalesce(max(next_offset), -1) FROM ingest_ledger WHERE topic = %s"
    return int(environment.value(sql, topic))


def letters(environment: Environment) -> list[Any]:
    """Return the dead letters."""
    return environment.query("SELECT * FROM dead_letters ORDER BY record_offset")


def test_a_record_with_an_unreadable_header_is_a_dead_letter_and_reading_continues(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """This holds for every codec. The bad record may be first, last, one of several, or alone. The batches around are
    complete.
    """
    wanted, count, bad = set[UUID](), 0, list[int]()
    places: Sequence[Sequence[int]] = ((10,), (0, 20), (0,), (20,), (9, 10, 11))
    for number, (codec, at) in enumerate([*zip(CODECS, places, strict=True), *((codec, (0,)) for codec in CODECS)]):
        size = BATCH if number < len(CODECS) else 1
        wanted |= publish(bootstrap_servers, topic, size, number, *at, codec=codec)
        bad += [count + place for place in at]
        count += size
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, count)
        service.wait_metric("rag_dead_letters_total", len(bad), reason="unreadable_record")
        service.wait_page("/readyz", 200)
        environment.assert_caught_up()
        assert service.stop() == 0
    assert ids(environment) == wanted
    found = letters(environment)
    assert [letter["record_offset"] for letter in found] == bad
    assert {letter["reason"] for letter in found} == {"unreadable_record"}
    assert all(json.loads(letter["value"])["id"] and letter["key"] == KEY for letter in found)
    name = {"key_base64": base64.b64encode(BAD_NAME).decode(), "value": base64.b64encode(b"geheim").decode()}
    assert all(letter["headers"] == [{"key": "sound", "value": "MQ=="}, name] for letter in found)
    assert all("header" in letter["detail"]["message"] for letter in found)
    line = line_of(environment, topic)
    assert (line["inserted"], line["dead_lettered"], line["gaps"]) == (len(wanted), len(bad), 0)
    assert "geheim" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_reading_continues_in_the_batch_of_an_unreadable_header(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """The batch is fetched from its beginning again: no record is read twice or skipped."""
    wanted = publish(bootstrap_servers, topic, BATCH, 1, 3, 10, 17, codec="zstd")
    with ServiceProcess(environment, tmp_path / "log", RAGLEDGER_BATCH__MAX_ROWS="2") as service:
        eventually(lambda: reached(environment, topic) == BATCH, message="all records are read")
        for again in (10, 11, 20):
            assert environment.run_json(
                *settle(f"ragledger ledger resume --topic {topic} --partition 0 --from {again}")
            )
            eventually(lambda: reached(environment, topic) == BATCH, message="all records are read again")
            line = line_of(environment, topic)
            dead = sum(place >= again for place in (10, 17))
            assert line["start_offset"] == again
            assert (line["duplicates"], line["dead_lettered"]) == (BATCH - again - dead, dead)
        assert service.stop() == 0
    assert ids(environment) == wanted
    assert [letter["record_offset"] for letter in letters(environment)] == [3, 10, 17]


def test_every_command_accepts_dead_letters_with_unreadable_headers(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """They are shown, listed, replayed without success, erased with their user, and discarded."""
    events = Events.make(topic, 3, 1)
    send_batch(bootstrap_servers, topic, list(events.values()), range(3), "lz4")
    ingest(environment, 3, tmp_path / "log")
    before = letters(environment)
    listed = environment.run_json("dead-letters", "list", "--reason", "unreadable_record")
    assert len(listed) == 3
    shown = environment.run_json("dead-letters", "show", str(before[0]["id"]))
    assert shown["headers"][1] == ["geheim \\xff", base64.b64encode(b"geheim").decode()]
    assert environment.run("dead-letters", "show", str(before[0]["id"])).returncode == 0
    replayed = environment.run_json("dead-letters", "replay")
    assert (replayed["failed"], replayed["inserted"]) == (3, 0)
    assert letters(environment) == before
    user = json.loads(before[0]["value"])["user_id"]
    assert environment.run("erase", "--user", user, "--receipt", str(tmp_path)).returncode == 0
    emptied, *others = letters(environment)
    assert (emptied["reason"], emptied["value"], emptied["headers"]) == ("erased_user", None, [])
    assert others == before[1:]
    assert environment.run_json("dead-letters", "discard", "--reason", "unreadable_record") == {"discarded": 2}
    assert ids(environment) == set()


# ── batches whose records cannot be separated ────────────────────────────────────────────────────────────────────────


@contextmanager
def locked(environment: Environment) -> Iterator[None]:
    """Lock the table of dialogues."""
    with psycopg.connect(environment.dsn) as connection:
        connection.execute("LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def damage(kafka: Kafka, topic: str, offset: int) -> tuple[int, int]:
    """Damage a batch. Return its offsets."""
    if not kafka.directory:
        pytest.skip("the broker's files are in a container")
    return damage_on_disk(Path(kafka.directory), topic, offset)


def settle(said: str) -> Any:
    """Run the printed command literally."""
    program, *arguments = said.split()
    assert program == "ragledger"
    return [*arguments]


def resume(environment: Environment, topic: str, where: int | str, *more: str) -> subprocess.CompletedProcess[str]:
    """Store a decision."""
    place = ("--topic", topic, "--partition", "0", "--from", str(where))
    return environment.run("ledger", "resume", *place, *more)


def wait_until_stopped(log: Path, times: int = 1, timeout: float = 60.0) -> Any:
    """Wait for the newest log line about the stop, and return it."""
    eventually(
        lambda: len(log_lines(log, "partition_stopped")) >= times, timeout=timeout, message="the partition has stopped"
    )
    return log_lines(log, "partition_stopped")[-1]


def test_a_damaged_batch_is_skipped_by_one_command(
    environment: Environment, bootstrap_servers: str, kafka: Kafka, topic: str, tmp_path: Path
) -> None:
    """Its first and last offset are named; the records after it are read."""
    log = tmp_path / "log"
    wanted = publish(bootstrap_servers, topic, 4, 1, codec="gzip")
    publish(bootstrap_servers, topic, BATCH, 2, codec="zstd")
    wanted |= publish(bootstrap_servers, topic, 5, 3, 1)
    assert damage(kafka, topic, 10) == (4, 24)
    with ServiceProcess(environment, log) as service:
        said = wait_until_stopped(log)
        assert "offsets 4 to 24" in said["problem"]
        assert "gives up 21 offsets" in said["problem"]
        assert said["settle"].endswith("--from 25")
        line = line_of(environment, topic)
        assert (line["next_offset"], line["unreadable_from"], line["unreadable_until"]) == (4, 4, 25)
        for beyond in (26, "latest"):
            refused = resume(environment, topic, beyond)
            assert (refused.returncode, "--give-up-readable" in refused.stderr) == (1, True)
        assert line_of(environment, topic) == line
        decided = environment.run_json(*settle(said["settle"]))
        assert (decided["skipped"], decided["given_up"]) == (21, 0)
        wait_for_records(environment, 9)
        environment.assert_caught_up()
        assert service.stop() == 0
    assert ids(environment) == wanted
    line = line_of(environment, topic)
    assert (line["inserted"], line["dead_lettered"], line["gaps"], line["unreadable_from"]) == (8, 1, 21, None)
    assert len(log_lines(log, "partition_stopped")) == 1


def test_the_printed_command_gives_up_no_readable_offset(
    environment: Environment, bootstrap_servers: str, kafka: Kafka, topic: str, tmp_path: Path
) -> None:
    """A broker with a sound copy leads the partition when the command is run: it names the command that reads all."""
    log = tmp_path / "log"
    wanted = publish(bootstrap_servers, topic, 4, 1)
    wanted |= publish(bootstrap_servers, topic, BATCH, 2, 3, codec="zstd")
    wanted |= publish(bootstrap_servers, topic, 5, 3)
    damage(kafka, topic, 10)
    with ServiceProcess(environment, log) as service:
        said = wait_until_stopped(log)
        assert "sound copy" in said["problem"]
        damage(kafka, topic, 10)  # flips the same bit back
        before = line_of(environment, topic)
        for _ in range(2):
            refused = environment.run(*settle(said["settle"]))
            words = " ".join(refused.stderr.split())
            assert (refused.returncode, f"gives up {BATCH} readable offsets" in words) == (1, True)
            assert f"ragledger ledger resume --topic {topic} --partition 0 --from here" in words
        assert line_of(environment, topic) == before
        decided = environment.run_json(*settle(said["settle"])[:-1], "here")
        assert (decided["skipped"], decided["given_up"]) == (0, 0)
        wait_for_records(environment, 30)
        environment.assert_caught_up()
        assert service.stop() == 0
    assert ids(environment) == wanted
    line = line_of(environment, topic)
    assert (line["inserted"], line["dead_lettered"], line["gaps"]) == (29, 1, 0)


@pytest.mark.parametrize("killed", [True, False])
def test_a_stop_is_reported_after_earlier_records_are_written(
    environment: Environment, bootstrap_servers: str, kafka: Kafka, topic: str, tmp_path: Path, killed: bool
) -> None:
    """While the earlier batch waits, with or without a kill, running the logged command loses nothing."""
    log, quick = tmp_path / "log", {"RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S": "1"}
    wanted = publish(bootstrap_servers, topic, 30, 1)
    publish(bootstrap_servers, topic, 1, 2)
    wanted |= publish(bootstrap_servers, topic, 5, 3)
    damage(kafka, topic, 30)
    with ExitStack() as services:
        with locked(environment):
            service = services.enter_context(ServiceProcess(environment, log, **quick))
            eventually(
                lambda: service.metric("rag_write_retries_total", cause="lock") > 0,
                message="the batch waits for the lock",
            )
            assert log_lines(log, "partition_stopped") == []
            line = line_of(environment, topic)
            assert (line["next_offset"], line["stopped_at"]) == (0, None)
            refused = resume(environment, topic, 31)
            assert (refused.returncode, "31 readable offsets" in refused.stderr.replace("\n", " ")) == (1, True)
            assert line_of(environment, topic) == line
            if killed:
                service.kill()
        if killed:
            service = services.enter_context(ServiceProcess(environment, log))
        said = wait_until_stopped(log)
        assert line_of(environment, topic)["next_offset"] == 30
        assert environment.run_json(*settle(said["settle"]))["skipped"] == 1
        wait_for_records(environment, 35)
        environment.assert_caught_up()
        assert service.stop() == 0
    assert ids(environment) == wanted
    line = line_of(environment, topic)
    assert (line["inserted"], line["gaps"]) == (35, 1)


def test_readable_offsets_are_given_up_only_with_the_option(
    environment: Environment, bootstrap_servers: str, topic: str, tmp_path: Path
) -> None:
    """The refusal, the confirmation and the list of decisions count them; deleted offsets do not count."""
    wanted = publish(bootstrap_servers, topic, 10, 1)
    ingest(environment, 10, tmp_path / "log")
    publish(bootstrap_servers, topic, 7, 2)
    before = line_of(environment, topic)
    for where, count in ((15, 5), ("latest", 7)):
        refused = resume(environment, topic, where)
        assert (refused.returncode, f"gives up {count} readable offsets" in refused.stderr.replace("\n", " ")) == (
            1,
            True,
        )
    assert line_of(environment, topic) == before
    assert environment.run_json("ledger", "decisions") == []
    done = resume(environment, topic, 15, "--give-up-readable", "--json")
    assert {name: json.loads(done.stdout)[name] for name in ("skipped", "given_up")} == {"skipped": 5, "given_up": 5}
    again = resume(environment, topic, 15, "--json")
    assert json.loads(again.stdout)["given_up"] == 0
    (newest, oldest) = environment.run_json("ledger", "decisions")
    assert (newest["given_up"], oldest["given_up"]) == (0, 5)
    ingest(environment, 12, tmp_path / "log")
    assert len(ids(environment) - wanted) == 2
    line = line_of(environment, topic)
    assert (line["next_offset"], line["gaps"]) == (17, 5)


# ── files in which the broker itself does not find records ────────────────────────────────────────────────────────────


LENGTH, FIRST_OFFSET = (8, ">i"), (0, ">q")


def damage_number(kafka: Kafka, topic: str, offset: int, where: tuple[int, str], more: int) -> None:
    """Damage the header of a batch."""
    if not kafka.directory:
        pytest.skip("the broker's files are in a container")
    damage_number_on_disk(Path(kafka.directory), topic, offset, *where, more)


@pytest.mark.slow
def test_records_that_only_a_later_offset_returns_are_read(
    environment: Environment, bootstrap_servers: str, kafka: Kafka, topic: str, tmp_path: Path
) -> None:
    """After a wrong length, the broker finds the batch only by its last offset, not by its first."""
    log = tmp_path / "log"
    wanted = publish(bootstrap_servers, topic, 4, 1)
    publish(bootstrap_servers, topic, BATCH, 2)
    wanted |= publish(bootstrap_servers, topic, 5, 3)
    damage_number(kafka, topic, 10, LENGTH, 1)
    with ServiceProcess(environment, log) as service:
        said = wait_until_stopped(log)
        assert (line_of(environment, topic)["next_offset"], said["settle"].endswith("--from 25")) == (4, True)
        assert environment.run_json(*settle(said["settle"]))["given_up"] == 0
        wait_for_records(environment, 9)
        environment.assert_caught_up()
        assert service.get("/readyz")[0] == 200
        assert service.stop() == 0
    assert ids(environment) == wanted
    assert line_of(environment, topic)["gaps"] == BATCH
    assert len(log_lines(log, "partition_stopped")) == 1


@pytest.mark.slow
@pytest.mark.timeout(420)
@pytest.mark.parametrize("more", [-100_000, 2**30])
def test_a_partition_without_answers_stops_alone(
    environment: Environment, bootstrap_servers: str, kafka: Kafka, topic: str, tmp_path: Path, more: int
) -> None:
    """The broker answers with an error, or not at all. The printed command gives up nothing, even if it is repeated."""
    log, other = tmp_path / "log", environment.topics["provenance"]
    wanted = publish(bootstrap_servers, topic, 4, 1)
    publish(bootstrap_servers, topic, BATCH, 2)
    publish(bootstrap_servers, topic, 300, 3)
    damage_number(kafka, topic, 10, LENGTH, more)
    with ServiceProcess(environment, log) as service:
        for times in (1, 2):
            said = wait_until_stopped(log, times, timeout=150)  # it is requested after 10 s, several times
            assert "returns none" in said["problem"]
            assert said["settle"].endswith("--from here")
            assert service.get("/readyz")[0] == 503
            line = line_of(environment, topic)
            assert (line["next_offset"], line["gaps"]) == (4, 0)
            decided = environment.run_json(*settle(said["settle"]))
            assert (decided["skipped"], decided["given_up"]) == (0, 0)
        send_batch(bootstrap_servers, other, [b"not JSON"], ())
        eventually(lambda: reached(environment, other) == 1, message="the other topic is read")
        assert service.stop() == 0
    assert ids(environment) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("more", [3, -2, 10**9])
def test_a_batch_with_a_wrong_first_offset_hides_no_record(
    environment: Environment, bootstrap_servers: str, kafka: Kafka, topic: str, tmp_path: Path, more: int
) -> None:
    """No checksum covers that offset; if the batch were read there, it would hide records of its neighbours."""
    log = tmp_path / "log"
    wanted = publish(bootstrap_servers, topic, 4, 1)
    publish(bootstrap_servers, topic, BATCH, 2)
    wanted |= publish(bootstrap_servers, topic, 5, 3)
    damage_number(kafka, topic, 10, FIRST_OFFSET, more)
    with ServiceProcess(environment, log) as service:
        said = wait_until_stopped(log)
        assert "first offset" in said["problem"]
        assert environment.run_json(*settle(said["settle"]))["given_up"] == 0
        wait_for_records(environment, 9)
        environment.assert_caught_up()
        assert service.stop() == 0
    assert ids(environment) == wanted
    assert line_of(environment, topic)["gaps"] == BATCH
