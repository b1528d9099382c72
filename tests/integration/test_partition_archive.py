"""Tests `ragledger partition archive`: months move from the table to files."""

import asyncio
import csv
import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from consumer.files import FileError
from consumer.ingest import slo
from consumer.ingest.rollup_basis import Basis
from consumer.maintenance.table_partitions import ArchiveError, FormatName
from consumer.maintenance.table_partitions.archive_file import file_sha256
from consumer.maintenance.table_partitions.formats.csv_gzip import CsvWriter
from consumer.maintenance.table_partitions.formats.parquet import ParquetWriter
from consumer.maintenance.table_partitions.places import Directory
from consumer.postgres.admin import connect
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.settings.servers import Postgres
from tests.support.archives import COUNT, TOKYO, Interrupted, archive_at, archived, interrupt, restored, roll_up
from tests.support.partitions import one_dialogue
from tests.support.psql import execute, rows, value
from tests.support.service import Environment


def test_months_move_to_files_that_hold_their_rows(hourly: str, tmp_path: Path) -> None:
    """Whole months before the given one; the file's bytes and rows match the manifest and the database."""
    of_january = {row["id"] for row in rows(hourly, "SELECT id::text FROM ai_dialogue_log_2026_01")}
    january, february = archived(hourly, tmp_path)
    assert [(month.month, month.rows) for month in (january, february)] == [("2026-01", 744), ("2026-02", 672)]
    assert value(hourly, COUNT) == 2160 - 744 - 672
    assert value(hourly, "SELECT min(created_at)::text FROM ai_dialogue_log") == "2026-03-01 00:00:00"
    assert value(hourly, "SELECT to_regclass('ai_dialogue_log_2026_01')") is None
    manifest = json.loads((tmp_path / "ai_dialogue_log_2026_01.manifest.json").read_text())
    file = tmp_path / manifest["file"]
    assert manifest["sha256"] == january.sha256 == file_sha256(Directory(tmp_path), file.name)
    assert (manifest["rows"], manifest["first"], manifest["last"]) == (
        744,
        "2026-01-01 00:00:00",
        "2026-01-31 23:00:00",
    )
    books = rows(hourly, "SELECT month::text, phase, row_count, file, sha256 FROM partition_archives ORDER BY month")
    assert books[0] == {
        "month": "2026-01-01", "phase": "dropped", "row_count": 744, "file": file.name, "sha256": january.sha256,
    }  # fmt: skip
    with gzip.open(file, "rt", newline="") as text:
        assert {row["id"] for row in csv.DictReader(text)} == of_january
    assert archived(hourly, tmp_path) == []


def run_timer(dsn: str, zone: str = "UTC", today: str = "") -> list[date]:
    """Run the service's timer once, in a time zone, on a given day. Return the days that it computed."""

    async def turn() -> list[date]:
        database = Database(Postgres(dsn=SecretStr(dsn)))
        await database.open()
        try:
            history = PostgresHistory(database, Basis(zone, slo.DEFAULT_OBJECTIVES), "timer")
            await history.begin()
            due = [date.fromisoformat(today)] if today else await history.due(0)
            return [day for day in due if await history.roll_up_due(day, 0)]
        finally:
            await database.close(5)

    return asyncio.run(turn())


ARCHIVED_DAYS = {
    "UTC": {"2026-01-01", "2026-01-31"},
    TOKYO: {"2026-01-01", "2026-01-31", "2026-02-01"},
    "America/New_York": {"2025-12-31", "2026-01-01", "2026-01-31"},
}
"""The days around the ends of January that lose rows when it is archived."""


def test_archived_days_are_never_computed_from_the_remaining_rows(hourly: str, tmp_path: Path) -> None:
    """The command refuses with a reason, and the service's timer leaves the row unchanged."""
    run_timer(hourly)  # judges days whose basis is not known, once
    archived(hourly, tmp_path)
    environment = Environment(hourly, "127.0.0.1:9", {})
    execute(hourly, "INSERT INTO touched_days (day) VALUES ('2026-01-15')", one_dialogue("'2026-01-15 12:30'"))
    assert run_timer(hourly) == []
    refused = environment.run("rollup", "--day", "2026-01-15")
    assert (refused.returncode, "archived" in refused.stderr) == (1, True)
    assert environment.run("rollup", "--since", "2026-03-01", "--until", "2026-03-02").returncode == 0
    stored = "SELECT total_dialogues FROM rag_metrics_history WHERE date = '2026-01-15'"
    assert value(hourly, stored) == 4711
    assert value(hourly, "SELECT count(*) FROM touched_days") == 0


@pytest.mark.parametrize("zone", ARCHIVED_DAYS)
def test_a_day_counts_as_archived_if_part_of_it_is(hourly: str, tmp_path: Path, zone: str) -> None:
    """A month ends at midnight UTC; the business day around that midnight has lost some rows."""
    execute(hourly, "DELETE FROM rag_metrics_history")
    roll_up(hourly, zone)
    archived(hourly, tmp_path, "2026-02-01", zone)
    environment = Environment(hourly, "127.0.0.1:9", {}, RAGLEDGER_ROLLUP__TIMEZONE=zone)
    codes = {
        day: environment.run("rollup", "--day", day).returncode
        for day in ("2025-12-31", "2026-01-01", "2026-01-31", "2026-02-01", "2026-02-02")
    }
    assert {day for day, code in codes.items() if code} == ARCHIVED_DAYS[zone]


@pytest.mark.parametrize(
    ("zone", "day"), [("UTC", "2026-01-31"), (TOKYO, "2026-02-01"), ("America/New_York", "2025-12-31")]
)
def test_a_month_with_marked_days_stays(hourly: str, tmp_path: Path, zone: str, day: str) -> None:
    """Its figures are not final; the message names the day, and nothing is changed."""
    roll_up_again = "INSERT INTO rag_metrics_history (date, total_dialogues, unique_users) VALUES ('{}', 1, 1)"
    for extra in ("2025-12-31", "2026-04-01"):
        execute(hourly, roll_up_again.format(extra))
    execute(hourly, f"INSERT INTO touched_days (day) VALUES ('{day}')")
    with pytest.raises(ArchiveError, match=day):
        archived(hourly, tmp_path, zone=zone)
    assert value(hourly, COUNT) == 2160
    assert list(tmp_path.iterdir()) == []


def test_a_month_stays_until_its_last_business_day_has_ended(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """East of UTC, today contains part of the previous month; west of it, yesterday has not ended."""
    for zone, before, after in (
        (TOKYO, "2026-02-01 14:59", "2026-02-01 15:00"),
        ("America/New_York", "2026-03-01 04:59", "2026-03-01 05:00"),
    ):
        archive_at(monkeypatch, before)
        with pytest.raises(ArchiveError, match=f"last business day .{zone}.* is over at {after} UTC"):
            archived(hourly, tmp_path, before[:8] + "01", zone)
        archive_at(monkeypatch, after)
        execute(hourly, "DELETE FROM rag_metrics_history")
        roll_up(hourly, zone)
        assert len(archived(hourly, tmp_path, before[:8] + "01", zone)) == 1


def test_the_time_zone_of_the_service_counts_too(hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of a command without the service's settings is not enough."""
    run_timer(hourly, TOKYO)
    archive_at(monkeypatch, "2026-02-01 14:59")
    with pytest.raises(ArchiveError, match="2026-02-01 15:00 UTC"):
        archived(hourly, tmp_path, "2026-02-01")


def test_no_change_of_settings_recomputes_a_day_that_has_lost_rows(hourly: str, tmp_path: Path) -> None:
    """Neither another time zone nor being today recomputes it. It is judged, and recomputed after the month is
    restored.
    """
    run_timer(hourly, "UTC")
    execute(hourly, "UPDATE rag_metrics_history SET total_dialogues = 24, citation_count = 50")
    archived(hourly, tmp_path, "2026-02-01")
    stored = "SELECT citation_count FROM rag_metrics_history WHERE date = '2026-02-01'"
    run_timer(hourly, TOKYO)  # its first nine hours were in January
    assert value(hourly, stored) == 50
    execute(hourly, "UPDATE computed_days SET left_under = NULL, basis_id = (SELECT max(id) FROM rollup_basis)")
    run_timer(hourly, TOKYO, "2026-02-01")  # as if it were today, which is always due
    assert value(hourly, stored) == 50
    restored(hourly, tmp_path / "ai_dialogue_log_2026_01.manifest.json", TOKYO)
    run_timer(hourly, TOKYO)
    assert value(hourly, stored) == 8


def test_a_month_with_days_that_were_never_rolled_up_stays(hourly: str, tmp_path: Path) -> None:
    """Their figures would be lost; the message has the command that computes them."""
    execute(hourly, "DELETE FROM rag_metrics_history WHERE date BETWEEN '2026-02-03' AND '2026-02-05'")
    with pytest.raises(ArchiveError, match="ragledger rollup --since 2026-02-03 --until 2026-02-05"):
        archived(hourly, tmp_path)
    assert value(hourly, "SELECT count(*) FROM partition_archives WHERE phase <> 'dropped'") == 0


@pytest.mark.parametrize("statement", ["copy_out", "DROP TABLE"])
def test_archiving_continues_after_an_interruption(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """It is interrupted after the detach, and after the export; a missing file is written again."""
    interrupt(monkeypatch, statement)
    with pytest.raises(Interrupted):
        archived(hourly, tmp_path)
    monkeypatch.undo()
    phase = {"copy_out": "detached", "DROP TABLE": "exported"}[statement]
    assert value(hourly, "SELECT phase FROM partition_archives") == phase
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 744
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert [month.rows for month in archived(hourly, other)] == [744, 672]
    restored(hourly, other / "ai_dialogue_log_2026_01.manifest.json")
    assert value(hourly, COUNT) == 2160 - 672


def test_the_archive_of_another_database_is_not_overwritten(hourly: str, tmp_path: Path) -> None:
    """It is not used as ours either, if the work was interrupted after the export: the table stays."""
    theirs = tmp_path / "ai_dialogue_log_2026_01.csv.gz"
    theirs.write_bytes(gzip.compress(b"id\r\n1\r\n"))
    with pytest.raises(ArchiveError, match="move the file and its manifest away"):
        archived(hourly, tmp_path)
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 744
    assert gzip.decompress(theirs.read_bytes()) == b"id\r\n1\r\n"
    theirs.unlink()
    assert [month.rows for month in archived(hourly, tmp_path)] == [744, 672]


def test_another_archive_of_the_same_month_is_not_used_as_ours(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File and manifest match each other, but not the records of this database."""
    interrupt(monkeypatch, "DROP TABLE")
    with pytest.raises(Interrupted):
        archived(hourly, tmp_path)
    monkeypatch.undo()
    execute(hourly, "UPDATE partition_archives SET sha256 = repeat('0', 64)")
    months = archived(hourly, tmp_path)  # written again, and equal
    assert [month.rows for month in months] == [744, 672]
    assert value(hourly, "SELECT sha256 FROM partition_archives WHERE month = '2026-01-01'") == months[0].sha256


@pytest.mark.parametrize(("name", "writer"), [(FormatName.CSV, CsvWriter), (FormatName.PARQUET, ParquetWriter)])
def test_the_table_stays_if_the_file_does_not_hold_its_rows(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: FormatName, writer: type
) -> None:
    """Bytes that the disk has lost are found when the file is read back, before anything is dropped."""
    real = writer.__exit__  # type: ignore[attr-defined]

    def truncated(self: Any, *arguments: Any) -> None:
        real(self, *arguments)
        [path] = tmp_path.glob(".ai_dialogue_log_2026_01.*.part")
        path.write_bytes(path.read_bytes()[:-100])

    monkeypatch.setattr(writer, "__exit__", truncated)
    with pytest.raises(ArchiveError):
        archived(hourly, tmp_path, file_format=name)
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 744
    assert list(tmp_path.iterdir()) == []


def test_archives_are_private_and_follow_no_link(hourly: str, tmp_path: Path) -> None:
    """They hold full texts. If a link has the file's name, the table stays."""
    directory = tmp_path / "made"
    environment = Environment(hourly, "127.0.0.1:9", {}, RAGLEDGER_PARTITIONS__ARCHIVE_DIR=str(directory))
    environment.run_json("partition", "archive", "--before", "2026-02")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (directory, *directory.iterdir())}
    assert modes == {
        "made": 0o700, "ai_dialogue_log_2026_01.csv.gz": 0o600, "ai_dialogue_log_2026_01.manifest.json": 0o600,
    }  # fmt: skip
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (directory / "ai_dialogue_log_2026_02.csv.gz").symlink_to(victim)
    refused = environment.run("partition", "archive", "--before", "2026-03")
    assert (refused.returncode, "is a link" in refused.stderr) == (1, True)
    assert victim.read_text() == "mine"
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_02") == 672


def test_the_output_of_the_command(hourly: str, tmp_path: Path) -> None:
    """It is a table or JSON. Wrong use is exit code 2."""
    environment = Environment(hourly, "127.0.0.1:9", {}, RAGLEDGER_PARTITIONS__ARCHIVE_DIR=str(tmp_path / "a" / "b"))
    shown = environment.run("partition", "archive", "--before", "2026-02")
    assert (shown.returncode, "744" in shown.stdout) == (0, True), shown.stderr
    [february] = environment.run_json("partition", "archive", "--before", "2026-03", "--to", str(tmp_path))
    assert (february["month"], february["rows"]) == ("2026-02", 672)
    assert {lock["step"] for lock in february["locks"]} == {"detach 2026-02", "drop 2026-02"}
    back = environment.run_json(
        "partition", "archive", "--restore", february["file"].replace("csv.gz", "manifest.json")
    )
    assert (back["month"], back["rows"]) == ("2026-02", 672)
    for wrong in ([], ["--before", "2026-03", "--restore", "x"], ["--before", "9999-01"], ["--before", "yesterday"]):
        assert environment.run("partition", "archive", *wrong).returncode == 2, wrong
    assert environment.run("partition", "archive", "--restore", str(tmp_path / "none.json")).returncode == 1


async def test_a_disk_that_is_full_at_the_last_piece_ends_the_command(database: str) -> None:
    """The COPY has ended by then; the command must not wait for its end."""

    async def write(piece: bytes) -> None:
        raise FileError(f"no room for {len(piece)} bytes")

    async with asyncio.timeout(20), connect(database) as db:
        with pytest.raises(FileError, match="no room"):
            async with db.transaction():
                await db.copy_out("SELECT 1", write)
