"""Tests `ragledger partition archive --restore`: months return from their files."""

import gzip
import shutil
from datetime import date
from pathlib import Path

import psycopg
import pytest

from consumer.maintenance.table_partitions import ArchiveError
from tests.support.archives import archived, restored
from tests.support.partitions import ALL_ROWS, assert_sound, one_dialogue
from tests.support.psql import execute, psql, rows, value
from tests.support.service import Environment


def test_a_restored_month_is_unchanged(hourly: str, tmp_path: Path) -> None:
    """Every value of every row is equal; its days are recomputed, and its ids stay reserved."""
    before = rows(hourly, ALL_ROWS)
    archived(hourly, tmp_path)
    back = restored(hourly, tmp_path / "ai_dialogue_log_2026_01.manifest.json")
    assert (back.rows, back.moved) == (744, 0)
    restored(hourly, tmp_path / "ai_dialogue_log_2026_02.manifest.json")
    assert rows(hourly, ALL_ROWS) == before
    assert value(hourly, "SELECT count(*) FROM partition_archives") == 0
    days = [row["day"] for row in rows(hourly, "SELECT DISTINCT day FROM touched_days ORDER BY day")]
    assert (days[0], days[-1], len(days)) == (date(2026, 1, 1), date(2026, 2, 28), 59)
    execute(hourly, "DELETE FROM touched_days")
    assert [month.rows for month in archived(hourly, tmp_path)] == [744, 672]


def test_late_rows_of_an_archived_month_are_kept_and_restored_with_it(hourly: str, tmp_path: Path) -> None:
    """They are in the default partition until then; a record that is read again is still a duplicate."""
    known = value(hourly, "SELECT id::text FROM ai_dialogue_log ORDER BY created_at LIMIT 1")
    archived(hourly, tmp_path)
    execute(hourly, one_dialogue("'2026-01-15 12:30'"))
    with pytest.raises(psycopg.errors.UniqueViolation):
        execute(hourly, one_dialogue("'2026-01-01'", f"'{known}'"))
    assert Environment(hourly, "127.0.0.1:9", {}).run("partition", "ensure").returncode == 0
    where = "SELECT tableoid::regclass::text FROM ai_dialogue_log ORDER BY created_at LIMIT 1"
    assert value(hourly, where) == "ai_dialogue_log_default"
    back = restored(hourly, tmp_path / "ai_dialogue_log_2026_01.manifest.json")
    assert (back.rows, back.moved) == (744, 1)
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 745


def test_an_impossible_restore_is_refused(hourly: str, tmp_path: Path) -> None:
    """The month is there, the file is damaged, or a table with that name is not a partition."""
    archived(hourly, tmp_path)
    manifest = tmp_path / "ai_dialogue_log_2026_01.manifest.json"
    file = tmp_path / "ai_dialogue_log_2026_01.csv.gz"
    good = file.read_bytes()
    file.write_bytes(good[:500] + b"\0" + good[501:])
    with pytest.raises(ArchiveError):
        restored(hourly, manifest)
    file.write_bytes(good)
    execute(hourly, "CREATE TABLE ai_dialogue_log_2026_01 (note TEXT)")
    with pytest.raises(ArchiveError, match="rename or move"):
        restored(hourly, manifest)
    execute(hourly, "DROP TABLE ai_dialogue_log_2026_01")
    restored(hourly, manifest)
    with pytest.raises(ArchiveError, match="in the table already"):
        restored(hourly, manifest)


def test_an_existing_id_prevents_the_restore(hourly: str, tmp_path: Path) -> None:
    """An id is one dialogue, also in a file."""
    archived(hourly, tmp_path)
    execute(hourly, "TRUNCATE known_ids", "INSERT INTO known_ids SELECT id FROM ai_dialogue_log")
    with gzip.open(tmp_path / "ai_dialogue_log_2026_01.csv.gz", "rt") as file:
        taken = next(line for line in file if line[8:9] == "-")[:36]
    execute(hourly, one_dialogue("'2026-03-03'", f"'{taken}'"))
    with pytest.raises(ArchiveError, match="1 ids"):
        restored(hourly, tmp_path / "ai_dialogue_log_2026_01.manifest.json")


def test_psql_can_restore_a_month_too(hourly: str, tmp_path: Path) -> None:
    """The file is plain CSV, and the manual shows the statements."""
    if shutil.which("psql") is None:
        pytest.skip("the psql client is not installed")
    before = rows(hourly, ALL_ROWS)
    archived(hourly, tmp_path)
    for month in ("2026_01", "2026_02"):
        file = tmp_path / f"ai_dialogue_log_{month}.csv.gz"
        header = gzip.decompress(file.read_bytes()).decode().partition("\n")[0]
        psql(
            hourly,
            "-c",
            "BEGIN",
            "-c",
            "SET LOCAL ragledger.keeps_ids = 'on'",
            "-c",
            f"\\copy ai_dialogue_log ({header}) FROM PROGRAM 'gunzip -c {file}' CSV HEADER",
            "-c",
            f"DELETE FROM partition_archives WHERE month = '{month.replace('_', '-')}-01'",
            "-c",
            "COMMIT",
        )
    assert Environment(hourly, "127.0.0.1:9", {}).run("partition", "ensure").returncode == 0
    assert rows(hourly, ALL_ROWS) == before
    assert_sound(hourly)
