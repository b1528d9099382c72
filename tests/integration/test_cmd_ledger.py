"""Tests `ragledger ledger`: the counts of each partition, and the exit codes for scripts and probes."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.support.ingestion import Outgoing, dialogues, environment_on, ingest, on_other_database, send
from tests.support.producers import produce_transactions
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(120)

GOOD, DUPLICATES, BAD, ABORTED = 30, 4, 3, 5
MARKERS = 2  # one for each transaction


@pytest.fixture(scope="module")
def environment(
    stack: Servers, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """Publish good records, duplicates, bad ones, an aborted and a committed transaction, to two partitions of
    each topic.
    """
    with environment_on(stack, migrated_template, partitions=2) as made:
        topic = made.topics["dialogue"]
        good = list(dialogues(topic, GOOD, seed=1).values())
        send(stack.bootstrap_servers, [*good, *good[:DUPLICATES], *[Outgoing(topic, b"{")] * BAD])
        in_transactions: list[tuple[bool, list[tuple[str, bytes | None]]]] = [
            (False, [(topic, b"{")] * ABORTED),
            (True, [(topic, None)]),
        ]
        produce_transactions(stack.bootstrap_servers, f"tx-{made.group}", in_transactions)
        ingest(made, GOOD + DUPLICATES + BAD + 1, tmp_path_factory.mktemp("ledger") / "log")
        assert made.run("ledger", "--caught-up").returncode == 0
        yield made


@pytest.fixture
def copy(environment: Environment, stack: Servers) -> Iterator[Environment]:
    """Return a copy of the database, to be changed."""
    with fresh_database(stack.dsn, urlsplit(environment.dsn).path.removeprefix("/")) as dsn:
        yield on_other_database(environment, dsn)


def sums(found: Any) -> dict[str, int]:
    """Return the sums of the ledger's columns over all partitions."""
    names = ("read", "inserted", "duplicates", "amended", "dead_lettered", "gaps", "lag")
    return {name: sum(line[name] for line in found["partitions"]) for name in names}


def test_json_covers_every_offset(environment: Environment) -> None:
    """There is a line for each partition; aborted records and markers count as gaps."""
    found = environment.run_json("ledger")
    assert (found["holds"], found["caught_up"], found["kafka_problem"]) == (True, True, None)
    assert [(line["topic"], line["partition"]) for line in found["partitions"]] == sorted(
        (topic, partition) for topic in environment.topics.values() for partition in range(2)
    )
    written = sums(found)
    gaps = written.pop("gaps")
    assert written == {
        "read": GOOD + DUPLICATES + BAD + 1 + gaps,
        "inserted": GOOD,
        "duplicates": DUPLICATES,
        "amended": 0,
        "dead_lettered": BAD + 1,
        "lag": 0,
    }
    assert gaps >= ABORTED + MARKERS
    for line in found["partitions"]:
        parts = ("inserted", "duplicates", "amended", "dead_lettered", "gaps")
        assert line["next_offset"] - line["start_offset"] == line["read"] == sum(line[part] for part in parts)
        assert line["holds"] is True


def test_a_narrow_terminal_leaves_out_no_column(environment: Environment) -> None:
    """In 80 columns the lines are longer, but each has the name of its partition and every number."""
    narrow = on_other_database(environment, environment.dsn)
    narrow.variables["COLUMNS"] = "80"
    done = narrow.run("ledger")
    for topic in environment.topics.values():
        assert f"{topic}/0" in done.stdout
    assert "held back" in done.stdout


def test_the_table_for_people_has_a_line_for_each_partition(environment: Environment) -> None:
    """Long topic names are shown in full if the terminal is wide enough, and the verdict is in words."""
    wide = on_other_database(environment, environment.dsn)
    wide.variables["COLUMNS"] = "160"
    done = wide.run("ledger", "--check", "--caught-up")
    assert (done.returncode, done.stderr) == (0, "")
    for topic in environment.topics.values():
        assert topic in done.stdout
    assert "The ledger adds up" in done.stdout
    assert "No records wait" in done.stdout


def test_column_titles_are_not_wrapped(stack: Servers, migrated_template: str) -> None:
    """All titles are in one line, even if the terminal is narrower than the table."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        made = Environment(dsn, "127.0.0.1:9", {"dialogue": "rag.dialogue", "provenance": "rag.provenance"})
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO ingest_ledger (consumer_group, topic, partition, start_offset, next_offset, inserted)"
                " VALUES (%s, 'rag.provenance', 0, 0, 1000, 1000)",
                [made.group],
            )
        table = made.run("ledger").stdout
        titles = next(line for line in table.splitlines() if "partition" in line)
        for title in ("read", "inserted", "doubled", "amended", "ignored", "gaps", "held back", "adds up"):
            assert title in titles


def test_a_waiting_record_makes_caught_up_exit_with_3(environment: Environment, bootstrap_servers: str) -> None:
    """The equation holds, but one record was not read yet."""
    send(bootstrap_servers, list(dialogues(environment.topics["provenance"], 2, seed=2).values()))
    found = environment.run_json("ledger", "--check")
    assert (found["holds"], found["caught_up"], sums(found)["lag"]) == (True, False, 2)
    assert environment.run("ledger", "--check").returncode == 0
    assert environment.run("ledger").returncode == 0
    waiting = environment.run("ledger", "--caught-up")
    assert waiting.returncode == 3
    assert "wait" in waiting.stdout


def test_an_equation_that_does_not_hold_is_found(copy: Environment) -> None:
    """The constraint was dropped and a row changed by hand: exit code 3, and the partition is marked."""
    with psycopg.connect(copy.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced")
        connection.execute(
            "UPDATE ingest_ledger SET inserted = inserted + 1 WHERE topic = %s AND partition = 1",
            [copy.topics["dialogue"]],
        )
    checked = copy.run("ledger", "--check", "--json")
    assert checked.returncode == 3
    found = json.loads(checked.stdout)
    assert found["holds"] is False
    assert [(line["topic"], line["partition"]) for line in found["partitions"] if not line["holds"]] == [
        (copy.topics["dialogue"], 1)
    ]
    assert copy.run("ledger").returncode == 0
    caught_up = copy.run("ledger", "--caught-up")
    assert caught_up.returncode == 3
    assert "NOT" in caught_up.stdout


def test_without_kafka_the_equation_is_checked_and_the_lag_is_unknown(environment: Environment) -> None:
    """--check needs only the database; --caught-up fails and names the problem."""
    without_kafka = on_other_database(environment, environment.dsn)
    without_kafka.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    found = without_kafka.run("ledger", "--check", "--json")
    assert found.returncode == 0
    report = json.loads(found.stdout)
    assert (report["holds"], report["caught_up"]) == (True, False)
    assert "127.0.0.1:9" in report["kafka_problem"]
    assert {line["lag"] for line in report["partitions"]} == {None}
    caught_up = without_kafka.run("ledger", "--caught-up")
    assert caught_up.returncode == 3
    assert "127.0.0.1:9" in caught_up.stderr
    assert len(caught_up.stderr.splitlines()) <= 5
    assert "Records wait" not in caught_up.stdout, "it is unknown whether records wait"


def test_missing_topics_are_named(environment: Environment) -> None:
    """No topic exists and nothing was read: the group is not caught up, and the reason is given."""
    missing = on_other_database(environment, environment.dsn)
    missing.variables |= {
        "RAGLEDGER_KAFKA__GROUP_ID": "nobody",
        "RAGLEDGER_TOPICS__DIALOGUE": "no-such-dialogues",
        "RAGLEDGER_TOPICS__PROVENANCE": "no-such-provenance",
        **{f"RAGLEDGER_TOPICS__{kind}": f"no-such-{kind}" for kind in ("FEEDBACK", "VERIFICATION", "PLUGIN")},
    }
    done = missing.run("ledger", "--caught-up", "--json")
    assert done.returncode == 3
    found = json.loads(done.stdout)
    assert (found["partitions"], found["caught_up"]) == ([], False)
    assert "no-such-dialogues" in found["kafka_problem"]
    assert "no-such-provenance" in found["kafka_problem"]


def test_without_a_schema_or_a_database_the_message_says_what_to_do(empty_database: str) -> None:
    """Exit code 1, one line, and no password."""
    empty = Environment(empty_database, "127.0.0.1:9", {})
    for arguments in (["ledger"], ["dead-letters", "list"], ["rollup", "--day", "2026-01-01"]):
        done = empty.run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "ragledger migrate up" in done.stderr.replace("\n", " "), done.stderr
    gone = Environment("postgresql://u:geheim@127.0.0.1:9/x", "127.0.0.1:9", {})
    done = gone.run("ledger")
    assert (done.returncode, done.stdout) == (1, "")
    assert "PostgreSQL" in done.stderr
    assert "geheim" not in done.stderr
