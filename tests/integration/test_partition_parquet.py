"""Tests `ragledger partition archive --format parquet`: months as Parquet, and back."""

import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from consumer.maintenance.table_partitions import ArchiveError, FormatName
from consumer.maintenance.table_partitions.formats import parquet
from tests.support.archives import COUNT, Interrupted, archived, interrupt, restored
from tests.support.partitions import ALL_ROWS, assert_sound, one_dialogue
from tests.support.psql import execute, rows, value
from tests.support.service import Environment

pytestmark = pytest.mark.slow

JANUARY, MANIFEST = "ai_dialogue_log_2026_01.parquet", "ai_dialogue_log_2026_01.manifest.json"
AS_IT_IS = "SET session_replication_role = replica"  # no trigger changes updated_at
# Columns of the owner, and values that are hard to keep.
UNCOMMON = (
    AS_IT_IS,
    'ALTER TABLE ai_dialogue_log ADD COLUMN "uncommon ""name""" TEXT, ADD COLUMN seen_at TIMESTAMPTZ(3),'
    " ADD COLUMN ratio DOUBLE PRECISION, ADD COLUMN exact NUMERIC, ADD COLUMN tiny NUMERIC(12,10),"
    " ADD COLUMN is_open BOOLEAN, ADD COLUMN tags TEXT[], ADD COLUMN period INTERVAL, ADD COLUMN raw JSON",
    "UPDATE ai_dialogue_log SET updated_at = '0001-01-01', seen_at = '9999-12-31 23:59:59.999+00', ratio = '-0',"
    " exact = 'NaN', tiny = 0.0000000001, is_open = false, tags = '{a,NULL,\"\"}', period = '1 mon -3 days',"
    ' raw = \'{"b":  1, "b": 2}\' WHERE user_feedback = 0',
    '''UPDATE ai_dialogue_log SET
    citations = '[{"source": "\\u20ac", "x": {"y": -0.00000000000000000000000000012345678901234567890}}]',
    created_at = created_at + interval '123456 microseconds', updated_at = '9999-12-31 23:59:59.999999',
    ratio = 0.1::float8 + 0.2::float8, is_open = true, "uncommon ""name""" = ''
    WHERE user_feedback = 1''',
)


def by_duckdb(statement: str) -> list[tuple[Any, ...]]:
    """Query a file by a program that does not use pyarrow."""
    with duckdb.connect() as connection:
        return connection.sql(statement).fetchall()


def test_every_value_returns(hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From many row groups. The session's settings change nothing. The days are computed again, as from CSV."""
    monkeypatch.setattr(parquet, "BLOCK", 20_000)
    database = value(hourly, "SELECT current_database()")
    execute(hourly, *UNCOMMON)
    before = rows(hourly, ALL_ROWS)
    execute(
        hourly,
        "DELETE FROM touched_days",
        f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'",
        f"ALTER DATABASE {database} SET extra_float_digits = -5",
        f"ALTER DATABASE {database} SET datestyle = 'German'",
    )
    january, february = archived(hourly, tmp_path, file_format=FormatName.PARQUET)
    assert (january.rows, february.rows, Path(january.file).name) == (744, 672, JANUARY)
    assert len(by_duckdb(f"SELECT DISTINCT row_group_id FROM parquet_metadata('{january.file}')")) > 1
    assert value(hourly, COUNT) == 2160 - 744 - 672
    for month in ("01", "02"):
        restored(hourly, tmp_path / f"ai_dialogue_log_2026_{month}.manifest.json")
    execute(hourly, f"ALTER DATABASE {database} RESET ALL")
    exact = "SELECT ratio::text || 'x' FROM ai_dialogue_log WHERE ratio IS NOT NULL"
    assert {row["?column?"] for row in rows(hourly, exact)} == {"-0x", "0.30000000000000004x"}
    assert rows(hourly, ALL_ROWS) == before
    assert value(hourly, "SELECT count(DISTINCT day) FROM touched_days") == 59
    assert_sound(hourly)
    execute(hourly, "DELETE FROM touched_days")
    assert [month.sha256 for month in archived(hourly, tmp_path, file_format=FormatName.PARQUET)] == [
        january.sha256,
        february.sha256,
    ]


def test_another_program_reads_the_file(hourly: str, tmp_path: Path) -> None:
    """DuckDB finds the types of the columns, and computes what PostgreSQL computes."""
    execute(hourly, "UPDATE ai_dialogue_log SET latency_ms = extract(hour FROM created_at) WHERE user_feedback = 1")
    execute(hourly, "DELETE FROM touched_days")
    figures = (
        "count(*) AS a, count(citations) AS b, sum(token_cost_jpy) AS c, sum(latency_ms) AS d, count(latency_ms) AS e,"
        " min({at}) AS f, max({at}) AS g, count(*) FILTER (WHERE query = '') AS h, sum(length(response)) AS i,"
        " count(DISTINCT user_id) AS j"
    )
    january = "created_at < '2026-02-01'"
    [expected] = rows(hourly, f"SELECT {figures.format(at='created_at')} FROM ai_dialogue_log WHERE {january}")
    archived(hourly, tmp_path, "2026-02-01", file_format=FormatName.PARQUET)
    file = f"'{tmp_path / JANUARY}'"
    assert by_duckdb(f"SELECT {figures.format(at='created_at::timestamp')} FROM {file}") == [tuple(expected.values())]
    types = {name: kind for name, kind, *_ in by_duckdb(f"DESCRIBE SELECT * FROM {file}")}
    assert types.items() >= {
        "id": "UUID", "user_id": "UUID", "query": "VARCHAR", "created_at": "TIMESTAMP WITH TIME ZONE",
        "citations": "JSON", "latency_ms": "INTEGER", "token_cost_jpy": "DECIMAL(8,2)", "temperature": "DECIMAL(3,2)",
    }.items()  # fmt: skip
    source = f"SELECT DISTINCT citations->0->>'source' FROM {file} WHERE citations IS NOT NULL"
    assert by_duckdb(source) == [('s, "t"',)]


def test_a_damaged_file_is_refused_by_its_checksum(hourly: str, tmp_path: Path) -> None:
    """One bit is enough; the file is not decoded, and the month is restored when the file is right again."""
    archived(hourly, tmp_path, "2026-02-01", file_format=FormatName.PARQUET)
    file = tmp_path / JANUARY
    good = file.read_bytes()
    for bad in (good[:5000] + bytes([good[5000] ^ 1]) + good[5001:], good[:-1], b""):
        file.write_bytes(bad)
        with pytest.raises(ArchiveError, match="has changed: its SHA-256"):
            restored(hourly, tmp_path / MANIFEST)
    file.write_bytes(good)
    assert restored(hourly, tmp_path / MANIFEST).rows == 744


def test_nothing_is_detached_if_pyarrow_is_missing(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the extra. A month in Parquet is not restored either, and stays archived."""
    archived(hourly, tmp_path, "2026-02-01", file_format=FormatName.PARQUET)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ArchiveError, match=r"pip install 'ragledger\[parquet\]'"):
        archived(hourly, tmp_path, file_format=FormatName.PARQUET)
    with pytest.raises(ArchiveError, match=r"pip install 'ragledger\[parquet\]'"):
        restored(hourly, tmp_path / MANIFEST)
    assert rows(hourly, "SELECT month::text, phase FROM partition_archives") == [
        {"month": "2026-01-01", "phase": "dropped"}
    ]
    assert [month.month for month in archived(hourly, tmp_path)] == ["2026-02"]


def test_a_month_that_parquet_cannot_hold_continues_as_csv(hourly: str, tmp_path: Path) -> None:
    """The advice of the message is followed; the file holds every value."""
    execute(hourly, AS_IT_IS, "UPDATE ai_dialogue_log SET updated_at = 'infinity' WHERE created_at = '2026-01-05'")
    execute(hourly, "DELETE FROM touched_days")
    before = rows(hourly, ALL_ROWS)
    environment = Environment(hourly, "127.0.0.1:9", {}, RAGLEDGER_PARTITIONS__ARCHIVE_DIR=str(tmp_path))
    command = ("partition", "archive", "--before", "2026-02")
    refused = environment.run(*command, "--format", "parquet")
    assert (refused.returncode, "column updated_at" in refused.stderr) == (1, True), refused.stderr
    assert list(tmp_path.iterdir()) == []
    [month] = environment.run_json(*command, "--format", "csv")
    assert month["rows"] == 744
    environment.run_json("partition", "archive", "--restore", str(tmp_path / MANIFEST))
    assert rows(hourly, ALL_ROWS) == before


@pytest.mark.parametrize("statement", ["copy_out", "DROP TABLE"])
def test_an_interrupted_archive_continues_in_another_format(
    hourly: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """A complete file is used as it is. A file that has too many rows meanwhile is replaced, and does not stay."""
    with monkeypatch.context() as patch:
        interrupt(patch, statement)
        with pytest.raises(Interrupted):
            archived(hourly, tmp_path, "2026-02-01", file_format=FormatName.PARQUET)
    if statement == "DROP TABLE":
        execute(hourly, "DELETE FROM ai_dialogue_log_2026_01 WHERE created_at = '2026-01-05'")
    [month] = archived(hourly, tmp_path, "2026-02-01")
    assert month.rows == (743 if statement == "DROP TABLE" else 744)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ai_dialogue_log_2026_01.csv.gz", MANIFEST]


def test_parquet_files_are_private(hourly: str, tmp_path: Path) -> None:
    """As CSV files are. A file:// URL is a directory."""
    environment = Environment(hourly, "127.0.0.1:9", {})
    place = tmp_path / "made here"
    command = ("partition", "archive", "--before", "2026-02", "--format", "parquet")
    [month] = environment.run_json(*command, "--to", f"file://{tmp_path}/made%20here")
    modes = {path.name: path.stat().st_mode & 0o777 for path in (place, *place.iterdir())}
    assert modes == {"made here": 0o700, JANUARY: 0o600, MANIFEST: 0o600}
    assert month["file"] == str(place / JANUARY)
    assert value(hourly, "SELECT directory FROM partition_archives") == str(place)
    assert environment.run_json("partition", "archive", "--restore", f"file://{place}/{MANIFEST}")["rows"] == 744
    execute(hourly, one_dialogue())
    assert environment.run(*command, "--format", "orc").returncode == 2
