"""A directory of this machine. Files are private, and no link is followed; see :mod:`consumer.files`."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from io import BufferedReader
from pathlib import Path

from consumer.files import Output, demand_local, demand_writable, drafted, leftovers, make_directory, write


class Directory:
    """See :class:`consumer.maintenance.table_partitions.places.contract.Place`."""

    missing = "not found on this machine"

    def __init__(self, path: Path) -> None:
        demand_local(path)
        self._path = path.resolve()

    def __str__(self) -> str:
        return str(self._path)

    def address(self, name: str) -> str:
        """See the contract."""
        return str(self._path / name)

    def demand(self) -> None:
        """See the contract. The directory is made if it is missing."""
        make_directory(self._path)
        demand_writable(self._path)

    def names(self, patterns: Collection[str]) -> list[str]:
        """See the contract."""
        return sorted({path.name for pattern in patterns for path in self._path.glob(pattern)})

    def drafts(self, patterns: Collection[str]) -> list[Path]:
        """See the contract."""
        return sorted({path for pattern in patterns for path in leftovers(self._path, pattern)})

    def has(self, name: str) -> bool:
        """See the contract."""
        return (self._path / name).is_file()

    def open(self, name: str) -> BufferedReader:
        """See the contract."""
        return (self._path / name).open("rb")

    def remove(self, name: str) -> None:
        """See the contract."""
        (self._path / name).unlink()

    def drafted(self, name: str) -> AbstractContextManager[Output]:
        """See the contract."""
        return drafted(self._path / name)

    async def send(self, draft: Output, name: str, sha256: str) -> None:
        """See the contract."""

    def keep(self, draft: Output) -> None:
        """See the contract."""
        draft.keep()

    def write(self, name: str, text: str) -> None:
        """See the contract."""
        write(self._path / name, text)
