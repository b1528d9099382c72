"""Tests the file of an archived month: reading it back finds any change."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.files import written
from consumer.maintenance.table_partitions.archive_file import Manifest, content, demand_equal, read_back
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.formats import CSV
from consumer.maintenance.table_partitions.places import Directory

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def as_csv(rows: list[list[str]]) -> bytes:
    """Return CSV as PostgreSQL may write it: a line feed ends a line; a field that contains one is quoted."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["id", "query"], *rows])
    return text.getvalue().encode()


async def write(path: Path, pieces: list[bytes]) -> Manifest:
    """Write a file and return its manifest."""
    with written(path) as file, CSV.writer(file, ()) as writer:
        for piece in pieces:
            await writer.write(piece)
    read = read_back(path, CSV)
    assert read.content_sha256 == writer.content_sha256
    return Manifest(
        CSV.mark, "t", "2026-01", ("id",), read.rows, None, None, path.name, read.bytes, read.sha256,
        read.content_sha256, "18",
    )  # fmt: skip


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=20))
async def test_rows_are_counted_with_any_content(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    """Line feeds, carriage returns, quotes and commas inside a field do not change the count."""
    path = tmp_path_factory.mktemp("archive") / "month.csv.gz"
    data = as_csv(rows)
    manifest = await write(path, [data[:7], data[7:]])
    assert manifest.rows == len(rows)
    assert b"".join([piece async for piece in content(manifest, Directory(path.parent))]) == data


async def test_equal_content_gives_an_equal_file(tmp_path: Path) -> None:
    """The file contains no name and no time of writing."""
    one, two = [await write(tmp_path / name, [as_csv([["1", "a"]])]) for name in ("one.gz", "two.gz")]
    assert one.sha256 == two.sha256


async def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    """No other file is left behind."""
    manifest = await write(tmp_path / "month.csv.gz", [as_csv([["1", "a"]])])
    place = Directory(tmp_path)
    manifest.write(place, "month.manifest.json")
    assert Manifest.read(place, "month.manifest.json") == manifest
    assert names_in(tmp_path) == ["month.csv.gz", "month.manifest.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "ragledger archive 1"}', "not JSON"])
def test_a_file_that_is_not_a_manifest_is_refused(tmp_path: Path, text: str) -> None:
    """The error names it."""
    (tmp_path / "some.json").write_text(text)
    with pytest.raises(ArchiveError, match="is not a manifest"):
        Manifest.read(Directory(tmp_path), "some.json")


async def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    """A later version may write files that this one cannot read."""
    manifest = await write(tmp_path / "month.csv.gz", [as_csv([])])
    path = tmp_path / "month.manifest.json"
    manifest.write(Directory(tmp_path), path.name)
    path.write_text(path.read_text().replace(CSV.mark, "ragledger archive 2"))
    with pytest.raises(ArchiveError, match="ragledger archive 2"):
        Manifest.read(Directory(tmp_path), path.name)


@pytest.mark.parametrize("damage", ["a byte", "the end", "another row", "gone", "not gzip"])
async def test_a_damaged_file_is_detected(tmp_path: Path, damage: str) -> None:
    """Any damage is detected."""
    path = tmp_path / "month.csv.gz"
    manifest = await write(path, [as_csv([[str(n), "text"] for n in range(100)])])
    demand_equal(manifest, Directory(tmp_path))
    data = path.read_bytes()
    damaged = {
        "a byte": data[:50] + bytes([data[50] ^ 1]) + data[51:],
        "the end": data[:-20],
        "another row": data + gzip.compress(b"101,text\n"),
        "not gzip": b"id,query\n",
    }
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    with pytest.raises(ArchiveError):
        demand_equal(manifest, Directory(tmp_path))
