"""Tests string ids from end to end: commands, SQL and rows have one UUID, and the string of an erased user is not
stored again.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid5

import psycopg
import pytest

from consumer.events.otlp.fold import Folding
from tests.support.erasing import KEY as ERASURE_KEY
from tests.support.erasing import add_letters
from tests.support.ingestion import (
    Outgoing,
    as_json,
    counts,
    environment_on,
    ingest,
    send,
    small_dialogue,
)
from tests.support.producers import provenance
from tests.support.service import Environment
from tests.support.stack import Servers, fresh_database

pytestmark = pytest.mark.timeout(180)

NAMESPACE = UUID("0d9f7a52-6f0e-4a6b-9f0c-6f2f1c3b4a5d")
ALICE, BOB = "auth0|älice", "auth0|bob"
SETTINGS = {"RAGLEDGER_IDS__NAMESPACE": str(NAMESPACE), "RAGLEDGER_ERASURE__KEY": ERASURE_KEY}


@pytest.fixture
def offline(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database without Kafka."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        yield Environment(dsn, "127.0.0.1:9", {}, **SETTINGS)


@pytest.fixture
def online(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return topics and a database for the service."""
    with environment_on(stack, migrated_template) as made:
        made.variables |= SETTINGS
        yield made


def records_of(user: str, topic: str) -> list[Outgoing]:
    """Return two dialogues of a user, and three records that become dead letters and name the user in value or key."""
    chance = random.Random(user)
    events = [small_dialogue(chance, user_id=user, session_id=f"{user}-s") for _ in range(3)]
    return [
        *(Outgoing(topic, as_json(event)) for event in events[:2]),
        Outgoing(topic, as_json(events[2] | {"latency_ms": -1})),
        Outgoing(topic, as_json(events[2])[:200]),
        Outgoing(topic, b"not JSON", user.encode()),
    ]


def holds(environment: Environment, text: str) -> list[str]:
    """Return the tables in which a column contains this text, as text or as bytes."""
    tables = environment.query("SELECT format('%I', relname) AS name FROM pg_class WHERE relkind IN ('r', 'p')"
                               " AND relnamespace = 'public'::regnamespace")  # fmt: skip
    found = "t::text LIKE '%%' || %s || '%%' OR t::text LIKE '%%' || %s || '%%'"
    return [
        row["name"]
        for row in tables
        if environment.value(f"SELECT count(*) FROM {row['name']} AS t WHERE {found}", text, text.encode().hex())
    ]


def test_commands_and_sql_print_the_same_id(offline: Environment) -> None:
    """Other libraries compute the same UUID. A UUID is not changed, and needs no namespace."""
    assert offline.run("id", "user", ALICE).stdout.strip() == str(uuid5(NAMESPACE, f"user:{ALICE}"))
    session = offline.run_json("id", "session", ALICE)
    assert session == {"of": "session", "id": str(uuid5(NAMESPACE, f"session:{ALICE}")), "namespace": str(NAMESPACE)}
    for length in (1, 30, 31, 40, 55, 56, 64, 103, 104, 120, 500, 1024):
        key = ("é|" * length)[:length]
        row = offline.query(
            "SELECT user_id_of(%s, %s) AS u, session_id_of(%s, %s) AS s", NAMESPACE, key, NAMESPACE, key
        )
        assert tuple(row[0].values()) == (uuid5(NAMESPACE, f"user:{key}"), uuid5(NAMESPACE, f"session:{key}"))
    assert offline.value("SELECT user_id_of(%s, %s)", NAMESPACE, NAMESPACE.hex.upper()) == NAMESPACE
    assert offline.query(
        "SELECT user_id_of(%s, '') AS a, user_id_of(%s, repeat('x', 1025)) AS b", *[NAMESPACE] * 2
    ) == [{"a": None, "b": None}]
    assert offline.run("id", "user", "").returncode == 2
    del offline.variables["RAGLEDGER_IDS__NAMESPACE"]
    assert offline.run("id", "user", NAMESPACE.hex).stdout.strip() == str(NAMESPACE)
    refused = offline.run("id", "user", ALICE)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "RAGLEDGER_IDS__NAMESPACE" in refused.stderr


def test_a_namespace_that_is_not_a_uuid_stops_the_start(offline: Environment) -> None:
    """The message has the setting's name, its value, and the allowed values."""
    offline.variables["RAGLEDGER_IDS__NAMESPACE"] = "people"
    done = offline.run("config", "check")
    assert done.returncode == 1
    assert "RAGLEDGER_IDS__NAMESPACE='people': " in done.stderr
    assert "UUID" in done.stderr


def test_an_erased_user_stays_erased_wherever_the_string_is(
    online: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Rows and dead letters are deleted, and another group reads the topic again: no table and no file contains the
    string.
    """
    topic = online.topics["dialogue"]
    send(bootstrap_servers, [*records_of(ALICE, topic), *records_of(BOB, topic)])
    piece = provenance(random.Random(1), acquired_by=ALICE)
    send(bootstrap_servers, [Outgoing(online.topics["provenance"], as_json(piece))])
    ingest(online, 11, tmp_path / "log")
    assert counts(online) == {"inserted": 5, "duplicates": 0, "dead": 6}
    alice, bob = (uuid5(NAMESPACE, f"user:{key}") for key in (ALICE, BOB))
    session = uuid5(NAMESPACE, f"session:{BOB}-s")
    assert online.value("SELECT count(*) FROM ai_dialogue_log WHERE user_id = %s", alice) == 2
    assert online.value("SELECT count(*) FROM ai_dialogue_log WHERE session_id = %s", session) == 2
    assert online.value("SELECT acquired_by FROM provenance") == alice
    assert holds(online, ALICE) == holds(online, BOB) == ["dead_letters"]
    receipts = tmp_path / "receipts"
    receipts.mkdir()
    done = online.run("erase", "--user-key", ALICE, "--receipt", str(receipts))
    assert done.returncode == 0, done.stderr
    files = [path.read_text() for path in receipts.iterdir()]
    assert len(files) == 2
    assert not any(name in text for text in (*files, done.stdout, done.stderr) for name in (ALICE, "lice", str(alice)))
    assert online.value("SELECT count(*) FROM dead_letters WHERE reason = 'erased_user'") == 3
    assert online.value("SELECT acquired_by FROM provenance") is None
    online.group = online.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{online.group}-again"
    ingest(online, 22, tmp_path / "log")
    assert holds(online, ALICE) == []
    assert holds(online, str(alice)) == []
    assert online.value("SELECT count(*) FROM ai_dialogue_log WHERE user_id = %s", bob) == 2
    assert online.value("SELECT count(*) FROM dead_letters WHERE value IS NOT NULL") == 3
    assert ALICE not in (tmp_path / "log").read_text()


def test_a_replay_accepts_strings_with_a_namespace_and_leaves_out_erased_users(
    offline: Environment, tmp_path: Path
) -> None:
    """A service without a namespace has left dead letters. With a namespace they become rows, except those of erased
    users.
    """
    values = [as_json(small_dialogue(random.Random(n), user_id=user)) for n, user in enumerate((ALICE, BOB))]
    offline.variables["RAGLEDGER_TOPICS__DIALOGUE"] = "rag.dialogue"
    add_letters(offline.dsn, [(None, value, []) for value in values])
    namespace = offline.variables.pop("RAGLEDGER_IDS__NAMESPACE")
    assert offline.run_json("dead-letters", "replay")["failed"] == 2
    (reason,) = {row["detail"]["message"] for row in offline.query("SELECT detail FROM dead_letters")}
    assert reason.startswith("user_id: must be a UUID such as ")
    assert "RAGLEDGER_IDS__NAMESPACE" in reason
    findings = offline.run_json("doctor")["findings"]
    assert any("RAGLEDGER_IDS__NAMESPACE" in str(finding["fix"]) for finding in findings)
    offline.variables["RAGLEDGER_IDS__NAMESPACE"] = namespace
    assert offline.run("erase", "--user-key", ALICE, "--receipt", str(tmp_path)).returncode == 0
    assert offline.run_json("dead-letters", "replay")["inserted"] == 1
    assert holds(offline, ALICE) == holds(offline, BOB)[:0]
    assert offline.value("SELECT user_id FROM ai_dialogue_log") == uuid5(NAMESPACE, f"user:{BOB}")


def test_under_another_namespace_nothing_is_written_after_an_erasure(offline: Environment, tmp_path: Path) -> None:
    """Another namespace would not recognise the erased user. An erasure before the first namespace does not restrict
    the choice.
    """
    namespace = offline.variables.pop("RAGLEDGER_IDS__NAMESPACE")
    offline.variables["RAGLEDGER_TOPICS__DIALOGUE"] = "rag.dialogue"
    first = offline.run("erase", "--user", str(uuid5(NAMESPACE, "x")), "--receipt", str(tmp_path))
    assert first.returncode == 0, first.stderr
    offline.variables["RAGLEDGER_IDS__NAMESPACE"] = namespace
    assert offline.run("erase", "--user-key", ALICE, "--receipt", str(tmp_path)).returncode == 0
    add_letters(offline.dsn, [(None, as_json(small_dialogue(random.Random(1), user_id=ALICE)), [])])
    for other in ("", str(uuid5(NAMESPACE, "other"))):
        offline.variables["RAGLEDGER_IDS__NAMESPACE"] = other
        for command in (["dead-letters", "replay"], ["erase", "--user", str(NAMESPACE), "--receipt", str(tmp_path)]):
            refused = offline.run(*command)
            assert refused.returncode == 1, command
            assert "another RAGLEDGER_IDS__NAMESPACE" in refused.stderr.replace("\n", " ")
    offline.variables["RAGLEDGER_IDS__NAMESPACE"] = namespace
    assert offline.run_json("dead-letters", "replay")["erased"] == 1


@pytest.mark.parametrize(
    "options",
    [[], ["--user", str(NAMESPACE), "--user-key", "x"], ["--user-key", ""], ["--user-key", str(UUID(int=0))]],
)
def test_exactly_one_user_must_be_given(offline: Environment, tmp_path: Path, options: list[str]) -> None:
    """No user, two users, or an empty id is wrong use, and no user is remembered."""
    assert offline.run("erase", *options, "--receipt", str(tmp_path)).returncode == 2
    assert offline.value("SELECT count(*) FROM erased_users") == 0


def test_the_migration_creates_and_removes_the_functions(offline: Environment) -> None:
    """Every role may call them, because they only compute."""
    assert offline.run("migrate", "verify").returncode == 0
    assert offline.run("migrate", "down", "--to", "20").returncode == 0
    with pytest.raises(psycopg.errors.UndefinedFunction):
        offline.value("SELECT user_id_of(%s, 'x')", NAMESPACE)
    assert offline.run("migrate", "up").returncode == 0
    assert offline.value("SELECT user_id_of(%s, 'x')", NAMESPACE) == uuid5(NAMESPACE, "user:x")


def test_without_a_namespace_string_ids_of_traces_are_erased_too(offline: Environment, tmp_path: Path) -> None:
    """Traces have their own namespace. After an erasure, no other one is accepted."""
    namespace, erase = offline.variables.pop("RAGLEDGER_IDS__NAMESPACE"), ("erase", "--user-key", ALICE)
    assert "RAGLEDGER_IDS__NAMESPACE is not set" in offline.run(*erase).stderr
    offline.variables["RAGLEDGER_TOPICS__OTLP_SPANS"] = "spans"
    found = UUID(offline.run("id", "user", ALICE).stdout.strip())
    assert found == Folding().user_of(ALICE)
    assert offline.run(*erase, "--receipt", str(tmp_path)).returncode == 0
    del offline.variables["RAGLEDGER_TOPICS__OTLP_SPANS"]
    assert offline.run("erase", "--user", str(found), "--receipt", str(tmp_path)).returncode == 0
    offline.variables["RAGLEDGER_IDS__NAMESPACE"] = namespace
    refused = offline.run(*erase, "--receipt", str(tmp_path))
    assert (refused.returncode, "another RAGLEDGER_IDS__NAMESPACE" in refused.stderr.replace("\n", " ")) == (1, True)
