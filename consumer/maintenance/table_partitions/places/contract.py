"""What a place for archives does."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from consumer.files import Output


class Place(Protocol):
    """A place for archives. Every method raises an ArchiveError or a FileError if the place cannot be used.

    A file is written in three steps. `drafted` makes it on this machine. `send` brings it to an object store. `keep`
    gives it its name in a directory. So a killed command leaves a draft, or a complete file whose checksum the database
    knows.
    """

    missing: str
    """Why a file that should be there is not, in a few words."""

    def __str__(self) -> str:
        """The address, as partition_archives.directory has it. It contains no secret."""

    def address(self, name: str) -> str:
        """Return the address of a file."""

    def demand(self) -> None:
        """Raise if files cannot be written and read here; it is called before a month leaves the table."""

    def names(self, patterns: Collection[str]) -> list[str]:
        """Return the names of the files that match a pattern, sorted."""

    def drafts(self, patterns: Collection[str]) -> list[Path]:
        """Return drafts of files that match a pattern and whose processes have ended."""

    def has(self, name: str) -> bool:
        """Return whether a file has this name."""

    def open(self, name: str) -> BufferedReader:
        """Open a file for reading."""

    def remove(self, name: str) -> None:
        """Remove a file."""

    def drafted(self, name: str) -> AbstractContextManager[Output]:
        """Write a file as a draft on this machine; the draft is removed when the block ends, unless it was kept."""

    async def send(self, draft: Output, name: str, sha256: str) -> None:
        """Bring a draft to an object store, under its name, and read it back from there. A directory does nothing.

        :param sha256: the SHA-256 that the object must have, in hex
        """

    def keep(self, draft: Output) -> None:
        """Give a draft its name in a directory. An object store does nothing."""

    def write(self, name: str, text: str) -> None:
        """Write a small file as a whole."""
