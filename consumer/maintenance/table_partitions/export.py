"""Exports a detached month to its file.

The file is written as a draft, read back and compared with the database. Then its checksum is recorded. Only then does
it get its name, or is uploaded to an object store and read back from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from consumer.files import Output
from consumer.maintenance.table_partitions.archive_file import Manifest, file_sha256, read_back
from consumer.maintenance.table_partitions.errors import ArchiveError
from consumer.maintenance.table_partitions.formats import FORMATS, ArchiveFormat
from consumer.maintenance.table_partitions.locks import short_transaction
from consumer.maintenance.table_partitions.places import Place
from consumer.maintenance.table_partitions.screening import Screening
from consumer.maintenance.table_partitions.shape import Column
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
        columns: Sequence[Column],
        place: Place,
        file_format: ArchiveFormat,
        screening: Screening,
    ) -> None:
        self.place = place
        self._db, self._columns, self._format, self._screening = db, columns, file_format, screening
        self._month: date = row["month"]
        self._partition: str = row["partition"]
        self._noted: str | None = row["sha256"]
        self._file = self._file_name(file_format)

    def _file_name(self, file_format: ArchiveFormat) -> str:
        return f"ai_dialogue_log_{self._month:%Y_%m}.{file_format.suffix}"

    @property
    def manifest_name(self) -> str:
        """Name of the manifest, beside the file."""
        return f"ai_dialogue_log_{self._month:%Y_%m}.manifest.json"

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
            await self._db.rows(load("partition_note_directory"), self._month, str(self.place))
        for left in self.place.drafts([self._file_name(one) for one in FORMATS.values()]):
            left.unlink(missing_ok=True)  # a killed run may have used another format
        with self.place.drafted(self._file) as file:
            manifest = await self._copy(file)
            self._demand_place(manifest)
            await self._note(manifest)
            await self.place.send(file, self._file, manifest.sha256)
            async with short_transaction(self._db, 0):
                if await self._screening.hold() != self._screening.version:
                    raise _ErasedMeanwhileError
                self.place.keep(file)
                manifest.write(self.place, self.manifest_name)
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
            columns = ", ".join(column.quoted for column in self._columns)
            await self._db.execute(_EQUAL_TEXTS)
            with self._format.writer(file, self._columns) as writer:
                await self._db.copy_out(
                    f"SELECT {columns} FROM {self._partition} ORDER BY created_at, id",  # noqa: S608 - our own identifiers
                    writer.write,
                    quotes_values=self._format.quotes_values,
                )
        return self._manifest(found, file, writer.content_sha256)

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
                str(self.place),
            )
        self._noted = manifest.sha256

    def _demand_place(self, manifest: Manifest) -> None:
        """Raise if a file belongs to another archive, of another database or of an earlier time.

        Remove our own from before a user was erased, also one of another format. The table still has the rows.
        """
        for name in map(self._file_name, FORMATS.values()):
            there = file_sha256(self.place, name) if self.place.has(name) else None
            if there is None or (name == self._file and there == manifest.sha256):
                continue
            if there != self._noted:
                raise ArchiveError(
                    f"{self.place.address(name)} exists already and is another archive of {self._month:%Y-%m}. The"
                    " table stays; move the file and its manifest away, or name another directory with --to"
                )
            self.place.remove(name)

    def _manifest(self, found: dict[str, Any], file: Output, content_sha256: str) -> Manifest:
        read = read_back(file.path, self._format)
        if (read.rows, read.content_sha256) != (found["rows"], content_sha256):
            raise ArchiveError(
                f"{file.path} does not hold the rows of {self._partition}: {read.rows} rows instead of {found['rows']},"
                " or other bytes. The table stays; check the disk and run the command again"
            )
        return Manifest(
            self._format.mark,
            "ai_dialogue_log",
            f"{self._month:%Y-%m}",
            tuple(column.quoted for column in self._columns),
            read.rows,
            found["first"],
            found["last"],
            self._file,
            read.bytes,
            read.sha256,
            content_sha256,
            found["server_version"],
        )


_EQUAL_TEXTS = "SET LOCAL TimeZone = 'UTC'; SET LOCAL extra_float_digits = 1"
"""Whatever the settings of database and role are, equal values have equal texts, and no digit is lost."""
