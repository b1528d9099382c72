"""Tests that an erasure covers every copy of a dialogue, after any interrupted command, and with concurrent
deletions.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions import FORMATS, FormatName, format_of
from consumer.maintenance.table_partitions.export import Export
from tests.support.archives import COUNT, HOURLY, Interrupted, archived, interrupt, roll_up
from tests.support.erasing import KEY, add_dialogues, tables_with_user
from tests.support.kill_at import ROOT
from tests.support.notices import ALICE, run_killed
from tests.support.partitions import assert_sound, converted
from tests.support.psql import execute, rows, value
from tests.support.service import Environment, eventually
from tests.support.stack import Servers, fresh_database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

OF_ALICE = 140
ALICES = f"""
UPDATE ai_dialogue_log SET user_id = '{ALICE}'
WHERE id IN (SELECT id FROM ai_dialogue_log WHERE created_at < '2026-02-01' ORDER BY created_at LIMIT {OF_ALICE})
"""
STEPS = ("mirror what is written", "copy", "settle deletions", "compare", "replace the table", "drop the old table")


@pytest.fixture
def plain(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database with three months, not partitioned; Alice has some dialogues in January."""
    with fresh_database(stack.dsn, migrated_template) as dsn:
        execute(dsn, HOURLY, ALICES)
        yield Environment(dsn, "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)


@pytest.fixture
def months(plain: Environment, tmp_path: Path) -> Environment:
    """Return the same in partitions, rolled up, with a directory for archives."""
    converted(plain.dsn)
    roll_up(plain.dsn)
    plain.variables["RAGLEDGER_PARTITIONS__ARCHIVE_DIR"] = str(tmp_path / "archives")
    (tmp_path / "archives").mkdir()
    (tmp_path / "receipts").mkdir()
    return plain


def erase(environment: Environment, directory: Path, *options: str) -> Any:
    """Erase Alice and return the receipt."""
    return environment.run_json("erase", "--user", str(ALICE), "--receipt", str(directory), *options)


def counted(receipt: Any, name: str) -> int:
    """Return how many rows of a kind a receipt counts as deleted."""
    return int(next(line["count"] for line in receipt["deleted"] if line["name"] == name))


def kept(receipt: Any, name: str) -> Any:
    """Return the receipt's entry for data that was kept."""
    return next(line for line in receipt["kept"] if line["name"] == name)


def holds(file: Path) -> bool:
    """Return whether an archive names Alice."""
    with file.open("rb") as archive:
        return str(ALICE).encode() in b"".join(format_of(file.name).contents(archive))


def with_small_files(environment: Environment, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may write only small files, as if the disk were full."""
    command = 'ulimit -f 8; exec "$0" -m consumer "$@"'
    return subprocess.run(
        ["/bin/bash", "-c", command, sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment.variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", FormatName)
def test_a_month_whose_archiving_failed_on_a_full_disk_is_found_and_erased_from(
    months: Environment, tmp_path: Path, name: FormatName
) -> None:
    """The message names the file, and doctor names the month with both solutions; the later archive has no erased
    user.
    """
    full = with_small_files(months, "partition", "archive", "--before", "2026-02", "--format", name)
    file = tmp_path / "archives" / f"ai_dialogue_log_2026_01.{FORMATS[name].suffix}"
    assert (full.returncode, f"{file} cannot be written: File too large" in full.stderr) == (1, True), full.stderr
    assert list(file.parent.iterdir()) == []
    findings = [one for one in months.run_json("doctor")["findings"] if one["check"] == "copies"]
    assert [one["severity"] for one in findings] == ["error"]
    assert "partition archive --before 2026-02" in findings[0]["fix"]
    assert "partition archive --attach 2026-01" in findings[0]["fix"]
    receipt = erase(months, tmp_path / "receipts")
    assert counted(receipt, "dialogues") == OF_ALICE
    assert set(receipt["left_afterwards"].values()) == {0}
    assert tables_with_user(months, ALICE) == []
    [month] = months.run_json("partition", "archive", "--before", "2026-02", "--format", name)
    assert month["rows"] == 744 - OF_ALICE
    assert not holds(file)
    assert [one["severity"] for one in months.run_json("doctor")["findings"] if one["check"] == "copies"] == ["ok"]


@pytest.mark.parametrize("statement", ["copy_out", "DROP TABLE"])
def test_a_month_can_be_attached_again(
    months: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """It needs no file, leaves out users erased meanwhile, and its days can be computed again."""
    execute(months.dsn, "DELETE FROM touched_days")
    with monkeypatch.context() as patch:
        interrupt(patch, statement)
        with pytest.raises(Interrupted):
            archived(months.dsn, tmp_path, "2026-02-01")
    erase(months, tmp_path / "receipts")
    back = months.run_json("partition", "archive", "--attach", "2026-01")
    assert (back["month"], back["rows"], back["erased"]) == ("2026-01", 744 - OF_ALICE, 0)
    assert value(months.dsn, COUNT) == 2160 - OF_ALICE
    assert_sound(months.dsn)
    assert value(months.dsn, "SELECT count(*) FROM partition_archives") == 0
    assert months.run("rollup", "--day", "2026-01-31").returncode == 0
    assert months.run("partition", "archive", "--attach", "2026-01").returncode == 1


def test_a_user_who_is_erased_during_the_export_is_not_in_the_file(
    months: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows were copied already; the file is written again before it gets its name."""
    real = Export._demand_place
    erased: list[Any] = []

    def meanwhile(self: Export, manifest: Any) -> None:
        if not erased:
            erased.append(erase(months, tmp_path / "receipts"))
        real(self, manifest)

    monkeypatch.setattr(Export, "_demand_place", meanwhile)
    [month] = archived(months.dsn, tmp_path, "2026-02-01", keys=[Key(KEY.encode())])
    assert month.rows == 744 - OF_ALICE
    assert not holds(Path(month.file))
    assert tables_with_user(months, ALICE) == []


def test_an_export_from_before_an_erasure_is_repeated(
    months: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt names the existing file; after the month is archived, the file holds no erased user."""
    directory = tmp_path / "archives"
    with monkeypatch.context() as patch:
        interrupt(patch, "DROP TABLE")
        with pytest.raises(Interrupted):
            archived(months.dsn, directory, "2026-02-01")
    receipt = erase(months, tmp_path / "receipts")
    [named] = kept(receipt, "archives")["files"]
    assert (named["file"], named["rows"]) == (str(directory / "ai_dialogue_log_2026_01.csv.gz"), OF_ALICE)
    [month] = months.run_json("partition", "archive", "--before", "2026-02")
    assert month["rows"] == 744 - OF_ALICE
    assert not holds(Path(month["file"]))


def test_files_with_the_user_are_named_and_a_restore_leaves_the_user_out(months: Environment, tmp_path: Path) -> None:
    """A file that is found, in any directory, is named with its rows; a missing one is named as missing."""
    elsewhere = tmp_path / "elsewhere"
    months.run_json("partition", "archive", "--before", "2026-03", "--to", str(elsewhere))
    (elsewhere / "ai_dialogue_log_2026_02.csv.gz").rename(tmp_path / "february")
    receipt = erase(months, tmp_path / "receipts")
    files = {Path(one["file"]).name[16:23]: (one["rows"], one["problem"]) for one in kept(receipt, "archives")["files"]}
    assert files == {"2026_01": (OF_ALICE, None), "2026_02": (None, "not found on this machine")}
    (text,) = (tmp_path / "receipts").glob("*.txt")
    assert f"{elsewhere}/ai_dialogue_log_2026_01.csv.gz: {OF_ALICE} rows" in text.read_text()
    manifest = str(elsewhere / "ai_dialogue_log_2026_01.manifest.json")
    back = months.run_json("partition", "archive", "--restore", manifest)
    assert (back["rows"], back["erased"]) == (744 - OF_ALICE, OF_ALICE)
    assert tables_with_user(months, ALICE) == []
    assert value(months.dsn, "SELECT count(*) FROM known_ids") == 2160 - OF_ALICE
    again = kept(erase(months, tmp_path / "receipts"), "archives")["files"]  # the file still exists
    assert [one["rows"] for one in again] == [OF_ALICE, None]


def test_a_month_is_not_restored_without_the_key(months: Environment, tmp_path: Path) -> None:
    """Without it, erased users cannot be recognised; no month is archived either."""
    archived(months.dsn, tmp_path, "2026-02-01")
    erase(months, tmp_path / "receipts")
    del months.variables["RAGLEDGER_ERASURE__KEY"]
    manifest = str(tmp_path / "ai_dialogue_log_2026_01.manifest.json")
    for arguments in (("--restore", manifest), ("--before", "2026-03")):
        refused = months.run("partition", "archive", *arguments)
        assert (refused.returncode, "RAGLEDGER_ERASURE__KEY" in refused.stderr) == (1, True)
    months.variables["RAGLEDGER_ERASURE__KEY"] = KEY
    assert months.run("partition", "archive", "--attach", "2026-02").returncode == 0
    assert value(months.dsn, COUNT) == 2160 - 744


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_covers_both_tables_of_a_conversion(plain: Environment, tmp_path: Path, step: str) -> None:
    """Each dialogue is counted once, and none returns when the conversion continues."""

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(plain.dsn, on_progress=on_progress)
    assert counted(erase(plain, tmp_path, "--dry-run"), "dialogues") == OF_ALICE
    receipt = erase(plain, tmp_path)
    assert counted(receipt, "dialogues") == OF_ALICE
    assert tables_with_user(plain, ALICE) == []
    converted(plain.dsn)
    assert tables_with_user(plain, ALICE) == []
    assert value(plain.dsn, COUNT) == 2160 - OF_ALICE
    assert_sound(plain.dsn)


@contextmanager
def started(environment: Environment, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a command."""
    with subprocess.Popen(
        [sys.executable, "-m", "consumer", *arguments],
        cwd=ROOT,
        env=os.environ | environment.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def waiting(dsn: str, count: int = 1) -> None:
    """Wait until so many sessions wait for a lock."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    eventually(lambda: value(dsn, statement) >= count, message="a session waits")


def test_an_erasure_waits_for_rows_that_are_being_copied(plain: Environment, tmp_path: Path) -> None:
    """The copy has read a dialogue that is then deleted, and is killed after its commit."""

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == "settle deletions":
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(plain.dsn, on_progress=on_progress)
    with psycopg.connect(plain.dsn) as copying:
        copying.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended('ragledger copying', 0))")
        copying.execute(
            "INSERT INTO ai_dialogue_log_new (id, user_id, session_id, query, response, model_used, created_at)"
            " VALUES (gen_random_uuid(), %s, gen_random_uuid(), 'q', 'r', 'm', '2026-01-01 10:30')",
            [ALICE],
        )
        with started(plain, "erase", "--user", str(ALICE), "--receipt", str(tmp_path)) as erasing:
            waiting(plain.dsn)
            copying.commit()
            assert erasing.wait(60) == 0
    assert tables_with_user(plain, ALICE) == []


def test_an_erasure_continues_if_others_delete_too(plain: Environment, tmp_path: Path) -> None:
    """Whole batches that another session deletes do not end it early."""
    execute(plain.dsn, f"UPDATE ai_dialogue_log SET user_id = '{ALICE}'")
    with psycopg.connect(plain.dsn) as other:
        gone = other.execute(
            "DELETE FROM ai_dialogue_log WHERE id IN (SELECT id FROM ai_dialogue_log WHERE user_id = %s LIMIT 1000)",
            [ALICE],
        ).rowcount
        with started(plain, "erase", "--user", str(ALICE), "--receipt", str(tmp_path)) as erasing:
            waiting(plain.dsn)
            other.commit()
            assert erasing.wait(60) == 0
    assert (gone, value(plain.dsn, COUNT)) == (1000, 0)
    [erasure] = rows(plain.dsn, "SELECT dialogues, finished_at IS NOT NULL AS finished FROM erasures")
    assert erasure == {"dialogues": 1160, "finished": True}


def test_two_concurrent_erasures_are_one_with_both_references(plain: Environment, tmp_path: Path) -> None:
    """Both receipts name both references."""
    with psycopg.connect(plain.dsn) as barrier:
        barrier.execute("LOCK TABLE ai_dialogue_log IN SHARE MODE")
        arguments = ("erase", "--user", str(ALICE), "--receipt", str(tmp_path), "--json", "--reference")
        with started(plain, *arguments, "A-1") as one, started(plain, *arguments, "B-2") as other:
            waiting(plain.dsn, 2)
            barrier.commit()
            for process in (one, other):
                said, problem = process.communicate(timeout=60)
                assert process.returncode == 0, problem
                assert b"A-1" in said
                assert b"B-2" in said
    [erasure] = rows(plain.dsn, "SELECT dialogues, finished_at IS NOT NULL AS finished FROM erasures")
    assert erasure == {"dialogues": OF_ALICE, "finished": True}
    assert tables_with_user(plain, ALICE) == []


def test_a_killed_erasure_keeps_its_reference(plain: Environment, tmp_path: Path) -> None:
    """The reference of the run that finishes is added; the same reference is stored once."""
    arguments = ("erase", "--user", str(ALICE), "--receipt", str(tmp_path), "--reference")
    assert run_killed(plain, 10, *arguments, "DSR-11") == -9
    assert run_killed(plain, 10, *arguments, "DSR-1") == -9
    assert erase(plain, tmp_path, "--reference", "DSR-1")["reference"] == "DSR-11; DSR-1"
    assert erase(plain, tmp_path)["earlier_erasures"][0]["reference"] == "DSR-11; DSR-1"


def test_rows_that_a_trigger_keeps_are_reported_and_the_erasure_is_not_finished(
    plain: Environment, tmp_path: Path
) -> None:
    """It is a trigger of the database's owner; the next erasure continues."""
    execute(
        plain.dsn,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RETURN CASE WHEN OLD.latency_ms = 77 THEN NULL ELSE OLD END; END'",
        "CREATE TRIGGER keep BEFORE DELETE ON ai_dialogue_log FOR EACH ROW EXECUTE FUNCTION keep()",
    )
    add_dialogues(plain.dsn, ALICE, "2026-01-02 10:10")
    execute(plain.dsn, "UPDATE ai_dialogue_log SET latency_ms = 77 WHERE created_at = '2026-01-02 10:10'")
    refused = plain.run("erase", "--user", str(ALICE), "--receipt", str(tmp_path))
    assert (refused.returncode, "not finished: 1 dialogues" in refused.stderr) == (1, True), refused.stderr
    assert value(plain.dsn, "SELECT finished_at FROM erasures") is None
    execute(plain.dsn, "DROP TRIGGER keep ON ai_dialogue_log")
    assert counted(erase(plain, tmp_path), "dialogues") == OF_ALICE + 1


def test_sent_notices_that_name_the_user_are_listed(plain: Environment, tmp_path: Path) -> None:
    """Waiting notices lose their owner; for those being sent, it is unknown whether they arrived."""
    sent, waits = uuid4(), uuid4()
    notice = "INSERT INTO retention_notices (id, run_id, owner, notice, sent_from) VALUES ('{}', '{}', '{}', '{}', {})"
    for id_, sent_from in ((sent, "'{}'"), (waits, "NULL")):
        execute(plain.dsn, notice.format(id_, UUID(int=1), ALICE, f'{{"owner": "{ALICE}"}}', sent_from))
    assert kept(erase(plain, tmp_path, "--dry-run"), "sent_notices")["count"] == 1
    receipt = erase(plain, tmp_path)
    assert kept(receipt, "sent_notices")["notices"] == [str(sent)]
    assert tables_with_user(plain, ALICE) == []


@pytest.mark.parametrize("name", FormatName)
def test_archiving_that_is_killed_at_every_step_loses_and_restores_no_erased_row(
    months: Environment, tmp_path: Path, name: FormatName
) -> None:
    """SIGKILL comes at each step in turn; each attempt continues after the previous one, and the month is
    attached again.
    """
    directory = tmp_path / "archives"
    arguments = ("partition", "archive", "--before", "2026-02", "--format", name)
    step = first_step_not_reached(months, arguments, back=("partition", "archive", "--attach", "2026-01"))
    assert step > 15
    erase(months, tmp_path / "receipts")
    assert value(months.dsn, COUNT) == 2160 - 744
    file = directory / f"ai_dialogue_log_2026_01.{FORMATS[name].suffix}"
    with file.open("rb") as archive:
        assert b"".join(FORMATS[name].contents(archive)).count(b"NULL") == 744
    assert {path.name for path in directory.iterdir()} == {file.name, "ai_dialogue_log_2026_01.manifest.json"}
    assert rows(months.dsn, "SELECT phase FROM partition_archives") == [{"phase": "dropped"}]


def first_step_not_reached(environment: Environment, arguments: tuple[str, ...], back: tuple[str, ...]) -> int:
    """Kill a command at each step; after every fifth kill attach the month again, also with a kill."""
    for step in range(1, 80):
        if run_killed(environment, step, *arguments) == 0:
            return step
        if step % 5 == 0 and value(environment.dsn, "SELECT count(*) FROM partition_archives") == 1:
            run_killed(environment, step // 2, *back)
            assert environment.run(*back).returncode in (0, 1)
            assert value(environment.dsn, COUNT) == 2160
            execute(environment.dsn, "DELETE FROM touched_days")
    raise AssertionError("archiving has more steps than that")
