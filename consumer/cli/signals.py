"""Signals that end a command."""

from __future__ import annotations

import asyncio
import os
import signal

from consumer.cli.output import Exit


def stop_on_signals(limit: float | None = None) -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets. A second signal ends the process at once.

    :param limit: seconds after the first signal until the process is ended, even if a task hangs
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        if limit is not None:
            loop.call_later(limit, os._exit, Exit.FAILED)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    return stop
