"""The formats of archive files. Only this package depends on the format of a file."""

from __future__ import annotations

from collections.abc import Mapping

from consumer.maintenance.table_partitions.formats.contract import ArchiveFormat, ArchiveWriter, FormatName
from consumer.maintenance.table_partitions.formats.csv_gzip import CsvFormat
from consumer.maintenance.table_partitions.formats.parquet import ParquetFormat

CSV, PARQUET = CsvFormat(), ParquetFormat()
FORMATS: Mapping[FormatName, ArchiveFormat] = {one.name: one for one in (CSV, PARQUET)}


def format_marked(mark: str) -> ArchiveFormat | None:
    """Return the format that a manifest names, or None if this ragledger does not know it."""
    return next((one for one in FORMATS.values() if one.mark == mark), None)


def format_of(file: str) -> ArchiveFormat:
    """Return the format of a file by its name. A file of an unknown format is read as CSV, and then reported."""
    return next((one for one in FORMATS.values() if file.endswith(one.suffix)), CSV)


__all__ = ["CSV", "FORMATS", "PARQUET", "ArchiveFormat", "ArchiveWriter", "FormatName", "format_marked", "format_of"]
