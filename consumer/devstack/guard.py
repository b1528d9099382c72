"""Ends the processes of a workspace and removes its directory, even if its owner was killed.

The owner starts it as ``python -P guard.py DIRECTORY``, with a pipe as standard input. Each line is the pid of a
process to end. The pipe closes when the owner ends, even by SIGKILL.
"""

import ctypes
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

KILL_TIMEOUT_S = 10.0
_IPC_RMID = 0


def kill_trees(roots: Iterable[psutil.Process]) -> None:
    """Kill each process with all its descendants and wait until they are gone.

    Raises:
        TimeoutError: one of them still runs after `KILL_TIMEOUT_S` seconds.
    """
    # PostgreSQL's backends have sessions of their own, so killing a process group would miss them. A stopped parent
    # cannot fork, so no child can appear between the listing and the kill.
    family = [process for root in roots for process in _stopped_tree(root)]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _wait_until_gone(family)


def _stopped_tree(root: psutil.Process) -> list[psutil.Process]:
    try:
        root.suspend()
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _wait_until_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while alive := [process for process in processes if _is_alive(process)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still running after SIGKILL: {alive}")
        time.sleep(0.01)


def _is_alive(process: psutil.Process) -> bool:
    # A zombie holds no files; it waits for its parent, which may be the caller.
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def clean(directory: Path, processes: Iterable[psutil.Process]) -> None:
    """Kill the processes, release the shared memory of PostgreSQL, and remove the directory.

    Raises:
        TimeoutError: a process survives SIGKILL.
        OSError: the directory cannot be removed.
    """
    kill_trees(processes)
    for lock_file in directory.glob("*/postmaster.pid"):
        _remove_shared_memory(lock_file)
    if directory.exists():
        shutil.rmtree(directory)


def _remove_shared_memory(lock_file: Path) -> None:
    # A killed postmaster leaves the small System V segment that protects its data directory. Line 7 of its lock file
    # holds the key and the id of the segment.
    fields = lock_file.read_text().splitlines()[6:7]
    if fields and len(ids := fields[0].split()) == 2:
        ctypes.CDLL(None).shmctl(int(ids[1]), _IPC_RMID, None)


def main() -> None:
    """Read pids from standard input; at its end, clean up the directory named by the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes = []
    for line in sys.stdin:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(int(line)))
    clean(Path(sys.argv[1]), processes)


if __name__ == "__main__":
    main()
