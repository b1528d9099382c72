"""`run`."""

from __future__ import annotations

import gc

from consumer.cli.output import Exit, command
from consumer.cli.signals import stop_on_signals
from consumer.ingest.watchdog import Stalled
from consumer.service import Service
from consumer.settings.loading import ignored, load
from consumer.telemetry import logs
from consumer.telemetry.event_loop_guard import LoopGuard

LEAVE_MARGIN_SECONDS = 15.0


@command
async def run() -> Exit | None:
    """Run the service until SIGTERM or SIGINT; then it writes its open batch, commits, and leaves the group."""
    settings = load()
    logs.configure(settings.log)
    for what in ignored(settings):
        logs.ignored(what)
    stop = stop_on_signals(settings.shutdown.timeout_s + LEAVE_MARGIN_SECONDS)
    tune_gc()
    guard = LoopGuard(settings.watchdog.blocked_s, Exit.STALLED)
    guard.start()
    try:
        await Service(settings, on_stall=lambda: guard.end_within(LEAVE_MARGIN_SECONDS)).run(stop, logs.listening)
    except TimeoutError:
        logs.shutdown_timed_out(settings.shutdown.timeout_s)
        return Exit.FAILED
    except Stalled:
        return Exit.STALLED
    logs.stopped()
    return Exit.DONE


def tune_gc() -> None:
    """Run the garbage collector rarely, because rows live as long as their batch and form no cycles. The oldest
    generation is searched after five searches of the middle one, for cycles that errors of libraries form.

    What the imports have made is never searched again. Little of it is garbage, so it is not collected first.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 5)
