"""A directory of rules: what has to change in it, and changing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consumer.admin.slo_rules.files import MARK
from consumer.errors import OperationError
from consumer.files import PUBLIC, make_directory, write


@dataclass(frozen=True, slots=True)
class Changes:
    """Files to be written, with their text, and files of objectives that are no more."""

    write: Mapping[Path, str]
    remove: Sequence[Path]

    def __bool__(self) -> bool:
        return bool(self.write or self.remove)


def changes(directory: Path, files: Mapping[str, str]) -> Changes:
    """What has to change so that the directory holds these files, and no others of ours.

    :raises OperationError: a file that we did not write is in the way
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
    """Write and remove. Each file is whole at any moment: Prometheus may look at any.

    :raises FileError: the directory cannot be written
    """
    for path, text in changes.write.items():
        make_directory(path.parent, PUBLIC)
        write(path, text, PUBLIC)
    for path in changes.remove:
        path.unlink()
