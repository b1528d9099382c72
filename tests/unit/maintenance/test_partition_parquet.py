"""Tests Parquet archives: their types, and that every value returns as the text that PostgreSQL has written."""

from __future__ import annotations

import csv
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import ParquetFile

from consumer.files import FileError, Output, written
from consumer.maintenance.table_partitions.archive_file import read_back, rows_of
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.formats import PARQUET, parquet
from consumer.maintenance.table_partitions.places import Directory
from consumer.maintenance.table_partitions.shape import Column

USER = "0197c9a2-6f3e-7b1a-9c4d-5e6f70819203"
TYPES = {
    "uuid": pa.uuid(),
    "timestamp without time zone": pa.timestamp("us", "UTC"),
    "timestamp(3) without time zone": pa.timestamp("us", "UTC"),
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "numeric(8,2)": pa.decimal128(8, 2),
    "numeric(38,10)": pa.decimal128(38, 10),
    "numeric(60,20)": pa.decimal256(60, 20),
    "numeric": pa.string(),
    "numeric(3,5)": pa.string(),
    "numeric(100,2)": pa.string(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "json": pa.json_(),
    "jsonb": pa.json_(),
    "text": pa.string(),
    "character varying(255)": pa.string(),
    "double precision": pa.string(),
    "license_type": pa.string(),
}
VALUES = {
    "uuid": [USER, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "timestamp without time zone": [
        "2026-01-01 00:00:00", "2026-10-10 10:10:10.5", "2026-01-01 00:00:00.000001", "0001-01-01 00:00:00",
        "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.9",
    ],
    "timestamp with time zone": ["2026-01-01 00:00:00+00", "2026-01-01 00:00:00.123456+00"],
    "numeric(8,2)": ["0.00", "-0.50", "999999.99", "-999999.99"],
    "numeric(10,8)": ["0.00000001", "-12.34567890", "0.00000000"],
    "numeric(5,0)": ["-12345", "0"],
    "numeric(38,10)": ["9999999999999999999999999999.0123456789"],
    "numeric(60,20)": ["-" + "9" * 40 + "." + "0" * 19 + "1"],
    "numeric": ["NaN", "1e10", "0.10"],
    "bigint": ["9223372036854775807", "-9223372036854775808"],
    "boolean": ["t", "f"],
    "jsonb": ['{"a": [1.000000000000000000000000000000001, -1e400]}', "null", '"\\u0000"', "{}"],
    "double precision": ["-0", "NaN", "Infinity", "1e-300"],
    "text": ["", "NULL", '"', "a,b", "line\nend\r\n", "\\N", "\\.", " ", "𝄞 é é ﷽", "\ufeff", "NaN"],
}  # fmt: skip


def as_csv(columns: Sequence[Column], rows: Sequence[Sequence[str | None]]) -> bytes:
    """Return CSV as PostgreSQL writes it with FORCE_QUOTE."""
    header = io.StringIO(newline="")
    csv.writer(header, lineterminator="\n").writerow([column.name for column in columns])
    cells = [",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    return (header.getvalue() + "".join(f"{line}\n" for line in cells)).encode()


async def archive(path: Path, columns: Sequence[Column], pieces: Sequence[bytes]) -> str:
    """Write a file from CSV. Return the hash of the CSV."""
    with written(path) as file, PARQUET.writer(file, columns) as writer:
        for piece in pieces:
            await writer.write(piece)
    return writer.content_sha256


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def contents(path: Path) -> bytes:
    """Return the CSV of a file."""
    with path.open("rb") as file:
        return b"".join(PARQUET.contents(file))


@pytest.mark.parametrize("type_name", TYPES)
async def test_each_type_has_its_type_in_the_file(tmp_path: Path, type_name: str) -> None:
    """The file of an empty month has the types too."""
    column = Column('"uncommon ""name"""', type_name)
    await archive(tmp_path / "f", [column], [as_csv([column], [])])
    [field] = ParquetFile(tmp_path / "f").schema_arrow
    assert (field.name, field.type) == ('uncommon "name"', TYPES[type_name])
    assert field.metadata[b"postgresql"].decode() == type_name


@pytest.mark.parametrize("type_name", VALUES)
async def test_each_value_returns_as_its_text(tmp_path: Path, type_name: str) -> None:
    """NULL is no value, and differs from the empty text."""
    columns = [Column("id", "text"), Column("value", type_name)]
    rows = [["x", value] for value in VALUES[type_name]] + [["y", None], [None, VALUES[type_name][0]]]
    data = as_csv(columns, rows)
    content_sha256 = await archive(tmp_path / "f", columns, [data])
    assert contents(tmp_path / "f") == data
    read = read_back(tmp_path / "f", PARQUET)
    assert (read.rows, read.content_sha256) == (len(rows), content_sha256)
    assert content_sha256 == hashlib.sha256(data).hexdigest()


TEXT = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(st.lists(st.tuples(st.uuids().map(str), TEXT, TEXT), max_size=30), st.integers(1, 2000))
async def test_any_text_returns_from_any_row_groups(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, ...]], block: int
) -> None:
    """A row group ends between rows, wherever pieces and blocks end. The pieces do not change the file."""
    columns = [Column("user_id", "uuid"), Column("q", "text"), Column('"a,b"', "text")]
    data = as_csv(columns, rows)
    path = tmp_path_factory.mktemp("archive") / "month.parquet"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet, "BLOCK", block)
        await archive(path, columns, [data[begin : begin + 7] for begin in range(0, len(data), 7)])
        await archive(path.with_name("whole"), columns, [data])
    assert contents(path) == data
    assert path.read_bytes() == path.with_name("whole").read_bytes()


async def test_a_row_group_has_about_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So memory is bounded: no more than one row group is in memory."""
    monkeypatch.setattr(parquet, "BLOCK", 10_000)
    columns = [Column("user_id", "uuid"), Column("q", "text")]
    lines = as_csv(columns, [[USER, "x" * 100]] * 1000).splitlines(keepends=True)
    await archive(tmp_path / "f.parquet", columns, lines)
    assert ParquetFile(tmp_path / "f.parquet").num_row_groups == pytest.approx(len(b"".join(lines)) / 10_000, abs=2)
    assert rows_of(Directory(tmp_path), "f.parquet", UUID(USER)) == 1000
    assert rows_of(Directory(tmp_path), "f.parquet", UUID(int=1)) == 0


REFUSED = {
    "timestamp without time zone": ["infinity", "-infinity", "0044-03-15 00:00:00 BC", "10000-01-01 00:00:00"],
    "timestamp with time zone": ["infinity", "2026-01-01 00:00:00+09"],
    "numeric(8,2)": ["NaN"],
}


@pytest.mark.parametrize(("type_name", "value"), [(name, value) for name in REFUSED for value in REFUSED[name]])
async def test_a_value_that_parquet_cannot_hold_is_refused(tmp_path: Path, type_name: str, value: str) -> None:
    """The message names the column and the solution, and not the value; no file is left."""
    columns = [Column("id", "text"), Column("at", type_name)]
    with pytest.raises(ArchiveError, match=r"column at .* --format csv") as refused:
        await archive(tmp_path / "f", columns, [as_csv(columns, [["x", value]])])
    assert value not in str(refused.value).replace("such as infinity or NaN", "")
    assert names_in(tmp_path) == []


async def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """A database in SQL_ASCII may have it."""
    columns = [Column("id", "text")]
    with pytest.raises(ArchiveError, match="UTF-8"):
        await archive(tmp_path / "f", columns, [b'id\n"\xff"\n'])


async def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error passes through pyarrow, and the draft is removed."""

    def full(self: Output, data: bytes) -> int:
        raise FileError("no space")

    columns = [Column("id", "text")]
    monkeypatch.setattr(Output, "write", full)
    with pytest.raises(FileError, match="no space"):
        await archive(tmp_path / "f", columns, [as_csv(columns, [["x"]] * 1000)])
    assert names_in(tmp_path) == []


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing and reading say what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ArchiveError, match=r"ragledger\[parquet\]"):
        PARQUET.demand()
    with pytest.raises(ArchiveError, match=r"ragledger\[parquet\]"):
        next(PARQUET.contents(io.BytesIO()))
