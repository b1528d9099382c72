"""A server that is frozen, not gone: connections stay, and nobody answers."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """SIGSTOP to a process and all its children, SIGCONT at the end."""
    parent = psutil.Process(pid)
    parent.send_signal(signal.SIGSTOP)  # first, so that it has no more children
    stopped = [parent, *parent.children(recursive=True)]
    for process in stopped[1:]:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(stopped):
            if process.is_running():
                process.send_signal(signal.SIGCONT)
