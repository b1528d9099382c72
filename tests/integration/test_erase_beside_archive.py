"""Tests an erasure beside a command that moves months: it creates and drops tables, and leaves files and drafts."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from consumer.admin.erasure import dialogues
from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions import FormatName
from consumer.maintenance.table_partitions.restore import restore
from consumer.maintenance.table_partitions.screening import Screening
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.archives import HOURLY, Interrupted, archived, interrupt, roll_up
from tests.support.erasing import KEY, add_dialogues, tables_with_user
from tests.support.notices import ALICE
from tests.support.partitions import converted
from tests.support.psql import execute, value
from tests.support.service import Environment, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

KEYS = [Key(KEY.encode())]
WAITS = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"


@pytest.fixture
def months(stack: Servers, migrated_template: str, tmp_path: Path) -> Iterator[Environment]:
    """Return three partitioned months, rolled up; Alice has a dialogue in the first one."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        execute(dsn, HOURLY)
        add_dialogues(dsn, ALICE, "2026-01-02 10:10")
        converted(dsn)
        roll_up(dsn)
        (tmp_path / "receipts").mkdir()
        yield Environment(dsn, "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)


def erase(environment: Environment, receipts: Path) -> Any:
    """Erase Alice and return the receipt."""
    return environment.run_json("erase", "--user", str(ALICE), "--receipt", str(receipts))


def begin(environment: Environment, *arguments: str) -> "Popen[bytes]":
    """Start a command."""
    command = [sys.executable, "-m", "consumer", *arguments]
    return Popen(command, env=os.environ | environment.variables, stdout=DEVNULL, stderr=PIPE)


def test_no_table_is_dropped_while_an_erasure_searches_it(
    months: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive waits before it drops the month. Otherwise the search would fail and report an outdated schema."""
    with monkeypatch.context() as patch:
        interrupt(patch, "DROP TABLE")
        with pytest.raises(Interrupted):
            archived(months.dsn, tmp_path, "2026-02-01", keys=KEYS)

    async def search() -> int:
        database = Database(Postgres(dsn=SecretStr(months.dsn)))
        await database.open()
        try:
            async with database.transaction() as transaction:
                await dialogues.dialogue_tables(transaction)
                archive = begin(months, "partition", "archive", "--before", "2026-02", "--to", str(tmp_path))
                await asyncio.to_thread(
                    eventually,
                    lambda: archive.poll() is not None or value(months.dsn, WAITS),
                    message="the archive waits for the erasure",
                )
                assert archive.poll() is None
                found = await dialogues.find(transaction, ALICE)
            await asyncio.to_thread(archive.communicate, timeout=60)
            assert archive.returncode == 0
            return found.count
        finally:
            await database.close(5)

    assert asyncio.run(search()) == 1
    assert value(months.dsn, "SELECT to_regclass('ai_dialogue_log_2026_01') IS NULL")


def test_a_user_who_is_erased_during_a_restore_is_in_no_table(
    months: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restore is interrupted before the table is a partition again, so no erasure has searched it."""
    archived(months.dsn, tmp_path, "2026-02-01", keys=KEYS)
    real = Screening.clean

    async def meanwhile(self: Screening, table: str) -> int:
        done = await real(self, table)
        if not value(months.dsn, "SELECT EXISTS (SELECT FROM erased_users)"):
            await asyncio.to_thread(erase, months, tmp_path / "receipts")
        return done

    monkeypatch.setattr(Screening, "clean", meanwhile)
    interrupt(monkeypatch, "ALTER TABLE ai_dialogue_log_2026_01 DROP CONSTRAINT within_its_month")
    manifest = tmp_path / "ai_dialogue_log_2026_01.manifest.json"
    with pytest.raises(Interrupted):
        asyncio.run(restore(months.dsn, manifest=manifest, timezone="UTC", keys=KEYS))
    assert value(months.dsn, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 744
    assert tables_with_user(months, ALICE) == []


@pytest.mark.parametrize("name", FormatName)
def test_the_draft_of_a_killed_archive_is_named(months: Environment, tmp_path: Path, name: FormatName) -> None:
    """Only that run knew its directory. The draft of a running command is not named. The next run removes the draft."""
    elsewhere = tmp_path / "elsewhere"
    with psycopg.connect(months.dsn) as barrier:
        barrier.execute("LOCK TABLE erased_users IN ACCESS EXCLUSIVE MODE")
        command = ("partition", "archive", "--before", "2026-02", "--to", str(elsewhere))
        archive = begin(months, *command, "--format", name)
        eventually(lambda: [*elsewhere.glob(".*")], message="the draft exists")
        assert archive.poll() is None
        archive.send_signal(signal.SIGKILL)
        archive.communicate(timeout=30)
    [draft] = elsewhere.iterdir()
    named = next(line for line in erase(months, tmp_path / "receipts")["kept"] if line["name"] == "archives")
    assert [one["file"] for one in named["files"]] == [str(draft)]
    assert "delete it" in named["files"][0]["problem"]
    assert draft.exists()
    assert months.run(*command).returncode == 0
    assert {path.name for path in elsewhere.iterdir()} == {
        "ai_dialogue_log_2026_01.csv.gz",
        "ai_dialogue_log_2026_01.manifest.json",
    }
