"""Tests that files of commands are complete or absent, readable only by their owner, and never follow a link."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.files import (
    PUBLIC,
    FileError,
    demand_writable,
    make_directory,
    write,
    written,
    written_or_streamed,
)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Set the usual umask."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(directory: Path) -> list[str]:
    """Return the names in a directory."""
    return sorted(path.name for path in directory.iterdir())


def mode_of(path: Path) -> int:
    """Return the permissions of a file."""
    return path.stat().st_mode & 0o777


def test_a_file_is_private_and_complete(tmp_path: Path) -> None:
    """The earlier file stays until the new one is written; then no other file is left."""
    path = tmp_path / "archive"
    path.write_text("before")
    with written(path) as file:
        file.write(b"after")
        file.flush()
        assert mode_of(file.path) == 0o600
        assert path.read_text() == "before"
    assert (path.read_text(), mode_of(path), names(tmp_path)) == ("after", 0o600, ["archive"])


def test_a_public_file_has_the_mode_of_the_umask(tmp_path: Path) -> None:
    """Prometheus reads rule files."""
    make_directory(tmp_path / "for" / "all", PUBLIC)
    write(tmp_path / "for" / "all" / "rules", "x", PUBLIC)
    assert [mode_of(tmp_path / path) for path in ("for", "for/all", "for/all/rules")] == [0o755, 0o755, 0o644]


def test_new_directories_are_private(tmp_path: Path) -> None:
    """Existing directories keep their modes."""
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert [mode_of(tmp_path / path) for path in ("a", "a/b")] == [0o700, 0o700]
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="name another place"):
        make_directory(tmp_path / "file")


@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_a_link_is_neither_followed_nor_replaced(tmp_path: Path, target: str) -> None:
    """This holds for a link to a file, a dangling link, and a link given by `--output`."""
    (tmp_path / "victim").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    for opening in (written, written_or_streamed):
        with pytest.raises(FileError, match="is a link"), opening(link):
            pytest.fail("it was opened")
    assert link.is_symlink()
    assert (tmp_path / "victim").read_text() == "mine"
    assert names(tmp_path) == ["link", "victim"]


def test_a_link_that_appears_during_the_write_is_refused(tmp_path: Path) -> None:
    """It is checked again at the end."""
    path = tmp_path / "archive"
    with pytest.raises(FileError, match="is a link"), written(path):
        path.symlink_to(tmp_path / "victim")
    assert names(tmp_path) == ["archive"]


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    """So is a device, and a descriptor of this process."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with written_or_streamed(pipe) as file:
        file.write(b"passed on")
    reader.join(10)
    assert (read, pipe.is_fifo()) == ([b"passed on"], True)
    with pytest.raises(FileError, match="is a pipe"), written(pipe):
        pytest.fail("it was opened")
    with written_or_streamed(Path("/dev/null")) as file:
        file.write(b"gone")
    assert Path("/dev/null").is_char_device()
    ours, theirs = os.pipe()
    with written_or_streamed(Path(f"/dev/fd/{theirs}")) as file:
        file.write(b"x")
    assert os.read(ours, 9) == b"x"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, error: type[BaseException]) -> None:
    """It leaves no draft."""
    path = tmp_path / "archive"
    path.write_text("before")
    with pytest.raises(error), written(path):
        raise error
    assert (path.read_text(), names(tmp_path)) == ("before", ["archive"])


WAITS = """
import asyncio, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup lets it be ignored
from pathlib import Path
import uvloop
from consumer.files import written

async def work():
    with written(Path(sys.argv[1])) as file:
        file.write(b"half")
        print("ready", flush=True)
        await asyncio.sleep(60)

uvloop.run(work())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_draft(tmp_path: Path, number: signal.Signals) -> None:
    """The signal comes while the event loop waits for a database, as it usually does."""
    with waiting(tmp_path / "archive") as process:
        assert len(names(tmp_path)) == 1
        process.send_signal(number)
        assert process.wait(20) == -number
    assert names(tmp_path) == []


def test_the_draft_of_a_killed_process_is_removed_and_that_of_a_running_one_stays(tmp_path: Path) -> None:
    """After SIGKILL, only the next write can clean up."""
    with waiting(tmp_path / "archive"):
        with waiting(tmp_path / "archive") as killed:
            assert len(names(tmp_path)) == 2
            killed.kill()
            killed.wait(20)
        write(tmp_path / "archive", "whole")
        [alive, _] = names(tmp_path)
        assert alive.endswith(".part")


class waiting:  # noqa: N801 - reads as what it does
    """Start a process that has written half a file."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", WAITS, str(path)], stdout=subprocess.PIPE)

    def __enter__(self) -> subprocess.Popen[bytes]:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=20)


@pytest.mark.parametrize("url", ["s3://bucket/archives", "gs://b", "file:///srv/archives", "abfss://key:secret@host/x"])
def test_a_url_cannot_name_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A directory called s3: would be made; what is archived there goes with the container."""
    monkeypatch.chdir(tmp_path)
    words = f"a URL .{url.partition(':')[0]}://. is no place"
    with pytest.raises(FileError, match=words) as refused:
        make_directory(Path(url))
    assert "secret" not in str(refused.value)
    with pytest.raises(FileError, match=words):
        write(Path(url) / "archive", "x")
    assert names(tmp_path) == []


def test_a_full_disk_is_reported_with_the_file_and_the_advice(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(FileError, match=r"/archive cannot be written: File too large: .*name another place"):
            write(tmp_path / "archive", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == []
    with pytest.raises(FileError, match="/dev/full cannot be written: No space left on device: make room"):
        pass_on(Path("/dev/full"))


def pass_on(path: Path) -> None:
    """Write some bytes."""
    with written_or_streamed(path) as file:
        file.write(b"x")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EIO, errno.EDQUOT])
def test_each_disk_error_has_its_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The message names the file."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(FileError, match=f"archive cannot be written: {os.strerror(number)}: "):
        write(tmp_path / "archive", "x")
    assert names(tmp_path) == []


def test_a_directory_is_tested_before_it_is_needed(tmp_path: Path) -> None:
    """The test leaves no file behind."""
    demand_writable(tmp_path)
    assert names(tmp_path) == []
    with pytest.raises(FileError, match="/proc cannot be written"):
        demand_writable(Path("/proc"))
