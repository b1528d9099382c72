"""The file of an archived month, with a manifest beside it that describes the content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self
from uuid import UUID

from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.formats import FORMATS, ArchiveFormat, format_marked, format_of
from consumer.maintenance.table_partitions.places import Place

PATTERNS = tuple(f"ai_dialogue_log_*.{one.suffix}" for one in FORMATS.values())
"""The names of archive files."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of an archive file. `month` is YYYY-MM; `first` and `last` are the bounds of created_at, UTC.

    `format` is the mark of the file's format. `sha256` is the hash of the file, `content_sha256` that of the CSV that
    PostgreSQL has written, both in hex.
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
    def read(cls, place: Place, name: str) -> Self:
        """Read a manifest.

        :raises ArchiveError: the file is missing, or is not a manifest
        """
        address = place.address(name)
        if not place.has(name):
            raise ArchiveError(f"{address}: {place.missing}")
        with _readable(address), place.open(name) as file:
            text = file.read()
        try:
            members = json.loads(text)
            manifest = cls(**{**members, "columns": tuple(members["columns"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ArchiveError(f"{address} is not a manifest of an archive: {error}") from error
        if format_marked(manifest.format) is None:
            known = " and ".join(repr(one.mark) for one in FORMATS.values())
            raise ArchiveError(f"{address} has the format {manifest.format!r}; this ragledger reads {known}")
        return manifest

    def write(self, place: Place, name: str) -> None:
        """Write the manifest as one complete file."""
        place.write(name, json.dumps(asdict(self), indent=2) + "\n")

    @property
    def file_format(self) -> ArchiveFormat:
        """The format of the file."""
        return format_marked(self.format) or format_of(self.file)


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The measured content of a file."""

    bytes: int
    sha256: str
    content_sha256: str
    rows: int


def read_back(path: Path, kind: ArchiveFormat) -> ReadBack:
    """Read the whole file from the disk.

    :raises ArchiveError: it is damaged
    """
    with _readable(path), path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        content_sha256, rows = _measured(file, kind)
        return ReadBack(file.seek(0, 2), sha256, content_sha256, rows)


def rows_of(place: Place, name: str, user: UUID) -> int:
    """Count the rows of one user in a file.

    :raises ArchiveError: it cannot be read, or is not an archive of dialogues
    """
    with _readable(place.address(name)), place.open(name) as file:
        return format_of(name).rows_of(file, user)


def demand_equal(manifest: Manifest, place: Place) -> None:
    """Compare a file with its manifest. The file is decoded only if its checksum is right.

    :raises ArchiveError: the file is missing or has changed
    """
    address = place.address(manifest.file)
    if not place.has(manifest.file):
        raise ArchiveError(f"{address} is missing: put it beside its manifest")
    sha256 = file_sha256(place, manifest.file)
    if sha256 != manifest.sha256:
        raise ArchiveError(f"{address} has changed: its SHA-256 is {sha256} instead of {manifest.sha256}")
    with _readable(address), place.open(manifest.file) as file:
        found = _measured(file, manifest.file_format)
    if found != (manifest.content_sha256, manifest.rows):
        raise ArchiveError(f"{address} does not hold the {manifest.rows} rows that its manifest describes")


def file_sha256(place: Place, name: str) -> str:
    """Return the SHA-256 of a file, in hex.

    :raises ArchiveError: it cannot be read
    """
    with _readable(place.address(name)), place.open(name) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def content(manifest: Manifest, place: Place) -> AsyncIterator[bytes]:
    """Yield the CSV of a file in pieces, as PostgreSQL reads it."""
    with place.open(manifest.file) as file:
        for piece in manifest.file_format.contents(file):
            yield piece


def _measured(file: BinaryIO, kind: ArchiveFormat) -> tuple[str, int]:
    """Return the SHA-256 of the CSV in a file, and the number of rows."""
    hashed = hashlib.sha256()
    rows = kind.measure(file, hashed)
    return hashed.hexdigest(), rows


@contextmanager
def _readable(address: object) -> Iterator[None]:
    """Raise any error of reading as an ArchiveError. Decoders and object stores have many errors for damaged files."""
    try:
        yield
    except ArchiveError:
        raise
    except Exception as error:
        raise ArchiveError(f"{address} cannot be read: {str(error) or type(error).__name__}") from error
