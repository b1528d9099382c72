"""`run` and `config`."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import Any

import typer
from pydantic import SecretStr

from consumer import slo
from consumer.adapters import logs
from consumer.adapters.loop_guard import LoopGuard
from consumer.app import Service
from consumer.commands.output import Exit, Json, command, out, print_json, print_table
from consumer.settings import Settings, load, variable
from consumer.watchdog import Stalled

LEAVE_MARGIN_SECONDS = 15.0

config_app = typer.Typer(no_args_is_help=True, help="The effective settings.")


@command
async def run() -> Exit | None:
    """Run the service until SIGTERM or SIGINT."""
    settings = load()
    logs.configure(settings.log)
    stop = stop_on_signals(settings.shutdown.timeout_s + LEAVE_MARGIN_SECONDS)
    calm_garbage_collector()
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


def calm_garbage_collector() -> None:
    """Rows live as long as their batch and are never part of a cycle: looking for cycles every 700 of them is waste."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def stop_on_signals(limit: float | None = None) -> asyncio.Event:
    """An event that the first SIGTERM or SIGINT sets; the second ends the process at once, which loses nothing.

    :param limit: seconds after the first signal at which the process ends whatever hangs
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


@config_app.command()
def show(as_json: Json = False) -> None:
    """Show every setting with its value (secrets hidden) and what it means."""
    _show(as_json)


@config_app.command()
def check() -> None:
    """Say whether the settings are right; exit code 1 if not."""
    _check()


@command
async def _show(as_json: bool) -> None:
    effective = _effective(load())
    if as_json:
        print_json({name: value for name, value, _ in effective})
        return
    print_table("Settings", ("variable", "value", "meaning"), effective, unbroken="variable")


@command
async def _check() -> None:
    slo.load(load().slo.file)
    out.print("The settings are right.")


def _effective(settings: Settings) -> list[tuple[str, Any, str]]:
    rows = []
    for group_name, group in settings:
        for name, field in type(group).model_fields.items():
            value = getattr(group, name)
            shown = "(hidden)" if isinstance(value, SecretStr) else value
            rows.append((variable(group_name, name), shown, field.description or ""))
    return rows
