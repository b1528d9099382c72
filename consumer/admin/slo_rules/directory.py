"""Computes and applies the changes that bring a directory of rules up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumer.admin.slo_rules.files import MARK
from consumer.errors import OperationError
from consumer.files import PUBLIC, make_directory, write


@dataclass(frozen=True, slots=True)
class Changes:
    """Files to write, with their text, and files of removed objectives."""

    write: Mapping[Path, str]
    remove: Sequence[Path]

    def __bool__(self) -> bool:
        return bool(self.write or self.remove)


def changes(directory: Path, files: Mapping[str, str]) -> Changes:
    """Return the changes after which the directory holds these files, and no other files of ours.

    :raises OperationError: a file with one of these names was not written by ragledger
    :raises OSError: the directory cannot be read
    """
    there = {path: path.read_bytes() for path in sorted(directory.glob("slo-*.yml"))}
    foreign = {path for path, content in there.items() if not content.startswith(MARK.encode())}
    wanted = {directory / name: text for name, text in sorted(files.items())}
    if in_the_way := sorted(map(str, foreign & wanted.keys())):
        raise OperationError(f"not written by this command: {', '.join(in_the_way)}; move it away first")
    write = {path: text for path, text in wanted.items() if there.get(path) != text.encode()}
    return Changes(write, [path for path in there if path not in wanted and path not in foreign])


def apply(changes: Changes) -> None:
    """Write and remove files. Each file is always complete, because Prometheus may read it at any time.

    :raises FileError: the directory cannot be written
    """
    for path, text in changes.write.items():
        make_directory(path.parent, PUBLIC)
        write(path, text, PUBLIC)
    for path in changes.remove:
        path.unlink()
