"""Finds and reads the schema files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import consumer
from consumer.admin.migrate.errors import SchemaFilesError
from consumer.admin.migrate.statements import Block, Statement, blocks, split

_NAME = re.compile(r"(?P<rollback>rollback_)?(?P<name>(?P<version>\d{4})_[a-z0-9_]+)\.sql")
_FORMERLY = re.compile(r"^-- ragledger: formerly (?P<checksum>[0-9a-f]{64})$", re.MULTILINE)
_REQUIRES = re.compile(r"^-- ragledger: requires-tables (?P<tables>\w+(?:, \w+)*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One file: its name, the SHA-256 of its bytes in hex, and its statements."""

    file: str
    checksum: str
    blocks: tuple[Block, ...]

    @property
    def statements(self) -> tuple[str, ...]:
        """Its statements in order, without its own BEGIN and COMMIT."""
        return tuple(statement.sql for block in self.blocks for statement in block.statements)

    @property
    def refusals(self) -> tuple[Statement, ...]:
        """The statements that only check whether the file may run, and raise an error if not."""
        return tuple(s for block in self.blocks for s in block.statements if s.is_refusal)


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered migration: the file, its rollback, and the tables of other applications that it requires.

    `formerly` holds the checksums of earlier versions of the file that had the same effect.
    """

    version: int
    name: str
    forward: Script
    rollback: Script
    requires: tuple[str, ...]
    formerly: tuple[str, ...] = ()


def schema_directory() -> Path:
    """Return the directory of the schema files: inside an installed package, or beside it in a source checkout.

    :raises SchemaFilesError: neither exists
    """
    package = Path(consumer.__file__).parent
    for candidate in (package / "_schema", package.parent / "schema"):
        if any(candidate.glob("0*.sql")):
            return candidate
    raise SchemaFilesError(f"No schema files in {package}/_schema or {package.parent}/schema: install ragledger again.")


def load(directory: Path) -> tuple[Migration, ...]:
    """Read every migration of a directory, in the order of the versions.

    :raises SchemaFilesError: a name that is not NNNN_name.sql, a duplicate version, a file without its twin, or a
        file that cannot be split
    """
    named = [(path, _parse(path)) for path in sorted(directory.glob("*.sql"))]
    forward = {match["name"]: path for path, match in named if not match["rollback"]}
    rollback = {match["name"]: path for path, match in named if match["rollback"]}
    if unpaired := sorted(forward.keys() ^ rollback.keys()):
        raise SchemaFilesError(f"{directory}: {', '.join(unpaired)} must have both NAME.sql and rollback_NAME.sql.")
    migrations = tuple(_migration(forward[name], rollback[name]) for name in sorted(forward))
    _demand_distinct(migrations, directory)
    return migrations


def _parse(path: Path) -> re.Match[str]:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise SchemaFilesError(
            f"{path}: name it NNNN_what_it_does.sql or rollback_NNNN_what_it_does.sql, in lower case."
        )
    return match


def _demand_distinct(migrations: tuple[Migration, ...], directory: Path) -> None:
    versions = [migration.version for migration in migrations]
    if duplicates := sorted({version for version in versions if versions.count(version) > 1}):
        raise SchemaFilesError(
            f"{directory}: two files have version {duplicates[0]:04}. Give the newer file the next number."
        )


def _migration(forward: Path, rollback: Path) -> Migration:
    text = forward.read_text("utf-8")
    required = _REQUIRES.search(text)
    return Migration(
        version=int(_parse(forward)["version"]),
        name=forward.stem,
        forward=_script(forward),
        rollback=_script(rollback),
        requires=tuple(required["tables"].split(", ")) if required else (),
        formerly=tuple(_FORMERLY.findall(text)),
    )


def _script(path: Path) -> Script:
    content = path.read_bytes()
    parts = blocks(split(content.decode("utf-8"), path.name), path.name)
    if not parts:
        raise SchemaFilesError(f"{path}: the file contains no statement.")
    return Script(path.name, hashlib.sha256(content).hexdigest(), parts)
