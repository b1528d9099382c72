"""Writes the files that commands produce.

A file is complete, or unchanged if the command ends early. It is written as a draft in the same directory, under a
random name, and renamed at the end. No link is followed, and only a plain file is ever replaced. If a process is
killed, its draft stays; the next write of the same file removes it, because the dead process no longer holds the
draft's lock.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import FrameType
from typing import Self

# PRIVATE is for files with event text, user ids or addresses. PUBLIC is for files that other programs read; umask
# applies.
PRIVATE, PUBLIC = 0o600, 0o666
_DIRECTORY_MODES = {PRIVATE: 0o700, PUBLIC: 0o777}
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_OWN_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/self/fd/(\d+)")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")  # a Path has one slash of s3://bucket
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_ADVICE = {
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.EFBIG: "the system allows no larger file: raise the limit (ulimit -f), or name another place",
    errno.EACCES: "let this user write there, or name another place",
    errno.EPERM: "let this user write there, or name another place",
    errno.EROFS: "name another place",
    errno.ENOENT: "make its directory, or name another place",
    errno.ENOTDIR: "its parent is not a directory: name another place",
    errno.EIO: "check the disk",
}
_unfinished: set[Path] = set()


class FileError(Exception):
    """A file cannot be written; the message names it and says what to do."""


class Output:
    """A file that is being written. Until :meth:`keep`, its content is at `path`."""

    def __init__(self, target: Path, path: Path, descriptor: int) -> None:
        self.path, self._target, self._is_kept = path, target, False
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> int:
        """Append bytes.

        :raises FileError: they cannot be written
        """
        with _file_errors(self._target):
            return self._file.write(data)

    def flush(self) -> None:
        """Pass all bytes to the operating system. Raises as :meth:`write` does."""
        with _file_errors(self._target):
            self._file.flush()

    def keep(self) -> None:
        """Rename the draft to its final name and sync it to the disk. A second call does nothing."""
        if self._is_kept:
            return
        with _file_errors(self._target):
            self._file.flush()
            os.fsync(self._file.fileno())
            demand_plain(self._target)
            self.path.replace(self._target)
            _sync(self._target.parent)
        self._is_kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # an earlier write has already raised it
            self._file.close()


@contextmanager
def written(path: Path, mode: int = PRIVATE) -> Iterator[Output]:
    """Write a file; it gets its name when the block ends without an error.

    :raises FileError: the file cannot be written, or its name is a URL or belongs to something other than a plain file
    """
    _demand_local(path)
    demand_plain(path)
    with _file_errors(path):
        draft, descriptor = _draft(path, mode)
    with _removed_when_ended(draft), Output(path, draft, descriptor) as output:
        yield output
        output.keep()


@contextmanager
def written_or_streamed(path: Path) -> Iterator[Output]:
    """Write a file, or stream into a device, a pipe or a descriptor of this process; those are never replaced.

    :raises FileError: as :func:`written`
    """
    with _file_errors(path):
        descriptor = _existing(path)
    if descriptor is None:
        with written(path) as output:
            yield output
        return
    with Output(path, path, descriptor) as output:
        yield output
        output.flush()


def write(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Write a text. Raises as :func:`written` does."""
    with written(path, mode) as output:
        output.write(text.encode())


def make_directory(path: Path, mode: int = PRIVATE) -> None:
    """Make a directory and its missing parents, with the directory mode that fits files of `mode`.

    :raises FileError: the directory cannot be made, or is a URL
    """
    _demand_local(path)
    with _file_errors(path):
        for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
            missing.mkdir(_DIRECTORY_MODES[mode], exist_ok=True)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def demand_writable(directory: Path) -> None:
    """Raise if no file can be made in the directory. It makes one, because permission bits do not bind root.

    :raises FileError: no file can be made there
    """
    with _file_errors(directory):
        draft, descriptor = _draft(directory / "ragledger", PRIVATE)
    os.close(descriptor)
    draft.unlink()


def _demand_local(path: Path) -> None:
    """Raise if the path is a URL: a directory named `s3:` would be made, on a disk that may go with the container."""
    if match := _URL.match(str(path)):
        raise FileError(f"a URL ({match[1]}://) is no place for a file: name a file or a directory of this machine")


def demand_plain(path: Path) -> None:
    """Raise if the name belongs to something other than a plain file.

    :raises FileError: the path is a directory, a link, a pipe, a socket or a device
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # the write that follows raises it
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise FileError(f"{path} is {kind}, not a plain file, and is not replaced: move it away, or name another file")


def _existing(path: Path) -> int | None:
    """Open a descriptor of this process, a device or a pipe; None for everything else, links to those included."""
    if own := _OWN_DESCRIPTOR.fullmatch(str(path)):
        name, *numbers = own.groups()
        return os.dup(("stdin", "stdout", "stderr").index(name) if name else int(numbers[0] or numbers[1]))
    with suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if stat.S_ISCHR(mode) or stat.S_ISFIFO(mode):
            return os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    return None


def _draft(path: Path, mode: int) -> tuple[Path, int]:
    _sweep(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        draft = path.with_name(f".{path.name}.{token_hex(8)}.part")
        descriptor = os.open(draft, flags, mode)
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return draft, descriptor
        os.close(descriptor)  # another process removed it before it was locked


def leftovers(directory: Path, pattern: str) -> Iterator[Path]:
    """Yield the drafts of files that match a pattern and whose processes have ended. Each is locked meanwhile."""
    for left in directory.glob(f".{pattern}.*.part"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield left
            finally:
                os.close(descriptor)


def _sweep(path: Path) -> None:
    """Remove drafts of this file whose processes have ended."""
    for left in leftovers(path.parent, glob.escape(path.name)):
        with suppress(OSError):
            left.unlink()


@contextmanager
def _removed_when_ended(draft: Path) -> Iterator[None]:
    """Remove the draft when the block ends, or when a signal ends the process. A kept draft has another
    name by then.
    """
    _unfinished.add(draft)
    ours = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _SIGNALS} if ours else {}
    ending = [number for number, handler in before.items() if handler is signal.SIG_DFL]
    for number in ending:
        signal.signal(number, _end)
    try:
        yield
    finally:
        draft.unlink(missing_ok=True)
        _unfinished.discard(draft)
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: FrameType | None) -> None:
    """Remove the drafts, then end the process as the signal does by default."""
    for draft in _unfinished:
        with suppress(OSError):
            draft.unlink()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    """Raise each OSError as a FileError that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        problem = f"{path} cannot be written: {error.strerror or error}"
        raise FileError(f"{problem}: {advice}" if advice else problem) from error


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
