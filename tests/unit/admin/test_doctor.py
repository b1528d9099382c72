"""Tests the checks of the doctor with facts that no real server gives."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from consumer.admin.doctor import books, connection, kafka, server_settings, statements, storage
from consumer.admin.doctor.findings import Finding, Severity, report
from consumer.events.record import Partition
from consumer.ingest.ports import Bounds
from consumer.kafka.admin import KafkaFacts, Topic
from consumer.kafka.group import GroupMember
from consumer.kafka.producers import OpenTransaction
from consumer.settings.model import Settings
from consumer.settings.servers import Kafka, Postgres, SecurityProtocol

WEEK = 7 * 24 * kafka.HOUR_MS


def severities(found: Iterator[Finding] | list[Finding]) -> list[str]:
    return [finding.severity.value for finding in found]


def test_the_worst_finding_comes_first_and_only_errors_fail() -> None:
    """Otherwise the order of the checks is kept. A warning does not fail the report."""
    names = [("a", Severity.OK), ("b", Severity.WARNING), ("c", Severity.ERROR), ("d", Severity.WARNING)]
    made = report([Finding(name, severity, "") for name, severity in names])
    assert [finding.check for finding in made.findings] == ["c", "b", "d", "a"]
    assert not made.holds
    assert report([Finding("b", Severity.WARNING, "")]).holds


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("servers", "protocol", "wanted"),
    [
        ("localhost:9092, 127.0.0.1:9093", SecurityProtocol.PLAINTEXT, []),
        ("kafka.example:9092", SecurityProtocol.PLAINTEXT, ["warning"]),
        ("localhost:9092,kafka.example:9092", SecurityProtocol.SASL_PLAINTEXT, ["warning"]),
        ("kafka.example:9092", SecurityProtocol.SASL_SSL, []),
    ],
)
def test_unencrypted_records(servers: str, protocol: SecurityProtocol, wanted: list[str]) -> None:
    """Unencrypted connections are fine on the same machine; to another machine they are a warning."""
    password = SecretStr("secret")
    settings = Kafka(bootstrap_servers=servers, security_protocol=protocol, sasl_username="u", sasl_password=password)
    assert severities(kafka._security(settings)) == wanted


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        (Topic(6, 3, WEEK, "delete"), ["ok"]),
        (Topic(6, 3, -1, "delete"), ["ok"]),
        (Topic(6, 1, WEEK, "delete"), ["note", "ok"]),
        (Topic(6, 3, kafka.HOUR_MS, "delete"), ["warning"]),
        (Topic(6, 3, WEEK, "compact"), ["warning"]),
        (Topic(6, 3, kafka.HOUR_MS, "compact,delete"), ["warning", "warning"]),
        (Topic(6, 3, None, None), ["note", "ok"]),
    ],
)
def test_a_topic_keeps_its_records_for_as_long_as_an_outage_may_last(topic: Topic, wanted: list[str]) -> None:
    """A topic is fine if records stay for a weekend, are not compacted, and have more than one copy."""
    assert severities(kafka._topic("rag.dialogue", topic, "localhost:9092")) == wanted


@pytest.mark.parametrize(("members", "wanted"), [(None, "note"), (0, "note"), (1, "ok"), (2, "ok"), (3, "warning")])
def test_no_more_replicas_than_partitions(members: int | None, wanted: str) -> None:
    """A replica that has no partition is reported."""
    assert kafka._replicas(KafkaFacts({"t": Topic(2, 1)}, members, 1), "g").severity == wanted


def test_group_members_that_are_other_programs() -> None:
    """They are named and do not count as replicas. With the new protocol they are an error."""
    old = GroupMember("rdkafka", "/10.0.0.1", frozenset({"rag.dialogue"}), "classic")
    new = GroupMember("rdkafka", "/10.0.0.2", None, "consumer")
    facts = KafkaFacts({"t": Topic(4, 1)}, 2, 1, (), [old, new])
    found = list(kafka._strangers(Settings(), facts))
    assert [(one.severity, one.check) for one in found] == [
        ("warning", "group ragledger"),
        ("error", "group ragledger"),
    ]
    assert "client rdkafka at 10.0.0.1 (protocol classic, subscribes to rag.dialogue)" in found[0].found
    assert "no replica of group g is running" in kafka._replicas(facts, "g").found
    with_ours = kafka._replicas(replace(facts, members=3), "g")
    assert with_ours.found == "1 replicas for 4 partitions, which other programs (2) share"


@pytest.mark.parametrize(
    ("client_id", "topics", "protocol", "is_ours"),
    [
        ("ragledger", {"elsewhere"}, "classic", True),
        ("aiokafka-0.14.0", {"rag.dialogue"}, "classic", True),
        ("aiokafka-0.14.0", {"rag.dialogue", "elsewhere"}, "classic", False),
        ("aiokafka-0.14.0", {"rag.dialogue"}, "consumer", False),
        ("aiokafka-0.14.0", None, "classic", False),
        ("rdkafka", {"rag.dialogue"}, "classic", False),
    ],
)
def test_a_replica_of_an_earlier_version_is_not_another_program(
    client_id: str, topics: set[str] | None, protocol: str, is_ours: bool
) -> None:
    """Otherwise no new replica would become ready before the last old one has stopped."""
    member = GroupMember(client_id, "/h", None if topics is None else frozenset(topics), protocol)
    assert member.is_ours(["rag.dialogue", "rag.plugin"]) is is_ours


@pytest.mark.parametrize(
    ("transaction", "severity"),
    [(None, "warning"), (OpenTransaction(7, 12, 990_000), "note"), (OpenTransaction(7, 12, 900_000), "error")],
)
def test_records_behind_an_open_transaction(transaction: OpenTransaction | None, severity: str) -> None:
    """Only an abandoned transaction is an error. An unknown one is a warning."""
    place = Partition("rag.dialogue", 3)
    open_now = {} if transaction is None else {place: transaction}
    bounds = {place: Bounds(0, 12, held_back=5), Partition("rag.plugin", 0): Bounds(0, 12)}
    (found,) = kafka.check_transactions(Settings(), bounds, open_now, 1000.0)
    assert (found.severity, "5 records of rag.dialogue/3 wait" in found.found) == (severity, True)
    assert "--topic rag.dialogue --partition 3" in (found.fix or "")
    assert ("--start-offset 12" in (found.fix or "")) is (severity == "error")


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("version", "wanted"), [(140_011, "error"), (150_000, "ok"), (180_006, "ok"), (190_000, "warning")]
)
def test_versions(version: int, wanted: str) -> None:
    """A version that is too old is an error; one that is too new is a warning."""
    row = {"version_number": version, "version": "", "database": "", "role": ""}
    assert severities(connection._version(row)) == [wanted]


def test_a_database_that_accepts_no_writes() -> None:
    """It is a standby, or the transactions of the role are read-only."""
    writable = {"is_standby": False, "is_read_only": False, "role": "r"}
    assert severities(connection._writable(writable)) == []
    assert severities(connection._writable(writable | {"is_standby": True, "is_read_only": True})) == ["error"]
    assert severities(connection._writable(writable | {"is_read_only": True})) == ["error"]


@pytest.mark.parametrize(
    ("dsn", "variable", "wanted"),
    [
        ("postgresql://localhost/d", "", "ok"),
        ("postgresql://u@127.0.0.1/d", "", "ok"),
        ("postgresql:///d", "", "ok"),
        ("postgresql://db.example/d", "", "warning"),
        ("postgresql://db.example/d?sslmode=require", "", "warning"),
        ("postgresql://db.example/d?sslrootcert=system", "", "ok"),
        ("postgresql://db.example/d?sslrootcert=system", "verify-full", "ok"),
    ],
)
def test_a_remote_server_should_be_verified(
    monkeypatch: pytest.MonkeyPatch, dsn: str, variable: str, wanted: str
) -> None:
    """The DSN or libpq's variable says whether it is."""
    monkeypatch.setenv("PGSSLMODE", variable) if variable else monkeypatch.delenv("PGSSLMODE", raising=False)
    context: Any = SimpleNamespace(settings=SimpleNamespace(postgres=Postgres(dsn=SecretStr(dsn))))
    assert severities(connection._tls(context)) == [wanted]


def limits(found: dict[str, str], **ours: float) -> list[str]:
    settings = Settings(postgres=Postgres(**ours))
    context: Any = SimpleNamespace(settings=settings, role="r")
    return severities(server_settings._limits({"statement_timeout": "0", **found}, context))


def test_time_limits() -> None:
    """A server limit that is shorter than a batch may take, and our own limits in the wrong order, are reported."""
    assert limits({}) == []
    assert limits({"transaction_timeout": "5000"}) == ["warning"]
    assert limits({"transaction_timeout": "90000"}) == []
    assert limits({"statement_timeout": "5000"}) == ["note"]
    assert limits({}, lock_timeout_s=60, statement_timeout_s=60) == ["warning"]


# ── books ────────────────────────────────────────────────────────────────────────────────────────────────────────────

HERE = Partition("rag.dialogue", 0)
NOT_STOPPED = dict.fromkeys(("resume_from", "unreadable_from", "unreadable_until", "diverges_at"))


def ledger_row(**changes: Any) -> dict[str, Any]:
    stands = {
        "next_offset": 10,
        "epoch": 1,
        "topic_id": None,
        "leader_epoch": 3,
        "stopped_because": None,
        "holds": True,
        **NOT_STOPPED,
    }
    return {**HERE._asdict(), **stands, "owner": "host:1", "idle_seconds": 0.0, **changes}


def test_a_stopped_partition_gets_the_command_that_settles_it() -> None:
    """It does not matter whether a replica has recorded the stop or doctor finds it first."""
    found = [
        *books._stopped([ledger_row()], {HERE: Bounds(12, 20)}, {}),
        *books._stopped([ledger_row()], {HERE: Bounds(0, 5)}, {}),
        *books._stopped([ledger_row()], {HERE: Bounds(0, 20)}, {HERE: 7}),
        *books._stopped(
            [ledger_row(stopped_because="too many dead letters", resume_from="here")], {HERE: Bounds(0, 10)}, {}
        ),
    ]
    said = (
        "2 offsets were deleted by retention",
        "the topic was deleted and recreated",
        "up to offset 10, but its log contains the read records only up to offset 7",
        "too many dead letters",
    )
    for finding, problem, where in zip(found, said, ("earliest", "earliest", "7", "here"), strict=True):
        assert problem in finding.found
        assert f"ragledger ledger resume --topic rag.dialogue --partition 0 --from {where}" in str(finding.fix)
    assert list(books._stopped([ledger_row()], {HERE: Bounds(0, 10)}, {HERE: 10})) == []
    assert list(books._stopped([ledger_row()], {}, {})) == []


@pytest.mark.parametrize(
    ("rows", "bounds", "wanted"),
    [
        ([], Bounds(0, 0), 0),
        ([], Bounds(5, 6), 1),
        ([ledger_row()], Bounds(0, 10), 0),
        ([ledger_row()], Bounds(0, 11), 0),
        ([ledger_row(idle_seconds=3600.0)], Bounds(0, 10), 0),
        ([ledger_row(idle_seconds=3600.0)], Bounds(0, 11), 1),
    ],
)
def test_waiting_records_that_no_replica_writes(rows: list[dict[str, Any]], bounds: Bounds, wanted: int) -> None:
    """A short wait is fine, and so is an idle partition without waiting records."""
    assert len(list(books._unread(rows, {HERE: bounds}))) == wanted


def test_days_in_the_future() -> None:
    """They come from a clock that is ahead."""
    row = {"waiting": 0, "newest": date(2026, 2, 1), "today": date(2026, 1, 31)}
    assert severities(books._future(row)) == ["warning"]
    assert severities(books._future(row | {"newest": row["today"]})) == []
    assert severities(books._future(row | {"newest": None})) == []


# ── storage ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("a_day", "size", "slowest", "wanted"),
    [
        (100_000, 50 << 30, 500.0, 0),
        (100_001, 0, None, 1),
        (0, (50 << 30) + 1, None, 1),
        (0, 0, 501.0, 1),
        (10**6, 10**12, 9000.0, 3),
    ],
)
def test_when_to_partition(a_day: int, size: int, slowest: float | None, wanted: int) -> None:
    """More than 100,000 dialogues a day, 50 GB, or a 95th percentile of half a second."""
    assert len(storage.reasons_to_partition(a_day, size, slowest)) == wanted


def table(**changes: Any) -> dict[str, Any]:
    return {"name": "t", "dead": 0, "live": 0, "analyzed": True, "transaction_age": 1, **changes}


def test_vacuum() -> None:
    """Many dead rows, rows without statistics, or old transaction ids are reported, but not for small tables."""
    assert severities(storage._vacuum([table()])) == []
    assert severities(storage._vacuum([table(dead=20_000, live=50_000)])) == ["warning"]
    assert severities(storage._vacuum([table(dead=20_000, live=500_000)])) == []
    assert severities(storage._vacuum([table(live=20_000, analyzed=False)])) == ["warning"]
    assert severities(storage._vacuum([table(live=20, analyzed=False, transaction_age=None)])) == []
    assert severities(storage._vacuum([table(transaction_age=1_500_000_000)])) == ["error"]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (8192, "8.0 kB"), (53 << 30, "53 GB"), (5 << 50, "5120 TB")]
)
def test_sizes(size: int, text: str) -> None:
    """Sizes are written for people."""
    assert storage._size(size) == text


def test_statements_close_to_their_limit() -> None:
    """A statement is reported if its 95th percentile is over half of the limit."""
    one = {"statement": "SELECT 1", "p95_ms": 31_000.0}
    assert severities(statements._slow([one], 60)) == ["warning"]
    assert severities(statements._slow([one], 90)) == []


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT id FROM provenance WHERE source_uri = $1", "SELECT id FROM provenance WHERE source_uri = $1"),
        (
            "COPY (SELECT id FROM t WHERE query = 'Zq7K''s') TO STDOUT",
            "COPY (SELECT id FROM t WHERE query = …) TO STDOUT",
        ),
        ("SELECT $a$Zq7K$a$, $$Zq7K$$, 1", "SELECT …, …, 1"),
        ("SELECT 1 /* Zq7K */ + 2", "SELECT 1 … + 2"),
        ("SELECT 'Zq7K that has no end", "SELECT …"),
        ("SELECT 1 /* Zq7K", "SELECT 1 …"),
        (f"SELECT {'1, ' * 40}'Zq7K'", f"SELECT {'1, ' * 40}"[: statements.LONGEST]),
    ],
)
def test_statements_are_shown_without_values(statement: str, shown: str) -> None:
    """PostgreSQL keeps the constants of some statements, and comments; they may be text of events."""
    one = {"statement": statement, "p95_ms": 31_000.0, "total_ms": 1.0, "calls": 1, "mean_ms": 1.0}
    for finding in (*statements._slow([one], 60), *statements._shown([one])):
        assert finding.found.endswith(f": {shown}")
