"""Parquet, through pyarrow (the extra `parquet`): for query engines.

PostgreSQL quotes every value of the CSV. So NULL differs from an empty text, and the CSV that is made from the file
again is equal to the CSV from PostgreSQL, byte by byte. A row group ends with the first row that ends at or after
`BLOCK` bytes of CSV, wherever the pieces from the network end. So equal content gives an equal file, and only one row
group is in memory at a time.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from uuid import UUID

from consumer.files import Output
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.formats.contract import FormatName
from consumer.maintenance.table_partitions.shape import Column

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 16 << 20


class ParquetFormat:
    """See :class:`consumer.maintenance.table_partitions.formats.contract.ArchiveFormat`."""

    name, suffix, quotes_values = FormatName.PARQUET, "parquet", True
    mark = "ragledger parquet archive 1"

    def demand(self) -> None:
        """See the contract."""
        if find_spec("pyarrow") is None:
            raise ArchiveError("Parquet needs pyarrow, which is not installed: pip install 'ragledger[parquet]'")

    def writer(self, file: Output, columns: Sequence[Column]) -> ParquetWriter:
        """See the contract."""
        return ParquetWriter(file, columns)

    def measure(self, file: BinaryIO, content: Any) -> int:
        """See the contract."""
        rows = 0
        for count, piece in _pieces(file):
            rows += count
            content.update(piece)
        return rows

    def contents(self, file: BinaryIO) -> Iterator[bytes]:
        """See the contract."""
        return (piece for _, piece in _pieces(file))

    def rows_of(self, file: BinaryIO, user: UUID) -> int:
        """See the contract."""
        return sum(table["user_id"].to_pylist().count(str(user)) for table in _texts(file, ["user_id"]))


class ParquetWriter:
    """Makes a row group from each block of CSV, and computes the SHA-256 of the CSV."""

    def __init__(self, file: Output, columns: Sequence[Column]) -> None:
        from pyarrow.parquet import ParquetWriter as Writer

        from consumer.maintenance.table_partitions.formats import parquet_columns

        self._codec = parquet_columns
        self._file, self._content, self._schema = file, hashlib.sha256(), parquet_columns.schema_of(columns)
        self._header = _header(self._schema)
        self._block, self._scanned, self._quotes = bytearray(), 0, 0
        self._sink = _Sink(file)
        self._writer = Writer(self._sink, self._schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest and the footer. After an error nothing more is written, because the draft is removed."""
        self._sink.discards = kind is not None
        try:
            if kind is None:
                self._write_group(len(self._block))
        except BaseException:
            self._sink.discards = True
            raise
        finally:
            self._writer.close()
        self._file.flush()

    async def write(self, piece: bytes) -> None:
        """See :class:`consumer.maintenance.table_partitions.formats.contract.ArchiveWriter`."""
        self._content.update(piece)
        self._block += piece
        while end := self._row_end():
            self._write_group(end)

    @property
    def content_sha256(self) -> str:
        """The SHA-256 of all bytes that were appended, in hex."""
        return self._content.hexdigest()

    def _row_end(self) -> int | None:
        """Return the end of the first row that ends at or after `BLOCK`; None if the block has no such row yet.

        A line feed ends a row if the number of quotes before it is even.
        """
        while len(self._block) >= BLOCK:
            end = self._block.find(b"\n", max(self._scanned, BLOCK - 1)) + 1
            self._quotes += self._block.count(b'"', self._scanned, end or len(self._block))
            self._scanned = end or len(self._block)
            if not end:
                return None
            if self._quotes % 2 == 0:
                return end
        return None

    def _write_group(self, end: int) -> None:
        """Write the rows of the block up to `end`."""
        block, self._block = bytes(self._block[:end]).removeprefix(self._header), self._block[end:]
        self._header, self._scanned, self._quotes = b"", 0, 0
        if block:
            table = self._codec.typed(self._codec.parsed(block, self._schema), self._schema)
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))


class _Sink:
    """The file, as pyarrow writes to it. It does not close the file."""

    closed = False

    def __init__(self, file: Output) -> None:
        self._file, self._position, self.discards = file, 0, False

    def write(self, data: bytes) -> int:
        if not self.discards:
            self._file.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Do nothing: the writer flushes the file at the end."""

    def close(self) -> None:
        self.closed = True


def _texts(file: BinaryIO, names: list[str] | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of a file, each value as PostgreSQL has written it."""
    ParquetFormat().demand()
    from pyarrow.parquet import ParquetFile

    from consumer.maintenance.table_partitions.formats import parquet_columns

    content = ParquetFile(file)
    for group in range(content.num_row_groups):
        yield parquet_columns.as_text(content.read_row_group(group, columns=names), content.schema_arrow)


def _pieces(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the number of rows and the CSV of each row group; first the header line, which has no rows."""
    ParquetFormat().demand()
    from pyarrow.csv import WriteOptions, write_csv
    from pyarrow.parquet import read_schema

    yield 0, _header(read_schema(file))
    for table in _texts(file):
        piece = io.BytesIO()
        write_csv(table, piece, WriteOptions(include_header=False, quoting_style="all_valid"))
        yield table.num_rows, piece.getvalue()


def _header(schema: pa.Schema) -> bytes:
    """Return the first line as PostgreSQL writes it: a name is quoted only if it has to be."""
    return (",".join(map(_quoted_if_needed, schema.names)) + "\n").encode()


def _quoted_if_needed(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(one in name for one in ',"\r\n') else name
