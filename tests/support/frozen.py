"""Freezes a server: its connections stay open, and it does not answer."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Send SIGSTOP to a process and its children; send SIGCONT at the end."""
    parent = psutil.Process(pid)
    parent.send_signal(signal.SIGSTOP)  # the parent first, so that it starts no more children
    stopped = [parent, *parent.children(recursive=True)]
    for process in stopped[1:]:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in reversed(stopped):
            if process.is_running():
                process.send_signal(signal.SIGCONT)
