"""CSV, compressed with gzip: the default. psql and every other tool can read it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, BinaryIO, Self, cast
from uuid import UUID

from consumer.files import Output
from consumer.maintenance.table_partitions.formats.contract import FormatName
from consumer.maintenance.table_partitions.shape import Column

PIECE = 1 << 20


class CsvFormat:
    """See :class:`consumer.maintenance.table_partitions.formats.contract.ArchiveFormat`."""

    name, suffix, mark, quotes_values = FormatName.CSV, "csv.gz", "ragledger archive 1", False

    def demand(self) -> None:
        """See the contract. The standard library has all that CSV needs."""

    def writer(self, file: Output, columns: Sequence[Column]) -> CsvWriter:
        """See the contract."""
        return CsvWriter(file)

    def measure(self, file: BinaryIO, content: Any) -> int:
        """See the contract."""
        csv.field_size_limit(sys.maxsize)
        rows = -1  # the header line is not a row
        with gzip.open(file, "rb") as lines:
            for _ in csv.reader(_lines(lines, content)):
                rows += 1
        return rows

    def contents(self, file: BinaryIO) -> Iterator[bytes]:
        """See the contract."""
        with gzip.open(file, "rb") as content:
            while piece := content.read(PIECE):
                yield piece

    def rows_of(self, file: BinaryIO, user: UUID) -> int:
        """See the contract."""
        csv.field_size_limit(sys.maxsize)
        with gzip.open(file, "rb") as content:
            rows = csv.reader(io.TextIOWrapper(cast(IO[bytes], content), encoding="utf-8", newline=""))
            column = next(rows).index("user_id")
            return sum(row[column] == str(user) for row in rows)


class CsvWriter:
    """Compresses CSV into a file and computes the SHA-256 of the CSV."""

    def __init__(self, file: Output) -> None:
        """Leave name and time out of the gzip header, so that equal content gives an equal file."""
        self._file, self._content = file, hashlib.sha256()
        self._gzip = gzip.GzipFile(filename="", fileobj=cast(IO[bytes], file), mode="wb", compresslevel=6, mtime=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gzip.close()
        self._file.flush()

    async def write(self, piece: bytes) -> None:
        """See :class:`consumer.maintenance.table_partitions.formats.contract.ArchiveWriter`."""
        self._content.update(piece)
        self._gzip.write(piece)

    @property
    def content_sha256(self) -> str:
        """The SHA-256 of all bytes that were appended, in hex."""
        return self._content.hexdigest()


def _lines(file: Iterable[bytes], content: Any) -> Iterator[str]:
    """Yield the lines with their original line ends, as csv expects. A line may end inside a quoted field."""
    for line in file:
        content.update(line)
        yield line.decode("utf-8")
