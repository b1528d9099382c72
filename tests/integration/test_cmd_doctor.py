"""Tests `ragledger doctor`: it finds no problem in a healthy installation, and reports each problem with its fix."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from consumer.admin.doctor.server_settings import RELOAD
from consumer.admin.migrate.roles import INGEST
from consumer.devstack import EmbeddedError, PostgresServer, Workspace
from consumer.settings.model import Topics as Names
from tests.support.ingestion import dialogues, send
from tests.support.psql import ONE_DIALOGUE, execute, rows
from tests.support.roles import login, name_of
from tests.support.service import Environment, eventually
from tests.support.stack import Servers, Topics, fresh_database

pytestmark = pytest.mark.timeout(120)

MANY = 12_000
HEALTHY = {"log_error_verbosity": "terse", "max_connections": "60"}
LZ4 = {"default_toast_compression": "lz4"}  # Debian's PostgreSQL has it, the bundled one does not


class Installation(NamedTuple):
    """A durable server, the name of a migrated database on it, and topics."""

    server: PostgresServer
    template: str
    topics: dict[str, str]


class CheckedDatabase(NamedTuple):
    """A database with the DSN of its owner, and the settings of a service that may write to it."""

    owner: str
    environment: Environment

    @property
    def role(self) -> str:
        return name_of(self.environment.dsn)

    @property
    def database(self) -> str:
        return urlsplit(self.owner).path.removeprefix("/")

    def findings(self, code: int | None = None) -> list[dict[str, Any]]:
        """Return the findings of the doctor; `code` is the expected exit code."""
        done = self.environment.run("doctor", "--json")
        assert done.stdout, done.stderr
        assert code is None or done.returncode == code, done.stdout
        found = json.loads(done.stdout)
        assert found["ok"] is (done.returncode == 0)
        return list(found["findings"])


def of(findings: list[dict[str, Any]], check: str, severity: str | None = None) -> list[dict[str, Any]]:
    """Return the findings of one check."""
    return [one for one in findings if one["check"] == check and severity in (None, one["severity"])]


@contextmanager
def installation_on(stack: Servers, version: int) -> Iterator[Installation]:
    """Start a server for this file with settings as in production, which other tests turn off."""
    topics = Topics(stack.bootstrap_servers)
    with Workspace() as workspace, ExitStack() as made:
        try:
            server = PostgresServer(workspace, version=version, settings=HEALTHY | (LZ4 if version < 18 else {}))
        except EmbeddedError as error:
            pytest.skip(str(error))
        server.start()
        made.callback(server.stop)
        made.callback(topics.delete_all)
        names = {kind: topics.create(1, prefix=kind) for kind in Names.model_fields if kind != "expired"}
        dsn = made.enter_context(fresh_database(server.dsn))
        assert Environment(dsn, "127.0.0.1:9", {}).run("migrate", "up").returncode == 0
        execute(dsn, "CREATE EXTENSION pg_stat_statements")
        yield Installation(server, urlsplit(dsn).path.removeprefix("/"), names)


@pytest.fixture(scope="module")
def newest(stack: Servers) -> Iterator[Installation]:
    """Return the newest PostgreSQL."""
    with installation_on(stack, 18) as made:
        yield made


@pytest.fixture(scope="module")
def oldest(stack: Servers) -> Iterator[Installation]:
    """Return the oldest PostgreSQL."""
    with installation_on(stack, 15) as made:
        yield made


def forget_checkpoints(dsn: str) -> None:
    """Reset the server's counters."""
    is_newer = rows(dsn, "SELECT to_regclass('pg_catalog.pg_stat_checkpointer') IS NOT NULL AS newer")[0]["newer"]
    execute(dsn, f"SELECT pg_stat_reset_shared('{'checkpointer' if is_newer else 'bgwriter'}')")


@contextmanager
def checked_database(installation: Installation, stack: Servers) -> Iterator[CheckedDatabase]:
    """Return a copy of the database, for a service that is a member of ragledger_ingest."""
    forget_checkpoints(installation.server.dsn)  # of databases that other tests have dropped
    with fresh_database(installation.server.dsn, installation.template) as owner, login(owner, INGEST) as service:
        yield CheckedDatabase(owner, Environment(service, stack.bootstrap_servers, installation.topics))


@pytest.fixture
def target(newest: Installation, stack: Servers) -> Iterator[CheckedDatabase]:
    """Return a database on the newest version."""
    with checked_database(newest, stack) as made:
        yield made


@pytest.fixture(params=["newest", pytest.param("oldest", marks=pytest.mark.slow)])
def either(request: pytest.FixtureRequest, stack: Servers) -> Iterator[CheckedDatabase]:
    """Return a database on either version."""
    with checked_database(request.getfixturevalue(request.param), stack) as made:
        yield made


def test_a_healthy_installation(either: CheckedDatabase) -> None:
    """The exit code is 0, there is no error or warning, and every check has run."""
    found = either.findings(0)
    assert [one for one in found if one["severity"] in ("error", "warning")] == []
    looked_at = {one["check"] for one in found}
    assert looked_at >= {"kafka", "replicas", "postgresql", "postgresql tls", "connections", "settings", "migrations"}
    assert looked_at >= {"copy", "ledger", "dead letters", "roll-up", "tables", "partitions", "indexes"}
    assert all(one["fix"] for one in found if one["severity"] == "error")


def test_the_output_for_people(target: CheckedDatabase) -> None:
    """A table, then the fixes in lines that can be copied, then a summary."""
    execute(target.owner, "DROP INDEX idx_plugin_enabled")
    done = target.environment.run("doctor")
    assert done.returncode == 3
    assert "MUST  index idx_plugin_enabled" in done.stdout
    assert "  MUST  index idx_plugin_enabled: run `ragledger migrate up`" in done.stdout
    assert "1 findings must be fixed." in done.stdout


def open_dead_letter(target: CheckedDatabase) -> None:
    execute(
        target.owner,
        "INSERT INTO dead_letters (topic, partition, record_offset, record_timestamp, reason, discarded_at)"
        " VALUES ('t', 0, 1, now(), 'not_json', NULL), ('t', 0, 2, now(), 'tombstone', now())",
    )


def ledger_row(target: CheckedDatabase, next_offset: int, idle: str = "0 s") -> None:
    execute(
        target.owner,
        "INSERT INTO ingest_ledger (consumer_group, topic, partition, start_offset, next_offset, inserted, owner,"
        f" updated_at) VALUES ('{target.environment.group}', '{target.environment.topics['dialogue']}', 0, 0,"
        f" {next_offset}, {next_offset}, 'host:1', now() - interval '{idle}')",
    )


def hide_rows(target: CheckedDatabase) -> None:
    execute(target.owner, "DROP POLICY ai_dialogue_ingest ON ai_dialogue_log")


def unbalanced(target: CheckedDatabase) -> None:
    execute(target.owner, "ALTER TABLE ingest_ledger DROP CONSTRAINT ingest_ledger_balanced")
    ledger_row(target, 0)
    execute(target.owner, "UPDATE ingest_ledger SET inserted = 1")


def invalid_index(target: CheckedDatabase) -> None:
    execute(target.owner, *["INSERT INTO plugin_registry VALUES (DEFAULT, gen_random_uuid(), 's', '{}', '1')"] * 2)
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(target.owner, "CREATE UNIQUE INDEX CONCURRENTLY unfinished ON plugin_registry (source)")


def sql(*statements: str) -> Callable[[CheckedDatabase], None]:
    """Run statements as the owner; `{role}` and `{database}` are those of the database."""
    return lambda target: execute(
        target.owner, *(one.format(role=target.role, database=target.database) for one in statements)
    )


# The defect, the check that finds it, the severity, the finding, and the fix.
CASES: list[tuple[Callable[[CheckedDatabase], None], str, str, str, str]] = [
    (
        sql("DELETE FROM schema_migrations WHERE version = 6"),
        "migrations",
        "error",
        "0006_widen",
        "ragledger migrate up",
    ),
    (sql("UPDATE schema_migrations SET checksum = 'x'"), "migrations", "error", "not the one", "ragledger migrate up"),
    (
        sql("INSERT INTO schema_migrations VALUES (9999, '9999_later', 'x', now(), 'o', 1)"),
        "migrations",
        "warning",
        "9999_later",
        "newest ragledger",
    ),
    (sql("DROP INDEX idx_plugin_enabled"), "index idx_plugin_enabled", "error", "missing", "ragledger migrate up"),
    (invalid_index, "index unfinished", "warning", "invalid", "DROP INDEX CONCURRENTLY unfinished"),
    (sql("DROP TABLE touched_days"), "tables", "error", "missing: touched_days", "ragledger migrate up"),
    (
        sql("REVOKE ragledger_ingest FROM {role}"),
        "privileges",
        "error",
        "lacks INSERT on ai_dialogue_log",
        "GRANT ragledger_ingest TO {role}",
    ),
    (
        sql("REVOKE INSERT ON dead_letters FROM ragledger_ingest"),
        "privileges",
        "error",
        "{role} lacks INSERT on dead_letters",
        "GRANT INSERT ON dead_letters TO {role}",
    ),
    (
        sql("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, ragledger_ingest"),
        "privileges",
        "error",
        "temporary tables",
        "GRANT TEMPORARY ON DATABASE {database} TO {role}",
    ),
    (sql("GRANT ragledger_owner TO {role}"), "privileges", "warning", "owns the tables", "GRANT ragledger_ingest TO"),
    (sql("ALTER ROLE {role} SUPERUSER"), "privileges", "warning", "is a superuser", "GRANT ragledger_ingest TO"),
    (sql("ALTER ROLE {role} CREATEDB"), "privileges", "warning", "may create roles", "ALTER ROLE {role} NOCREATEROLE"),
    (
        sql("GRANT DELETE ON provenance TO {role}"),
        "privileges",
        "warning",
        "unneeded privileges: DELETE on provenance",
        "REVOKE DELETE ON provenance FROM {role}",
    ),
    (
        hide_rows,
        "row security",
        "error",
        "hides rows of ai_dialogue_log",
        "CREATE POLICY {role}_reaches_all ON ai_dialogue_log",
    ),
    (sql(), "copy", "note", "row-level security applies", "ALTER ROLE {role} BYPASSRLS"),
    (sql("ALTER ROLE {role} BYPASSRLS"), "copy", "ok", "rows are written with COPY", ""),
    (
        sql("ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'"),
        "time zone",
        "warning",
        "sessions use Asia/Tokyo",
        "ALTER DATABASE {database} SET timezone = 'UTC'",
    ),
    (
        sql("ALTER DATABASE {database} SET synchronous_commit = off"),
        "synchronous_commit",
        "warning",
        "read again from Kafka",
        "ALTER SYSTEM SET synchronous_commit = on",
    ),
    (
        sql("ALTER DATABASE {database} SET default_transaction_read_only = on"),
        "read-only",
        "error",
        "read-only by default",
        "ALTER ROLE {role} SET default_transaction_read_only = off",
    ),
    (sql("ALTER DATABASE {database} SET statement_timeout = '5s'"), "statement_timeout", "note", "5 s", ""),
    (
        sql("ALTER DATABASE {database} SET transaction_timeout = '30s'"),
        "transaction_timeout",
        "warning",
        "30 s ends every longer transaction",
        "ALTER ROLE {role} SET transaction_timeout = 0",
    ),
    (
        sql("ALTER ROLE {role} CONNECTION LIMIT 3"),
        "connections",
        "error",
        "limited to 3",
        "ALTER ROLE {role} CONNECTION LIMIT 10",
    ),
    (
        sql("ALTER DATABASE {database} CONNECTION LIMIT 4"),
        "connections",
        "error",
        "limited to 4",
        "ALTER DATABASE {database} CONNECTION LIMIT 10",
    ),
    (unbalanced, "ledger", "error", "does not add up", "ragledger migrate verify"),
    (
        lambda target: ledger_row(target, 10),
        "ledger",
        "error",
        "the topic was deleted and recreated",
        "ragledger ledger resume",
    ),
    (
        sql(
            "INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at, applied_at, sqlstate)"
            " VALUES (gen_random_uuid(), 1, now(), now(), '53100'), (gen_random_uuid(), 1, now(), now(), NULL)"
        ),
        "amendments",
        "error",
        "1 of kept_feedback were refused with SQLSTATE 53100",
        "UPDATE kept_feedback SET applied_at = NULL, sqlstate = NULL WHERE sqlstate = '53100'",
    ),
    (open_dead_letter, "dead letters", "error", "1 open with the reason not_json", "replay --reason not_json"),
    (
        sql("INSERT INTO touched_days (day, touched_at) VALUES ('2026-01-31', now() - interval '1 hour')"),
        "roll-up",
        "error",
        "1 days have waited for 60 minutes",
        "ragledger rollup --day 2026-01-31",
    ),
    (
        sql("INSERT INTO rag_metrics_history (date) VALUES (current_date + 3)"),
        "roll-up",
        "warning",
        "a producer's clock is ahead",
        "SELECT id, created_at FROM ai_dialogue_log",
    ),
    (
        sql("INSERT INTO rag_metrics_history (date, total_dialogues) VALUES (current_date - 2, 250000)"),
        "partitions",
        "warning",
        "partitioning is due: 250,000 dialogues a day",
        "ragledger partition plan",
    ),
    (
        sql("DROP EXTENSION pg_stat_statements"),
        "statements",
        "note",
        "not installed",
        "CREATE EXTENSION pg_stat_statements",
    ),
]


@pytest.mark.parametrize(("damage", "check", "severity", "says", "fix"), CASES, ids=[f"{c[1]}: {c[3]}" for c in CASES])
def test_each_defect_is_found(
    target: CheckedDatabase, damage: Callable[[CheckedDatabase], None], check: str, severity: str, says: str, fix: str
) -> None:
    """The finding has its severity, its text and the exact command or statement. The exit code is 3 only for errors."""
    damage(target)
    found = target.findings(3 if severity == "error" else 0)
    names = {"role": target.role, "database": target.database}
    assert [
        one
        for one in of(found, check, severity)
        if says.format(**names) in one["found"] and fix.format(**names) in (one["fix"] or "")
    ], of(found, check)


def test_the_fix_of_a_finding_works(target: CheckedDatabase) -> None:
    """The printed fix, run as it is, removes the finding."""
    execute(
        target.owner,
        f"REVOKE {INGEST} FROM {target.role}",
        f"ALTER ROLE {target.role} CONNECTION LIMIT 3",
        f"ALTER DATABASE {target.database} SET timezone = 'Asia/Tokyo'",
        f"GRANT DELETE ON provenance TO {target.role}",
    )
    ledger_row(target, 10)
    apply_fixes(target)  # objects that the role may not read are reported after it has its rights
    apply_fixes(target)
    assert [one for one in target.findings(0) if one["severity"] in ("error", "warning")] == []


def apply_fixes(target: CheckedDatabase) -> None:
    """Run every statement and command of the fixes."""
    for fix in {one["fix"] for one in target.findings(3) if one["severity"] in ("error", "warning")}:
        program, *arguments = fix.removeprefix("once you know what was lost: ").split()
        if program == "ragledger":
            done = target.environment.run(*arguments)
            assert done.returncode == 0, done.stderr
        else:
            execute(target.owner, *fix.split("; "))


# ── tables and statistics ────────────────────────────────────────────────────────────────────────────────────────────


def test_dead_rows_missing_statistics_and_unused_indexes(either: CheckedDatabase) -> None:
    """Each is reported by its table; unique indexes and small tables are not."""
    execute(
        either.owner,
        "ALTER TABLE touched_days SET (autovacuum_enabled = off)",
        "ALTER TABLE ai_dialogue_log SET (autovacuum_enabled = off)",
        f"INSERT INTO touched_days (day) SELECT current_date FROM generate_series(1, {MANY})",
        f"DELETE FROM touched_days WHERE id < {MANY}",
        f"{ONE_DIALOGUE.replace('VALUES (', 'SELECT ').rstrip().removesuffix(')')} FROM generate_series(1, {MANY})",
    )
    found = eventually(lambda: has_statistics(either), message="statistics exist")
    assert [one["found"].split()[0] for one in of(found, "vacuum")] == ["touched_days"]
    assert "VACUUM (ANALYZE) touched_days" in of(found, "vacuum")[0]["fix"]
    assert [one["fix"] for one in of(found, "statistics")] == ["ANALYZE ai_dialogue_log"]
    unused = {one["found"].split()[0] for one in of(found, "indexes", "note")}
    assert unused == {
        "idx_ai_dialogue_user",
        "idx_ai_dialogue_session",
        "idx_ai_dialogue_created_at",
        "idx_ai_dialogue_citation_rate",
        "idx_ai_dialogue_user_created",
    }
    assert all("DROP INDEX CONCURRENTLY public.idx_ai" in one["fix"] for one in of(found, "indexes", "note"))


def has_statistics(target: CheckedDatabase) -> list[dict[str, Any]]:
    """Return the findings after PostgreSQL has counted."""
    both = "('touched_days', 'ai_dialogue_log')"
    counted = rows(
        target.owner, f"SELECT n_live_tup + n_dead_tup AS n FROM pg_stat_user_tables WHERE relname IN {both}"
    )
    return target.findings() if all(row["n"] > 10_000 for row in counted) else []


def test_the_slowest_statements_are_shown(either: CheckedDatabase) -> None:
    """Statements on our tables are shown without constants; a query that is often slow is a reason to partition."""
    with psycopg.connect(either.owner, autocommit=True) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")
        for _ in range(20):
            connection.execute("SELECT count(*), 'geheim', pg_sleep(0.05) FROM ai_dialogue_log")
        connection.execute(f"GRANT pg_read_all_stats TO {either.role}".encode())
    found = either.findings(0)
    shown = [one["found"] for one in of(found, "statements", "ok")]
    assert "20 calls" in shown[0]
    assert "FROM ai_dialogue_log" in shown[0]
    assert "geheim" not in json.dumps(found)


def test_checkpoints_that_are_forced(either: CheckedDatabase) -> None:
    """If more are forced by size than by time, the log is too small."""
    execute(either.owner, *["CHECKPOINT"] * 12)
    found = eventually(lambda: of(either.findings(), "checkpoints"), message="PostgreSQL has counted the checkpoints")
    assert found[0]["severity"] == "warning"
    assert "ALTER SYSTEM SET max_wal_size = '4096MB'" in found[0]["fix"]


def test_compression(oldest: Installation, stack: Servers) -> None:
    """pglz is reported if the server has lz4; the fix removes the finding."""
    names = ("default_toast_compression", "wal_compression")
    with checked_database(oldest, stack) as target:
        execute(target.owner, *(f"ALTER SYSTEM SET {name} = pglz" for name in names), RELOAD)
        try:
            found = eventually(lambda: of(target.findings(0), names[1]), message="the server has read the setting")
            found += of(target.findings(0), names[0])
            assert [one["severity"] for one in found] == ["note", "note"]
            execute(target.owner, *found[0]["fix"].split("; "), found[1]["fix"].partition(",")[0])
            eventually(lambda: not of(target.findings(0), names[1]), message="the server has read the setting again")
            assert not of(target.findings(0), names[0])
        finally:
            execute(target.owner, *(f"ALTER SYSTEM RESET {name}" for name in names), RELOAD)


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "autovacuum", "track_counts"])
def test_settings_that_must_be_on(target: CheckedDatabase, name: str) -> None:
    """If they are off, data or the server can be lost; the fix turns them on."""
    execute(target.owner, f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()")
    try:
        (found,) = eventually(lambda: of(target.findings(), name), message="the server has read its configuration")
        assert found["severity"] == "error"
    finally:
        execute(target.owner, *f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()".split("; "))
    assert found["fix"] == f"ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf()"


def test_more_connections_than_available(target: CheckedDatabase) -> None:
    """The pools of all replicas count."""
    target.environment.variables["RAGLEDGER_POSTGRES__POOL_SIZE"] = "100"
    (found,) = of(target.findings(3), "connections")
    assert "not enough: 100 for the service" in found["found"]
    target.environment.variables["RAGLEDGER_POSTGRES__PGBOUNCER"] = "true"
    assert of(target.findings(0), "connections")[0]["severity"] == "note"


# ── Kafka ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_topics_that_are_missing(target: CheckedDatabase) -> None:
    """They are reported with the command that creates them."""
    target.environment.variables["RAGLEDGER_TOPICS__DIALOGUE"] = "nowhere"
    (found,) = of(target.findings(3), "topic nowhere")
    assert "--create --topic nowhere" in found["fix"]
    assert found["fix"].endswith("--replication-factor 1")


def test_a_topic_with_a_short_retention(target: CheckedDatabase, bootstrap_servers: str) -> None:
    """Its retention is shorter than an outage may last; the fix is the command that changes it."""
    topic = target.environment.topics["dialogue"]
    set_retention(bootstrap_servers, topic, "3600000")
    try:
        (found,) = of(target.findings(0), f"topic {topic}", "warning")
    finally:
        set_retention(bootstrap_servers, topic, "604800000")
    assert "deleted after 1.0 hours" in found["found"]
    assert f"--entity-name {topic} --add-config retention.ms=604800000" in found["fix"]


def set_retention(bootstrap_servers: str, topic: str, milliseconds: str) -> None:
    change = ConfigEntry("retention.ms", milliseconds, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[change])
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for done in admin.incremental_alter_configs([resource]).values():
        done.result(30)


def test_records_that_no_replica_reads(target: CheckedDatabase, bootstrap_servers: str) -> None:
    """The partition is unclaimed, or claimed and abandoned."""
    topic = target.environment.topics["dialogue"]
    send(bootstrap_servers, (one._replace(partition=0) for one in dialogues(topic, 3, seed=1).values()))
    (found,) = of(target.findings(3), "ledger")
    assert f"records wait in {topic}/0" in found["found"]
    assert found["fix"].startswith("ragledger run")


@pytest.mark.slow
def test_more_replicas_than_partitions(target: CheckedDatabase, bootstrap_servers: str) -> None:
    """The members of the group are counted."""
    topics = list(target.environment.topics.values())
    members = [
        Consumer({"bootstrap.servers": bootstrap_servers, "group.id": target.environment.group})
        for _ in range(len(topics) + 1)
    ]
    try:
        for member in members:
            member.subscribe(topics)
        found = eventually(
            lambda: polled(members) and of(target.findings(), "replicas", "warning"), message="all members have joined"
        )
        partitions, count = len(topics), len(members)
        assert f"0 replicas for {partitions} partitions, which other programs ({count}) share" in found[0]["found"]
    finally:
        for member in members:
            member.close()


def polled(members: list[Consumer]) -> bool:
    """Poll each consumer until it has joined."""
    for member in members:
        member.poll(0.2)
    return True


# ── unavailable servers ──────────────────────────────────────────────────────────────────────────────────────────────


def nowhere(dsn: str = "postgresql://127.0.0.1:9/nowhere", kafka: str = "127.0.0.1:9") -> Environment:
    return Environment(dsn, kafka, {})


def test_both_servers_are_unavailable() -> None:
    """There are two findings and no traceback."""
    done = nowhere().run("doctor", "--json")
    found = json.loads(done.stdout)["findings"]
    assert done.returncode == 3
    assert [(one["check"], one["severity"]) for one in found] == [("kafka", "error"), ("postgresql", "error")]
    assert "Traceback" not in done.stderr


def test_one_server_is_unavailable(target: CheckedDatabase, bootstrap_servers: str) -> None:
    """The other one is still checked."""
    target.environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    found = target.findings(3)
    assert [one["check"] for one in found if one["severity"] == "error"] == ["kafka"]
    assert of(found, "tables")
    found = json.loads(nowhere(kafka=bootstrap_servers).run("doctor", "--json").stdout)["findings"]
    assert [one["severity"] for one in of(found, "kafka")] == ["ok"]


@contextmanager
def silent_port() -> Iterator[int]:
    """Return a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


@pytest.mark.slow
def test_no_server_answers() -> None:
    """Doctor does not wait for ever."""
    with silent_port() as port:
        began = time.monotonic()
        done = nowhere(f"postgresql://127.0.0.1:{port}/d", f"127.0.0.1:{port}").run("doctor", "--json")
        assert time.monotonic() - began < 60
    assert done.returncode == 3
    assert ["did not answer within" in one["found"] for one in json.loads(done.stdout)["findings"]] == [True, True]


@pytest.mark.slow
def test_a_table_that_is_locked(target: CheckedDatabase) -> None:
    """The checks that need the table report it, the others run, and doctor ends."""
    with psycopg.connect(target.owner) as holder:
        holder.execute("LOCK TABLE ai_dialogue_log IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        found = target.findings()
        assert time.monotonic() - began < 60
    assert "could not be checked within 10 s" in of(found, "tables")[0]["found"]
    assert of(found, "dead letters")[0]["severity"] == "ok"


def test_an_empty_database(newest: Installation, stack: Servers) -> None:
    """Missing migrations and missing tables are each reported once."""
    with fresh_database(newest.server.dsn) as dsn:
        done = Environment(dsn, stack.bootstrap_servers, newest.topics).run("doctor", "--json")
    found = json.loads(done.stdout)["findings"]
    errors = [(one["check"], one["fix"]) for one in found if one["severity"] == "error"]
    assert errors == [("migrations", "ragledger migrate up"), ("tables", "ragledger migrate up")]


def test_migrations_of_another_tool(newest: Installation, stack: Servers) -> None:
    """They are reported, without a traceback."""
    with fresh_database(newest.server.dsn) as dsn:
        execute(dsn, "CREATE TABLE schema_migrations (version TEXT)")
        done = Environment(dsn, stack.bootstrap_servers, newest.topics).run("doctor", "--json")
    assert done.returncode == 3
    assert "belongs to another tool" in of(json.loads(done.stdout)["findings"], "migrations")[0]["found"]


def test_no_progress_bar_without_a_terminal(target: CheckedDatabase) -> None:
    """Standard error stays empty for scripts."""
    done: subprocess.CompletedProcess[str] = target.environment.run("doctor", "--json")
    assert done.stderr == ""
