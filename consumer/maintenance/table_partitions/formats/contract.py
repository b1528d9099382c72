"""What a format of archive files does.

PostgreSQL writes a month as CSV and reads it back as CSV, whatever the format of the file is. A format stores this CSV,
and returns the same bytes later. So one hash proves that a file holds what the database has written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self
from uuid import UUID

from consumer.files import Output
from consumer.maintenance.table_partitions.shape import Column


class FormatName(StrEnum):
    """The values of --format."""

    CSV = "csv"
    PARQUET = "parquet"


class ArchiveWriter(Protocol):
    """Writes CSV into a file; the file is complete when the block ends without an error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def write(self, piece: bytes) -> None:
        """Append CSV.

        :raises ArchiveError: the format cannot hold a value
        :raises FileError: the file cannot be written
        """

    @property
    def content_sha256(self) -> str:
        """The SHA-256 of all CSV that was appended, in hex."""


class ArchiveFormat(Protocol):
    """A format. The methods that read may raise any error if the file is damaged."""

    name: FormatName
    suffix: str
    """The end of a file's name."""
    mark: str
    """The member `format` of a manifest."""
    quotes_values: bool
    """Whether PostgreSQL has to quote every value of the CSV."""

    def demand(self) -> None:
        """Raise if files of this format cannot be read and written here.

        :raises ArchiveError: a library is missing
        """

    def writer(self, file: Output, columns: Sequence[Column]) -> ArchiveWriter:
        """Begin a file."""

    def measure(self, file: BinaryIO, content: Any) -> int:
        """Read the whole file, update the hash `content` with its CSV, and return the number of rows."""

    def contents(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the CSV of a file in pieces."""

    def rows_of(self, file: BinaryIO, user: UUID) -> int:
        """Count the rows of one user."""
