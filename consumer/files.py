"""Every file that a command leaves behind.

It is there as a whole, or as it was before, whatever ends the command. It gets its name at the end: until then it is a
draft beside it, under a name that nobody can foresee. No link is followed, and nothing but a plain file is replaced.
What a killed process has left goes when the file is written again: nobody holds the lock on it any more.
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

# What only its owner may read: texts, users, where things are. What other programs look for, as the umask has it.
PRIVATE, PUBLIC = 0o600, 0o666
_DIRECTORY_MODES = {PRIVATE: 0o700, PUBLIC: 0o777}
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_OWN_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d+))|/proc/self/fd/(\d+)")
_KINDS = {stat.S_IFDIR: "a directory", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_ADVICE = {
    errno.ENOSPC: "make room there, or name another place",
    errno.EDQUOT: "make room there, or name another place",
    errno.EFBIG: "the system allows no larger file: raise the limit (ulimit -f), or name another place",
    errno.EACCES: "let this user write there, or name another place",
    errno.EPERM: "let this user write there, or name another place",
    errno.EROFS: "name another place",
    errno.ENOENT: "make its directory, or name another place",
    errno.ENOTDIR: "what should be its directory is none: name another place",
    errno.EIO: "look at the disk",
}
_unfinished: set[Path] = set()


class FileError(Exception):
    """A file cannot be written; the message names it and says what to do."""


class Output:
    """What is being written. `path` is where it lies meanwhile."""

    def __init__(self, target: Path, path: Path, descriptor: int) -> None:
        self.path, self._target, self._is_kept = path, target, False
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> int:
        """Add some bytes.

        :raises FileError: they cannot be written
        """
        with _told(self._target):
            return self._file.write(data)

    def flush(self) -> None:
        """Hand everything over to the operating system. Errors as in :meth:`write`."""
        with _told(self._target):
            self._file.flush()

    def keep(self) -> None:
        """Give it its name, on the disk as well: a crash of the machine leaves it whole or not there. Done once."""
        if self._is_kept:
            return
        with _told(self._target):
            self._file.flush()
            os.fsync(self._file.fileno())
            demand_plain(self._target)
            self.path.replace(self._target)
            _sync(self._target.parent)
        self._is_kept = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # what could not be written was said by then
            self._file.close()


@contextmanager
def written(path: Path, mode: int = PRIVATE) -> Iterator[Output]:
    """Write a file.

    :raises FileError: it cannot be, or something else than a plain file has its name
    """
    demand_plain(path)
    with _told(path):
        draft, descriptor = _draft(path, mode)
    with _removed_when_ended(draft), Output(path, draft, descriptor) as output:
        yield output
        output.keep()


@contextmanager
def written_or_passed_on(path: Path) -> Iterator[Output]:
    """Write a file, or into a device, a pipe or a descriptor of this process, which are no files to be replaced.

    :raises FileError: as :func:`written`
    """
    with _told(path):
        descriptor = _existing(path)
    if descriptor is None:
        with written(path) as output:
            yield output
        return
    with Output(path, path, descriptor) as output:
        yield output
        output.flush()


def write(path: Path, text: str, mode: int = PRIVATE) -> None:
    """Write a text. Errors as in :func:`written`."""
    with written(path, mode) as output:
        output.write(text.encode())


def make_directory(path: Path, mode: int = PRIVATE) -> None:
    """Make a directory with all that lead to it, where they are missing; for files of this mode.

    :raises FileError: it cannot be made
    """
    with _told(path):
        for missing in reversed([one for one in (path, *path.parents) if not one.exists()]):
            missing.mkdir(_DIRECTORY_MODES[mode], exist_ok=True)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))


def demand_writable(directory: Path) -> None:
    """Make sure that files can be made there; root may write where nobody can.

    :raises FileError: they cannot
    """
    with _told(directory):
        draft, descriptor = _draft(directory / "ragledger", PRIVATE)
    os.close(descriptor)
    draft.unlink()


def demand_plain(path: Path) -> None:
    """Make sure that a name is free, or that of a plain file.

    :raises FileError: it is not
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        return  # whoever writes is told
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        raise FileError(f"{path} is {kind}, no plain file, and is left alone: move it away, or name another file")


def _existing(path: Path) -> int | None:
    """Open what is no file to be replaced. A link to one, but for those of the system, is none of that."""
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
        os.close(descriptor)  # swept away before it was locked


def leftovers(directory: Path, pattern: str) -> Iterator[Path]:
    """Drafts whose writers are dead, of files whose names match a pattern; locked meanwhile."""
    for left in directory.glob(f".{pattern}.*.part"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield left
            finally:
                os.close(descriptor)


def _sweep(path: Path) -> None:
    for left in leftovers(path.parent, glob.escape(path.name)):
        with suppress(OSError):
            left.unlink()


@contextmanager
def _removed_when_ended(draft: Path) -> Iterator[None]:
    """However this ends, and where a signal ends the process too, the draft goes; kept, it has another name by then."""
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
    """End as if nobody had minded the signal."""
    for draft in _unfinished:
        with suppress(OSError):
            draft.unlink()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def _told(path: Path) -> Iterator[None]:
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
