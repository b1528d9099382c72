"""Handles the end and the fork of a process, so that no event is lost or sent twice.

- At exit, senders are closed (atexit). Children of multiprocessing end without atexit; they call a finalizer.
- At SIGTERM, senders are flushed. Then the handler that was there before runs, or the process ends as it would have.
- After a fork, the child begins with an empty buffer. The parent sends its own events.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import util
from types import FrameType
from typing import Any

from ragledger_client._sender import CREATING, Sender

_senders: dict[Sender, float] = {}
_previous: Any = None


def register(sender: Sender, timeout: float, on_sigterm: bool) -> None:
    """Close or flush a sender at the end of the process, until :func:`forget` is called.

    :param timeout: the number of seconds that the end of the process may wait for Kafka
    :param on_sigterm: whether to flush at SIGTERM too; this has an effect only in the main thread
    """
    _senders[sender] = timeout
    if on_sigterm and threading.current_thread() is threading.main_thread():
        _handle_sigterm()


def forget(sender: Sender) -> None:
    """Undo :func:`register`."""
    _senders.pop(sender, None)


def _flush_all() -> None:
    began = time.monotonic()
    for sender, timeout in list(_senders.items()):
        sender.flush(began + timeout - time.monotonic())


def _close_all() -> None:
    began = time.monotonic()
    for sender, timeout in list(_senders.items()):
        sender.close(began + timeout - time.monotonic())


def _handle_sigterm() -> None:
    global _previous
    found = signal.getsignal(signal.SIGTERM)
    if (
        found is _on_sigterm or found is signal.SIG_IGN or found is None
    ):  # None: Python did not install it, and cannot call it
        return
    _previous = found
    signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    _flush_all()
    if callable(_previous):
        _previous(number, frame)
        return
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.signal(number, _on_sigterm)  # the first process of a container survives its own SIGTERM


def _after_fork_in_child() -> None:
    CREATING.release()
    for sender in _senders:
        sender.after_fork()


def _close_at_its_end(close: Callable[[], None]) -> None:
    util.Finalize(None, close, exitpriority=0)


atexit.register(_close_all)
util.register_after_fork(_close_all, _close_at_its_end)
os.register_at_fork(before=CREATING.acquire, after_in_parent=CREATING.release, after_in_child=_after_fork_in_child)
