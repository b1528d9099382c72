"""The file of an archived month: compressed CSV, with a manifest beside it that describes the content."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast
from uuid import UUID

from consumer.files import Output, write
from consumer.maintenance.table_partitions.errors import ArchiveError

FORMAT = "ragledger archive 1"
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of an archive file. `month` is YYYY-MM; `first` and `last` are the bounds of created_at, UTC.

    `sha256` is the hash of the compressed file, `content_sha256` that of the CSV in it, both in hex.
    """

    format: str
    table: str
    month: str
    columns: tuple[str, ...]
    rows: int
    first: str | None
    last: str | None
    file: str
    bytes: int
    sha256: str
    content_sha256: str
    server_version: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a manifest.

        :raises ArchiveError: the file is not a manifest
        """
        try:
            members = json.loads(path.read_text("utf-8"))
            manifest = cls(**{**members, "columns": tuple(members["columns"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ArchiveError(f"{path} is not a manifest of an archive: {error}") from error
        if manifest.format != FORMAT:
            raise ArchiveError(f"{path} has the format {manifest.format!r}; this ragledger reads {FORMAT!r}")
        return manifest

    def write(self, path: Path) -> None:
        """Write the manifest as one complete file."""
        write(path, json.dumps(asdict(self), indent=2) + "\n")


class ArchiveWriter:
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
        """Append bytes."""
        self._content.update(piece)
        self._gzip.write(piece)

    @property
    def content_sha256(self) -> str:
        """The SHA-256 of all bytes that were appended, in hex."""
        return self._content.hexdigest()


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The measured content of a file."""

    bytes: int
    sha256: str
    content_sha256: str
    rows: int


def read_back(path: Path) -> ReadBack:
    """Read the whole file from the disk.

    :raises ArchiveError: it cannot be decompressed, or is not CSV
    """
    content = hashlib.sha256()
    csv.field_size_limit(sys.maxsize)
    try:
        with gzip.open(path, "rb") as file:
            rows = -1  # the header line is not a row
            for _ in csv.reader(_lines(file, content)):
                rows += 1
    except (EOFError, OSError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise ArchiveError(f"{path} cannot be read back: {error}") from error
    return ReadBack(path.stat().st_size, file_sha256(path), content.hexdigest(), rows)


def rows_of(path: Path, user: UUID) -> int:
    """Count the rows of one user in a file.

    :raises ArchiveError: it cannot be read, or is not an archive of dialogues
    """
    csv.field_size_limit(sys.maxsize)
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            column = next(rows).index("user_id")
            return sum(row[column] == str(user) for row in rows)
    except (EOFError, OSError, StopIteration, IndexError, ValueError, csv.Error, zlib.error) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error


def demand_equal(manifest: Manifest, path: Path) -> None:
    """Compare a file with its manifest.

    :raises ArchiveError: the file is missing or has changed
    """
    if not path.is_file():
        raise ArchiveError(f"{path} is missing: put it beside its manifest")
    read = read_back(path)
    if (read.sha256, read.content_sha256, read.rows) != (manifest.sha256, manifest.content_sha256, manifest.rows):
        raise ArchiveError(f"{path} has changed: its SHA-256 is {read.sha256} instead of {manifest.sha256}")


def _lines(file: Iterable[bytes], content: Any) -> Iterator[str]:
    """Yield the lines with their original line ends, as csv expects. A line may end inside a quoted field."""
    for line in file:
        content.update(line)
        yield line.decode("utf-8")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def content(path: Path) -> AsyncIterator[bytes]:
    """Yield the decompressed CSV of a file in pieces."""
    with gzip.open(path, "rb") as file:
        while piece := file.read(PIECE):
            yield piece
