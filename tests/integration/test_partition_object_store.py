"""Tests archives in an object store: one of fsspec, in the memory of this process."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pydantic import SecretStr

from consumer.admin.erasure.files import ArchiveFile, search_archives
from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions import ArchiveError, FormatName, Place, place_of
from consumer.maintenance.table_partitions.export import Export
from consumer.postgres.client import Database
from consumer.settings.servers import Postgres
from tests.support.archives import COUNT, Interrupted, archived, interrupt, restored
from tests.support.erasing import KEY
from tests.support.notices import ALICE
from tests.support.partitions import ALL_ROWS, assert_sound
from tests.support.psql import execute, rows, value
from tests.support.service import Environment

pytestmark = pytest.mark.slow

EVERY_FORMAT = pytest.mark.parametrize("name", FormatName)
FILES = {FormatName.CSV: "ai_dialogue_log_2026_01.csv.gz", FormatName.PARQUET: "ai_dialogue_log_2026_01.parquet"}
MANIFEST = "ai_dialogue_log_2026_01.manifest.json"
ALICES = f"UPDATE ai_dialogue_log SET user_id = '{ALICE}' WHERE created_at < '2026-01-02'"


@pytest.fixture
def url() -> Iterator[str]:
    """A prefix of the store that is empty."""
    prefix = f"memory://bucket-{uuid4()}/of/archives"
    yield prefix
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Place:
    """Return the store, whose files are made in a directory."""
    return place_of(url, tmp_path / "drafts")


def objects(url: str) -> dict[str, bytes]:
    """Return all objects below the prefix."""
    memory = fsspec.filesystem("memory")
    root = url.removeprefix("memory:/")
    return {path.removeprefix(f"{root}/"): memory.cat_file(path) for path in memory.find(root)}


def searched(dsn: str, directory: Path) -> list[ArchiveFile]:
    """Search every archive for Alice, as an erasure does."""

    async def search() -> Any:
        database = Database(Postgres(dsn=SecretStr(dsn)))
        await database.open()
        try:
            return await search_archives(database, directory, ALICE, lambda *_: None)
        finally:
            await database.close(5)

    return list(asyncio.run(search()))


@EVERY_FORMAT
def test_months_go_to_a_store_and_return(hourly: str, tmp_path: Path, url: str, store: Place, name: FormatName) -> None:
    """The database records where; nothing stays on this machine."""
    before = rows(hourly, ALL_ROWS)
    january, _ = archived(hourly, store, file_format=name)
    assert (january.rows, january.file) == (744, f"{url}/{FILES[name]}")
    assert len(objects(url)) == 4
    assert json.loads(objects(url)[MANIFEST])["sha256"] == january.sha256
    assert value(hourly, "SELECT DISTINCT directory FROM partition_archives") == url
    assert list((tmp_path / "drafts").iterdir()) == []
    assert value(hourly, COUNT) == 2160 - 744 - 672
    for month in ("01", "02"):
        restored(hourly, f"{url}/ai_dialogue_log_2026_{month}.manifest.json")
    assert rows(hourly, ALL_ROWS) == before
    assert_sound(hourly)


@EVERY_FORMAT
@pytest.mark.parametrize("step", ["copy_out", "put_file", "pipe_file", "DROP TABLE"])
def test_an_interrupted_upload_continues(
    hourly: str, tmp_path: Path, url: str, store: Place, monkeypatch: pytest.MonkeyPatch, step: str, name: FormatName
) -> None:
    """Before each step, the rows are in the table or in the store; the next run uses or replaces what is there."""

    real = getattr(MemoryFileSystem, step, None)

    def ends(self: Any, first: str, *others: Any) -> Any:
        if real is None or "ai_dialogue_log" in first:
            raise Interrupted
        return real(self, first, *others)

    with monkeypatch.context() as patch:
        if real:
            patch.setattr(MemoryFileSystem, step, ends)
        else:
            interrupt(patch, step)
        with pytest.raises((Interrupted, ArchiveError)):
            archived(hourly, store, "2026-02-01", file_format=name)
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 744
    assert list((tmp_path / "drafts").iterdir()) == []
    assert [month.rows for month in archived(hourly, store, "2026-02-01", file_format=name)] == [744]
    assert set(objects(url)) == {FILES[name], MANIFEST}
    assert restored(hourly, f"{url}/{MANIFEST}").rows == 744


def test_an_upload_that_arrives_damaged_is_found(
    hourly: str, url: str, store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is read back before the table is dropped. A later damage prevents the restore."""
    real = MemoryFileSystem.put_file

    def truncated(self: Any, local: str, remote: str) -> None:
        real(self, local, remote)
        self.pipe_file(remote, self.cat_file(remote)[:-1])

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", truncated)
        with pytest.raises(ArchiveError, match="is not the file that was uploaded"):
            archived(hourly, store, "2026-02-01")
    assert value(hourly, "SELECT count(*) FROM ai_dialogue_log_2026_01") == 744
    archived(hourly, store, "2026-02-01")  # as the message says
    path = f"{url}/{FILES[FormatName.CSV]}"
    fsspec.filesystem("memory").pipe_file(path, objects(url)[FILES[FormatName.CSV]][:-1])
    with pytest.raises(ArchiveError, match="has changed"):
        restored(hourly, f"{url}/{MANIFEST}")


@pytest.mark.parametrize("call", ["pipe_file", "ls", "rm_file"])
def test_no_month_leaves_the_table_if_the_store_refuses(
    hourly: str, url: str, store: Place, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Writing, listing and deleting are tried before."""

    def refuses(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, call, refuses)
    with pytest.raises(ArchiveError, match=f"{url}.* cannot be .*: Access Denied"):
        archived(hourly, store, "2026-02-01")
    assert value(hourly, "SELECT count(*) FROM partition_archives") == 0


def test_the_archive_of_another_database_stays(hourly: str, url: str, store: Place) -> None:
    """It is neither used nor replaced."""
    fsspec.filesystem("memory").pipe_file(f"{url}/{FILES[FormatName.CSV]}", b"theirs")
    with pytest.raises(ArchiveError, match="another archive of 2026-01"):
        archived(hourly, store, "2026-02-01")
    assert objects(url) == {FILES[FormatName.CSV]: b"theirs"}


@EVERY_FORMAT
def test_an_erasure_finds_archives_in_a_store(
    hourly: str, tmp_path: Path, url: str, store: Place, monkeypatch: pytest.MonkeyPatch, name: FormatName
) -> None:
    """It counts the user's rows, names what is missing, and what it cannot search, with the reason."""
    execute(hourly, ALICES, "DELETE FROM touched_days")
    archived(hourly, store, file_format=name)
    file = f"{url}/{FILES[name]}"
    assert searched(hourly, tmp_path) == [ArchiveFile(file, 24)]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fsspec", None)
        found = searched(hourly, tmp_path)
        assert [one.rows for one in found] == [None, None]
        assert all("ragledger[parquet]" in str(one.problem) for one in found)
        assert found[0].file == file
    with monkeypatch.context() as patch:
        patch.setattr(
            MemoryFileSystem, "open", lambda *_: (_ for _ in ()).throw(PermissionError("no; https://x?sig=s"))
        )
        found = searched(hourly, tmp_path)
        assert found[0].problem == f"{file} cannot be read: no; https://x?…"
    fsspec.filesystem("memory").rm_file(file)
    assert searched(hourly, tmp_path) == [ArchiveFile(file, None, "not found in the object store")]


def test_a_user_who_is_erased_during_the_upload_is_not_in_the_object(
    hourly: str, tmp_path: Path, url: str, store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object has the user until it is written again, which is before the table is dropped."""
    execute(hourly, ALICES, "DELETE FROM touched_days")
    environment = Environment(hourly, "127.0.0.1:9", {}, RAGLEDGER_ERASURE__KEY=KEY)
    real, seen = Export._note, list[Any]()

    async def meanwhile(self: Export, manifest: Any) -> None:
        await real(self, manifest)
        if not seen:
            done = await asyncio.to_thread(environment.run, "erase", "--user", str(ALICE), "--receipt", str(tmp_path))
            seen.append(done.returncode)

    monkeypatch.setattr(Export, "_note", meanwhile)
    [month] = archived(hourly, store, "2026-02-01", keys=[Key(KEY.encode())], file_format=FormatName.PARQUET)
    assert (seen, month.rows) == ([0], 744 - 24)
    assert searched(hourly, tmp_path) == []


def test_the_advice_after_an_interruption_names_the_store(
    hourly: str, url: str, store: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor repeats place and format, so that no second file is written elsewhere."""
    interrupt(monkeypatch, "DROP TABLE")
    with pytest.raises(Interrupted):
        archived(hourly, store, "2026-02-01", file_format=FormatName.PARQUET)
    [found] = [
        one for one in Environment(hourly, "127.0.0.1:9", {}).run_json("doctor")["findings"] if one["check"] == "copies"
    ]
    assert f"archive --before 2026-02 --to {url} --format parquet, which continues" in found["fix"]


SECRET = "s3cret"


@pytest.mark.parametrize(
    "to",
    [
        f"s3://user:{SECRET}@bucket/x", f"az://box/x?sig={SECRET}", f"gs://bucket/x#{SECRET}", f"http://{SECRET}/x",
        f"simplecache::s3://{SECRET}", f"file://{SECRET}/x", f"file:///x?{SECRET}",
    ],
)  # fmt: skip
def test_a_url_that_cannot_hold_archives_is_refused(hourly: str, tmp_path: Path, to: str) -> None:
    """No character of it is shown, because it may hold a secret. Nothing is detached."""
    environment = Environment(hourly, "127.0.0.1:9", {}, RAGLEDGER_PARTITIONS__ARCHIVE_DIR=str(tmp_path))
    for arguments in (("--before", "2026-02", "--to", to), ("--restore", f"{to}/{MANIFEST}")):
        refused = environment.run("partition", "archive", *arguments)
        assert refused.returncode in (1, 2)
        assert SECRET not in refused.stdout + refused.stderr
    assert environment.run("partition", "archive", "--before", "2026-02", "--to", "memory://x").returncode == 2
    assert value(hourly, "SELECT count(*) FROM partition_archives") == 0
