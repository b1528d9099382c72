"""Exports a detached month to its file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from consumer.files import Output, written
from consumer.maintenance.table_partitions.archive_file import FORMAT, ArchiveWriter, Manifest, file_sha256, read_back
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.maintenance.table_partitions.screening import Screening
from consumer.postgres.admin import AdminConnection
from consumer.postgres.queries import load


class _ErasedMeanwhileError(Exception):
    """A user was erased during the export; the file may hold that user's rows."""


class Export:
    """Writes one month to its file. `row` comes from the query `partition_archivable`."""

    def __init__(
        self,
        db: AdminConnection,
        row: dict[str, Any],
        columns: Sequence[str],
        directory: Path,
        screening: Screening,
    ) -> None:
        self.directory = directory.resolve()
        self._db, self._columns, self._screening = db, columns, screening
        self._month: date = row["month"]
        self._partition: str = row["partition"]
        self._noted: str | None = row["sha256"]
        self._path = self.directory / f"ai_dialogue_log_{self._month:%Y_%m}.csv.gz"

    @property
    def manifest_path(self) -> Path:
        """Path of the manifest, beside the file."""
        return self.directory / f"ai_dialogue_log_{self._month:%Y_%m}.manifest.json"

    async def count(self) -> int:
        """Return the number of rows in the table."""
        async with short_transaction(self._db, 0):
            return int((await self._describe())["rows"])

    async def run(self) -> Manifest:
        """Write the file, read it back and compare it, and only then record it as exported."""
        while True:
            try:
                return await self._write()
            except _ErasedMeanwhileError:
                continue

    async def _write(self) -> Manifest:
        async with short_transaction(self._db, 0):
            await self._db.rows(load("partition_note_directory"), self._month, str(self.directory))
        with written(self._path) as file:
            manifest = await self._copy(file)
            self._demand_place(manifest)
            await self._note(manifest)
            async with short_transaction(self._db, 0):
                if await self._screening.hold() != self._screening.version:
                    raise _ErasedMeanwhileError
                file.keep()
                manifest.write(self.manifest_path)
                await self._db.rows(load("partition_note_exported"), self._month)
        return manifest

    async def _copy(self, file: Output) -> Manifest:
        async with short_transaction(self._db, 0):
            await self._screening.clean(self._partition)
            found = await self._describe()
            if found["hides_rows"]:
                raise ArchiveError(
                    f"row-level security hides rows of {self._partition}: run this as a role with BYPASSRLS"
                )
            columns = ", ".join(self._columns)
            with ArchiveWriter(file) as writer:
                await self._db.copy_out(
                    f"SELECT {columns} FROM {self._partition} ORDER BY created_at, id",  # noqa: S608 - our own identifiers
                    writer.write,
                )
        return self._manifest(found, file.path, writer.content_sha256)

    async def _describe(self) -> dict[str, Any]:
        [found] = await self._db.rows(load("partition_describe").format(partition=self._partition))
        return found

    async def _note(self, manifest: Manifest) -> None:
        """Record the file before it gets its name. If the process is killed, the next run knows that the
        file is ours.
        """
        async with short_transaction(self._db, 0):
            await self._db.rows(
                load("partition_note_file"),
                self._month,
                manifest.rows,
                manifest.file,
                manifest.sha256,
                str(self.directory),
            )
        self._noted = manifest.sha256

    def _demand_place(self, manifest: Manifest) -> None:
        """Raise if the file belongs to another archive, of another database or of an earlier time. Replace our own."""
        there = file_sha256(self._path) if self._path.is_file() else None
        if there not in (None, manifest.sha256, self._noted):
            raise ArchiveError(
                f"{self._path} exists already and is another archive of {self._month:%Y-%m}. The table stays;"
                " move the file and its manifest away, or name another directory with --to"
            )
        if there is not None and there != manifest.sha256:
            self._path.unlink()  # ours, from before a user was erased; the table still has the rows

    def _manifest(self, found: dict[str, Any], part: Path, content_sha256: str) -> Manifest:
        read = read_back(part)
        if (read.rows, read.content_sha256) != (found["rows"], content_sha256):
            raise ArchiveError(
                f"{part} does not hold the rows of {self._partition}: {read.rows} rows instead of {found['rows']},"
                " or other bytes. The table stays; check the disk and run the command again"
            )
        return Manifest(
            FORMAT,
            "ai_dialogue_log",
            f"{self._month:%Y-%m}",
            tuple(self._columns),
            read.rows,
            found["first"],
            found["last"],
            self._path.name,
            read.bytes,
            read.sha256,
            content_sha256,
            found["server_version"],
        )
