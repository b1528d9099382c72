"""An object store, through fsspec (the extra `parquet`) and the package of the store, such as s3fs.

A file is made and checked on this machine, and then uploaded. A store shows a new object only when its upload is
complete, so a killed command leaves no part of an object under the name of the archive.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from consumer.files import Output, demand_writable, drafted, make_directory
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.places.directory import Directory

SCHEMES = ("s3", "gs", "az", "memory")
_PROBE = "ragledger-can-write.txt"
_QUERY = re.compile(r"\?\S+")


class ObjectStore:
    """See :class:`consumer.maintenance.table_partitions.places.contract.Place`."""

    missing = "not found in the object store"

    def __init__(self, url: str, drafts: Path) -> None:
        """Check the URL. A message shows none of it, because it may contain a secret.

        :raises ArchiveError: the URL is wrong, or a library for it is missing
        """
        _demand_plain(url)
        self._url, self._drafts = url.rstrip("/"), drafts
        self._store, self._root = _opened(self._url)

    def __str__(self) -> str:
        return self._url

    def address(self, name: str) -> str:
        """See the contract."""
        return f"{self._url}/{name}"

    def demand(self) -> None:
        """See the contract. A small object is written, found, and removed."""
        make_directory(self._drafts)
        demand_writable(self._drafts)
        self.write(_PROBE, "This object shows that archives can be written here.\n")
        if self.names([_PROBE]) != [_PROBE]:
            raise ArchiveError(f"{self._url} does not list an object that was just written there")
        self.remove(_PROBE)

    def names(self, patterns: Collection[str]) -> list[str]:
        """See the contract."""
        with _errors(self._url, "listed"):
            self._store.invalidate_cache()
            paths = self._store.ls(self._root, detail=False) if self._store.exists(self._root) else []
        names = {path.rstrip("/").rpartition("/")[2] for path in paths}
        return sorted(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))

    def drafts(self, patterns: Collection[str]) -> list[Path]:
        """See the contract."""
        return Directory(self._drafts).drafts(patterns)

    def has(self, name: str) -> bool:
        """See the contract."""
        with _errors(self.address(name), "found"):
            self._store.invalidate_cache()
            return bool(self._store.isfile(self._path(name)))

    def open(self, name: str) -> BufferedReader:
        """See the contract."""
        with _errors(self.address(name), "read"):
            return cast(BufferedReader, self._store.open(self._path(name), "rb"))

    def remove(self, name: str) -> None:
        """See the contract."""
        with _errors(self.address(name), "removed"):
            self._store.rm_file(self._path(name))

    def drafted(self, name: str) -> AbstractContextManager[Output]:
        """See the contract."""
        return drafted(self._drafts / name)

    async def send(self, draft: Output, name: str, sha256: str) -> None:
        """See the contract. An object that is there already is from an interrupted run."""
        if await asyncio.to_thread(self._has_sha256, name, sha256):
            return
        with _errors(self.address(name), "written"):
            await asyncio.to_thread(self._store.put_file, str(draft.path), self._path(name))
        if not await asyncio.to_thread(self._has_sha256, name, sha256):
            self.remove(name)
            raise ArchiveError(
                f"{self.address(name)} is not the file that was uploaded. The table stays; run the command again"
            )

    def keep(self, draft: Output) -> None:
        """See the contract."""

    def write(self, name: str, text: str) -> None:
        """See the contract."""
        with _errors(self.address(name), "written"):
            self._store.pipe_file(self._path(name), text.encode())

    def _has_sha256(self, name: str, sha256: str) -> bool:
        if not self.has(name):
            return False
        with _errors(self.address(name), "read"), self._store.open(self._path(name), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"


def _demand_plain(url: str) -> None:
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise ArchiveError(
            "the URL names no object store that is supported: use s3://BUCKET/…, gs://BUCKET/…, az://CONTAINER/…,"
            " or a directory"
        )
    if "?" in url or "#" in url or "@" in urlsplit(url).netloc:
        raise ArchiveError(
            f"a {scheme}:// URL may not contain credentials or a query: set credentials as the library of the store"
            " reads them, for instance in the environment"
        )


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec and the path in it."""
    try:
        import fsspec
    except ImportError:
        raise ArchiveError(
            "an object store needs fsspec, which is not installed: pip install 'ragledger[parquet]'"
        ) from None
    with _errors(url, "used"):
        store, root = fsspec.url_to_fs(url)
    return store, str(root)


@contextmanager
def _errors(address: str, verb: str) -> Iterator[None]:
    """Raise an error of a store as an ArchiveError. Each library has its own errors; a signed URL in one is hidden."""
    try:
        yield
    except ImportError as error:  # fsspec names the package of the store
        raise ArchiveError(f"{address} cannot be {verb}: {error}") from None
    except Exception as error:
        reason = _QUERY.sub("?…", str(error)).strip() or type(error).__name__
        raise ArchiveError(f"{address} cannot be {verb}: {reason}") from error
