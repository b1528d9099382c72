"""Tests the service, its commands and several replicas behind a real PgBouncer in transaction mode."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.admin import migrate
from consumer.admin.migrate.roles import INGEST
from consumer.devstack import Workspace
from tests.support.ingestion import (
    counts,
    dialogues,
    environment_on,
    ids,
    log_lines,
    on_other_database,
    send,
    wait_for_records,
)
from tests.support.pgbouncer import PgBouncer
from tests.support.psql import execute, rows, value
from tests.support.roles import login, name_of
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.slow_copy import LONG_TEXT, make_slow, wait_for_copy, wait_for_silence
from tests.support.stack import Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SERVER_CONNECTIONS = 4
QUICK = {
    "RAGLEDGER_POSTGRES__PGBOUNCER": "true",
    "RAGLEDGER_BATCH__MAX_ROWS": "100",
    "RAGLEDGER_BATCH__MAX_DELAY_MS": "20",
    "RAGLEDGER_KAFKA__SESSION_TIMEOUT_MS": "6000",
    "RAGLEDGER_KAFKA__REBALANCE_TIMEOUT_MS": "15000",
    "RAGLEDGER_POSTGRES__LOCK_TIMEOUT_S": "2",
}
SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
def pooler(stack: Servers) -> Iterator[PgBouncer]:
    """Run a pooler in front of the shared server."""
    with Workspace() as workspace:
        bouncer = PgBouncer(workspace, stack.dsn, pool_size=SERVER_CONNECTIONS)
        bouncer.start()
        yield bouncer
        bouncer.stop()


@pytest.fixture
def direct(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return an environment with two partitions, connected directly, for observation."""
    with environment_on(stack, migrated_template, partitions=2, **QUICK) as made:
        yield made


def pooled(environment: Environment, pooler: PgBouncer, dsn: str | None = None) -> Environment:
    """Return the same environment through the pooler."""
    return on_other_database(environment, pooler.dsn(dsn or environment.dsn))


def publish(environment: Environment, count: int, seed: int, **changes: str) -> set[object]:
    """Publish dialogues to both partitions. Return their ids."""
    made = dialogues(environment.topics["dialogue"], count, seed, **changes)
    bootstrap = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
    send(bootstrap, (record._replace(partition=n % 2) for n, record in enumerate(made.values())))
    return set(made)


def test_the_pooler_is_in_transaction_mode(direct: Environment, pooler: PgBouncer) -> None:
    """These tests depend on it."""
    assert value(pooler.dsn(direct.dsn), "SELECT 1") == 1
    assert any("transaction" in row for row in pooler.console("SHOW POOLS"))


def test_replicas_with_more_connections_than_the_pooler_has(
    direct: Environment, pooler: PgBouncer, tmp_path: Path
) -> None:
    """Two replicas with up to five connections each share four; one is killed: exact, rolled up, no outage."""
    environment = pooled(direct, pooler)
    wanted = publish(direct, 1500, seed=1)
    with ServiceProcess(environment, tmp_path / "one") as one, ServiceProcess(environment, tmp_path / "two") as two:
        wait_for_records(direct, 300)
        eventually(lambda: one.get("/readyz")[0] == two.get("/readyz")[0] == 200, message="both replicas are ready")
        wanted |= publish(direct, 1500, seed=2)
        assert value(direct.dsn, SESSIONS) <= SERVER_CONNECTIONS
        one.kill()
        wanted |= publish(direct, 500, seed=3)
        wait_for_records(direct, len(wanted))
        environment.assert_caught_up()
        eventually(lambda: value(direct.dsn, "SELECT count(*) FROM touched_days") == 0, message="days are computed")
        assert two.stop() == 0
    assert counts(direct) == {"inserted": len(wanted), "duplicates": 0, "dead": 0}
    assert ids(direct) == wanted
    for log in (tmp_path / "one", tmp_path / "two"):
        assert log_lines(log, "database_unavailable") == []


def test_every_command_works_through_the_pooler(direct: Environment, pooler: PgBouncer, tmp_path: Path) -> None:
    """ledger, dead-letters, rollup and doctor, as a member of ragledger_ingest."""
    execute(direct.dsn, "ALTER TABLE ai_dialogue_log ADD CONSTRAINT rule CHECK (query <> 'refused')")
    publish(direct, 50, seed=4, created_at="2026-01-31T12:00:00Z")
    publish(direct, 2, seed=5, created_at="2026-01-31T12:00:00Z", query="refused")
    with login(direct.dsn, INGEST) as service:
        pooler.admit(name_of(service))
        environment = pooled(direct, pooler, service)
        with ServiceProcess(environment, tmp_path / "log") as replica:
            wait_for_records(direct, 52)
            assert replica.stop() == 0
        assert environment.run("ledger", "--check", "--caught-up").returncode == 0
        execute(direct.dsn, "ALTER TABLE ai_dialogue_log DROP CONSTRAINT rule")
        replayed = environment.run_json("dead-letters", "replay")
        assert {name: count for name, count in replayed.items() if count} == {"inserted": 2}
        assert environment.run_json("rollup", "--day", "2026-01-31")[0]["total_dialogues"] == 52
        found = environment.run_json("doctor")["findings"]
        assert [one for one in found if "could not be checked" in one["found"]] == []
        assert [one["found"] for one in found if one["check"] == "connections"] == [
            "behind a pooler: the limits of the pooler apply"
        ]
        pooler.console("RECONNECT")  # otherwise connections of this role would outlive the role
        pooler.console(f"KILL {rows(direct.dsn, 'SELECT current_database() AS name')[0]['name']}")


async def test_migrations_work_through_the_pooler(stack: Servers, pooler: PgBouncer) -> None:
    """Up, up again, verify and down; two concurrent runs wait for each other as without it."""
    with fresh_database(stack.dsn) as dsn:
        through = pooler.dsn(dsn)
        both = await asyncio.gather(migrate.up(through), migrate.up(through))
        assert sorted(len(steps) for steps in both)[0] <= 1
        assert [check for check in await migrate.verify(through) if not check.ok] == []
        await migrate.down(through, to=0)
        pooler.console("KILL " + dsn.rpartition("/")[2])


def test_a_replica_frozen_during_a_copy_is_ended_behind_the_pooler(
    direct: Environment, pooler: PgBouncer, tmp_path: Path
) -> None:
    """The pooler keeps its session open; the successor finds the session by its name, ends it, and writes."""
    environment = pooled(direct, pooler)
    wanted = publish(direct, 1500, seed=6, response=LONG_TEXT)  # more than the buffers on both sides of the pooler
    make_slow(direct)
    large = {
        "RAGLEDGER_BATCH__MAX_ROWS": "5000",
        "RAGLEDGER_BATCH__MAX_BYTES": "67108864",
        "RAGLEDGER_BATCH__MAX_DELAY_MS": "3000",
    }
    with ServiceProcess(environment, tmp_path / "frozen", **large) as frozen:
        wait_for_copy(direct)
        frozen.send(signal.SIGSTOP)
        wait_for_silence(direct)
        with ServiceProcess(environment, tmp_path / "second") as second:
            wait_for_records(direct, len(wanted), timeout=60)
            frozen.send(signal.SIGCONT)
            assert ids(direct) == wanted
            assert second.stop() == 0
            frozen.stop()


def test_a_restart_of_the_pooler(direct: Environment, pooler: PgBouncer, tmp_path: Path) -> None:
    """All connections end at once: no record is lost, none is a dead letter."""
    environment = pooled(direct, pooler)
    wanted = publish(direct, 1000, seed=7)
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(direct, 100)
        pooler.restart()
        wanted |= publish(direct, 300, seed=8)
        wait_for_records(direct, len(wanted))
        assert service.stop() == 0
    assert counts(direct) == {"inserted": len(wanted), "duplicates": 0, "dead": 0}
    assert ids(direct) == wanted
