"""Where archives lie: a directory of this machine, or an object store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.places.contract import Place
from consumer.maintenance.table_partitions.places.directory import Directory
from consumer.maintenance.table_partitions.places.object_store import ObjectStore


def place_of(address: str | Path, drafts: Path) -> Place:
    """Return the place with this address: a path, or a URL.

    :param drafts: directory for files that are made before they go to an object store
    :raises ArchiveError: the URL is wrong, or a library for it is missing
    :raises FileError: the path is a URL that is no longer whole, such as one in RAGLEDGER_PARTITIONS__ARCHIVE_DIR
    """
    text = str(address)
    if "://" not in text:
        return Directory(Path(text))
    if text.lower().startswith("file://"):
        return Directory(_path_of(text))
    return ObjectStore(text, drafts)


def located(address: str | Path, drafts: Path = Path()) -> tuple[Place, str]:
    """Return the place and the name of a file. Raises as :func:`place_of` does."""
    text = str(address)
    if "://" not in text:
        return Directory(Path(text).parent), Path(text).name
    place, _, name = text.rpartition("/")
    return place_of(place, drafts), name


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path.startswith("/"):
        raise ArchiveError("a file:// URL must be file:///PATH, without host and query")
    return Path(unquote(parts.path))


__all__ = ["Directory", "ObjectStore", "Place", "located", "place_of"]
